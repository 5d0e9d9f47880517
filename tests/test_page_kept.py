"""What the page keeps and hands over: directions of one's own, tuned generators, classes, the order of the shelf."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
import torch
from project_fixtures import G, checkpoint, home, photo, warmth

from directions import catalog
from editkit.alignment import align
from editkit.direction import Direction
from editkit.errors import EditkitError, GeneratorMismatchError, UsageError
from editkit.generator import NetworkGenerator, random_generator, save_generator
from editkit.page import classes, editing, finding, methods, mixing, own, parcel
from editkit.page.desk import Desk, Piece
from editkit.page.edit_tab import CROP_AUTO
from editkit.page.explore_tab import DISLIKE, LIKE
from editkit.page.grouping import SPARE
from editkit.page.layout import build
from editkit.page.options import Options
from editkit.page.studio import Studio
from editkit.photo import read_photo
from editkit.rendering import render
from editkit.sampling import sample_w
from editkit.weight_delta import WeightDelta
from projector.methods import NAMES


@pytest.fixture
def studio(checkpoint: Path, tmp_path: Path) -> Studio:
    return Studio(Options(generator=str(checkpoint), device="cpu", steps=2), tmp_path)


@pytest.fixture
def mine(warmth: Direction) -> Direction:
    return replace(warmth, name="mine", method="examples")


def piece_of(studio: Studio, tuning: WeightDelta | None = None) -> Piece:
    latent = sample_w(studio.G, [1])
    piece = Piece(name="me", latent=latent, transform=None, picture=torch.zeros(1, 3, 32, 32), tuning=tuning)
    return replace(piece, picture=render(studio.painter(piece), latent).clamp(-1, 1))


@pytest.fixture
def tuning(G: NetworkGenerator) -> WeightDelta:
    name, weight = [(name, weight) for name, weight in G.state_dict().items() if weight.ndim == 4][-1]
    return WeightDelta(tensors={name: torch.full_like(weight, 0.2)}, generator=G.spec.id)


def test_directions_of_ones_own_are_kept_and_deleted(studio: Studio, mine: Direction) -> None:
    desk = studio.desks.of("a")
    assert own.add(studio, desk, mine)
    assert own.add(studio, desk, mine), "the same name again is the new one"
    assert "mine" in studio.directions, "another window has it"
    assert "mine" in catalog.names(studio.G), "and so have the commands"
    again = Studio(studio.options, studio.temporary)
    assert torch.equal(again.directions["mine"].vector, mine.vector)
    own.remove(studio, desk, "mine")
    assert "mine" not in studio.directions_of(desk) and "mine" not in catalog.names(studio.G)


def test_a_name_that_is_taken_is_refused_and_nothing_of_others_is_deleted(studio: Studio, mine: Direction) -> None:
    desk = studio.desks.of("a")
    with pytest.raises(UsageError, match="choose another name"):
        own.add(studio, desk, replace(mine, name="warmth"))
    for name in ("warmth", "nothing", "../warmth"):
        with pytest.raises(UsageError, match="not one of yours"):
            own.remove(studio, desk, name)
    assert "warmth" in catalog.names(studio.G)
    for number in range(SPARE):
        own.add(studio, desk, replace(mine, name=f"mine{number}"))
    with pytest.raises(UsageError, match="delete one first"):
        own.add(studio, desk, replace(mine, name="one_more"))


def test_users_have_directions_of_their_own(checkpoint: Path, tmp_path: Path, mine: Direction) -> None:
    options = Options(generator=str(checkpoint), device="cpu", auth=(("ann", "1"), ("bob", "2")))
    studio = Studio(options, tmp_path)
    ann, bob = studio.desks.of("a", "ann"), studio.desks.of("b", "bob")
    assert own.add(studio, ann, mine)
    assert "mine" not in studio.directions_of(bob) and "mine" not in catalog.names(studio.G)
    assert "mine" in studio.directions_of(studio.desks.of("c", "ann")), "next time too"
    own.remove(studio, ann, "mine")
    assert "mine" not in studio.directions_of(studio.desks.of("d", "ann"))


def test_nothing_is_kept_where_the_page_keeps_nothing(checkpoint: Path, tmp_path: Path, mine: Direction) -> None:
    studio = Studio(Options(generator=str(checkpoint), device="cpu", library=False), tmp_path)
    desk = studio.desks.of("a")
    assert not own.add(studio, desk, mine) and "mine" in studio.directions_of(desk)
    assert "mine" not in studio.directions_of(studio.desks.of("b")) and "mine" not in catalog.names(studio.G)


def test_a_damaged_direction_does_not_keep_the_page_from_starting(studio: Studio, mine: Direction) -> None:
    path = catalog.save(studio.G, mine)
    path.write_bytes(path.read_bytes()[:50])
    assert set(own.at_hand(studio.G)) == {"warmth"}


def test_a_tuned_piece_is_drawn_by_its_tuned_generator(studio: Studio, tuning: WeightDelta) -> None:
    plain, tuned = piece_of(studio), piece_of(studio, tuning)
    assert not torch.equal(plain.picture, tuned.picture)
    assert studio.painter(plain) is studio.G and studio.painter(tuned) is studio.painter(tuned)
    desk = studio.desks.of("a")
    desk.put(tuned)
    assert torch.equal(editing.picture(studio, desk), tuned.picture), "a slider's first move starts from what was found"
    desk.history.add(replace(desk.history.now, strengths={"warmth": 1.0}))
    assert editing.picture(studio, desk).shape == tuned.picture.shape
    others = [replace(tuning, tensors=dict(tuning.tensors)) for _ in range(4)]
    for other in others:
        studio.painter(replace(tuned, tuning=other))
    assert len(studio._tuned) == 2, "they do not pile up in memory"
    with pytest.raises(GeneratorMismatchError):
        studio.painter(replace(tuned, tuning=replace(tuning, generator="x" * 64)))


def test_a_latent_with_its_tuning_is_a_zip_that_comes_back(studio: Studio, tuning: WeightDelta, tmp_path: Path) -> None:
    desk = studio.desks.of("a")
    desk.put(piece_of(studio, tuning))
    picture = editing.picture(studio, desk)
    path = parcel.latent_of(desk, editing.piece_of(desk))
    assert sorted(zipfile.ZipFile(path).namelist()) == ["latent.safetensors", "tuning.safetensors"]
    other = studio.desks.of("b")
    assert "me.zip" in editing.go_on_from(studio, other, path)
    assert torch.equal(editing.picture(studio, other), picture)
    for name, content in (("../../latent.safetensors", b"x"), ("notes.txt", b"x")):
        with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
            archive.writestr(name, content)
        with pytest.raises(UsageError, match="holds no latent"):
            editing.go_on_from(studio, other, tmp_path / "bad.zip")
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(UsageError, match="not a zip"):
        editing.go_on_from(studio, other, tmp_path / "text.zip")


def test_pivotal_tuning_is_kept_in_the_library(studio: Studio, photo: Path) -> None:
    desk = studio.desks.of("a")
    finding.read(studio, desk, photo)
    search = finding.Search(method=methods.titles()[NAMES.index("pivotal")], steps=2, crop=finding.CROP_CENTRE)
    *glimpses, piece = finding.find(studio, desk, 0, search)
    assert isinstance(piece, Piece) and piece.tuning is not None and glimpses
    kept = finding.kept_piece(studio, desk, 0, search)
    assert kept is not None and kept.tuning is not None
    drawn = render(studio.painter(kept), kept.latent, transform=kept.transform).clamp(-1, 1)
    torch.testing.assert_close(drawn, piece.picture, atol=1e-4, rtol=0)
    plain = finding.Search(method=methods.AUTO, steps=2, crop=finding.CROP_CENTRE)
    list(finding.find(studio, desk, 0, plain))
    again = finding.kept_piece(studio, desk, 0, plain)
    assert again is not None and again.tuning is None, "found anew without tuning, the old one is gone"


def test_a_stopped_search_is_kept_marked_and_never_in_the_place_of_a_closer_one(studio: Studio, photo: Path) -> None:
    desk = studio.desks.of("a")
    finding.read(studio, desk, photo)
    search = finding.Search(method=methods.AUTO, steps=40, crop=finding.CROP_CENTRE)
    library = studio.library(desk)
    assert library is not None

    def searched(*, stop: bool) -> Piece:
        cancel = desk.start()
        for item in finding.find(studio, desk, 0, search, cancel):
            if stop and isinstance(item, finding.Glimpse):
                cancel.set()
        assert isinstance(item, Piece)
        assert studio.library(desk) is library, "waits until it is kept"
        return item

    assert "stopped by you" in searched(stop=True).told
    (kept,) = library.entries()
    assert kept.stopped and "stopped early" in kept.title and "stopped early" in library.open(kept).told
    assert finding.kept_piece(studio, desk, 0, search) is None, "the same photo is searched anew"
    whole = searched(stop=False)
    (kept,) = library.entries()
    assert not kept.stopped and kept.title == kept.name
    searched(stop=True)
    (kept,) = library.entries()
    assert not kept.stopped, "the closer one stays"
    again = finding.kept_piece(studio, desk, 0, search)
    assert again is not None and torch.equal(again.latent.tensor, whole.latent.tensor)


def test_a_photo_from_the_library_is_searched_again_at_its_face(
    studio: Studio, photo: Path, tabs: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = studio.desks.of("a")
    desk.photo, desk.faces = read_photo(photo), []
    monkeypatch.setattr(finding, "find_faces", lambda image: ["a face"])
    monkeypatch.setattr(finding, "needs_face", lambda studio: True)
    finding.look_again(studio, desk)
    assert desk.faces == ["a face"]


def test_the_whole_photo_is_compared_with_what_was_found(studio: Studio, photo: Path, G: NetworkGenerator) -> None:
    face = align(read_photo(photo), G.spec, convention="centre")
    desk = studio.desks.of("a")
    desk.put(replace(piece_of(studio), face=face))
    edited = (desk.piece.picture * 0.5) if desk.piece else None
    change, replaced = editing.PASTES
    before, after = editing.whole(studio, desk, edited, change, found=True)
    assert torch.equal(before, face.photo.image) and not torch.equal(after, before)
    before, _ = editing.whole(studio, desk, edited, replaced, found=True)
    assert not torch.equal(before, face.photo.image)
    assert torch.equal(editing.whole(studio, desk, edited, replaced)[0], face.photo.image)


def test_a_moved_face_is_put_back_whole(studio: Studio, photo: Path, G: NetworkGenerator) -> None:
    face = align(read_photo(photo), G.spec, convention="centre")
    desk = studio.desks.of("a")
    desk.put(replace(piece_of(studio), face=face))
    change, replaced = editing.PASTES
    edited = editing.picture(studio, desk)
    assert torch.equal(editing.whole(studio, desk, edited, change)[1], face.photo.image) and not desk.history.now.x
    desk.history.add(replace(desk.history.now, x=0.2))
    edited = editing.picture(studio, desk)
    assert editing.moved(studio, desk)
    assert torch.equal(editing.whole(studio, desk, edited, change)[1], editing.whole(studio, desk, edited, replaced)[1])


@pytest.fixture
def tabs(studio: Studio) -> SimpleNamespace:
    """The tabs of a page over ``studio``, and a request of one visitor."""
    from editkit.page.batch_tab import BatchTab
    from editkit.page.drag_tab import DragTab
    from editkit.page.edit_tab import EditTab
    from editkit.page.explore_tab import ExploreTab
    from editkit.page.mix_tab import MixTab

    with gr.Blocks():
        bar = gr.Tabs()
        edit = EditTab(studio, [], bar)
        mix = MixTab(studio, edit, bar)
        drag, batch = DragTab(studio, edit, bar), BatchTab(studio)
        explore = ExploreTab(studio, edit, bar)
    made = {"edit": edit, "mix": mix, "drag": drag, "batch": batch, "explore": explore}
    return SimpleNamespace(**made, request=SimpleNamespace(session_hash="a", username=None))


def test_a_face_picked_in_one_photo_is_not_picked_in_the_next(
    studio: Studio, photo: Path, tabs: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[int] = []

    def begun(studio: Studio, desk: Desk, face: int, crop: str) -> None:
        searched.append(face)
        raise UsageError("far enough")

    monkeypatch.setattr(finding, "cropped", begun)
    desk = studio.desks.of("a")
    desk.bag["face"] = 2
    search = ("", 2, 0, CROP_AUTO, None)
    with pytest.raises(UsageError, match="far enough"):
        list(tabs.edit.on_photo(tabs.request, str(photo), *search))
    with pytest.raises(UsageError, match="far enough"):
        list(tabs.edit.on_search(tabs.request, *search))
    assert searched == [0, 0]


def test_a_typed_point_needs_both_numbers(studio: Studio, tabs: SimpleNamespace) -> None:
    drag, most = tabs.drag, studio.G.spec.resolution
    laid = drag.on_random(tabs.request)
    assert laid[drag.x]["label"] == f"x (0 to {most})" and not drag.x.value
    for x, y in (("", ""), ("3", ""), ("3", "low")):
        with pytest.raises(UsageError, match=f"type both numbers, 0 to {most}"):
            drag.on_put(tabs.request, x, y)
    drag.on_put(tabs.request, "3.5", " 4,25")
    assert studio.desks.of("a").bag["drag"]["half"] == (3.5, 4.25)


def test_a_refused_file_is_let_go_of(studio: Studio, tabs: SimpleNamespace, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    updates = tabs.edit.on_file(tabs.request, str(bad))
    assert next(updates) == {tabs.edit.resume_first: None, tabs.edit.resume: None}
    with pytest.raises(EditkitError):
        next(updates)


def test_a_blend_of_tuned_faces_is_drawn_between_their_generators(
    studio: Studio, tabs: SimpleNamespace, tuning: WeightDelta
) -> None:
    mix, request, desk = tabs.mix, tabs.request, studio.desks.of("a")
    last = studio.G.spec.num_ws - 1
    other = replace(tuning, tensors={name: -tensor for name, tensor in tuning.tensors.items()})
    for name, delta in (("plain", None), ("tuned", tuning), ("other", other)):
        desk.shelve(replace(piece_of(studio, delta), name=name))
    shelf = desk.shelf
    at_ends = {share: mixing.blended(studio, desk, "tuned", "other", share, 0, last) for share in (0, 1)}
    assert torch.equal(at_ends[0].picture, shelf["tuned"].picture), "what was found of it, not the plain generator's"
    torch.testing.assert_close(at_ends[1].picture, shelf["other"].picture)
    half = mixing.blended(studio, desk, "tuned", "other", 0.5, 0, last)
    torch.testing.assert_close(half.picture, shelf["plain"].picture, atol=1e-5, rtol=0)  # their mean, and one latent
    faded = mixing.blended(studio, desk, "tuned", "plain", 0.5, 0, last).tuning
    (name,) = tuning.tensors
    assert faded is not None and torch.allclose(faded.tensors[name], tuning.tensors[name] / 2)
    rows = mixing.blended(studio, desk, "plain", "tuned", 1.0, 0, (last + 1) // 2 - 1).tuning
    assert torch.allclose(rows.tensors[name], tuning.tensors[name] * ((last + 1) // 2) / (last + 1))
    assert "between the two" in mix.on_blend(request, "tuned", "other", 0.5, 0, last)[1]
    assert "“tuned”" in mix.on_blend(request, "plain", "tuned", 0.5, 0, last)[1]
    assert mix.on_blend(request, "plain", "plain", 0.5, 0, last)[1] == ""
    mix.on_edit(request, "tuned", "plain", 0.5, 0, last)
    assert desk.piece.tuning is not None and torch.equal(editing.picture(studio, desk), desk.piece.picture)
    mix.on_take(request)
    assert list(desk.shelf.values())[-1].tuning is desk.piece.tuning


def test_what_is_made_of_a_photo_keeps_the_narrower_sliders(studio: Studio, tabs: SimpleNamespace) -> None:
    desk, last = studio.desks.of("a"), studio.G.spec.num_ws - 1
    desk.shelve(replace(piece_of(studio, None), name="seed"))
    desk.shelve(replace(piece_of(studio, None), name="photo", alignment=object()))
    assert mixing.blended(studio, desk, "photo", "seed", 0.5, 0, last).of_photo
    assert not mixing.blended(studio, desk, "seed", "seed", 0.5, 0, last).of_photo
    for name in ("seed", "photo"):
        desk.piece = desk.shelf[name]
        tabs.mix.on_take(tabs.request)
        assert list(desk.shelf.values())[-1].of_photo == (name == "photo")
        desk.bag["drag"] = {"latents": [desk.piece.latent], "piece": desk.piece}
        tabs.drag.on_keep(tabs.request)
        assert desk.piece.of_photo == (name == "photo")


def test_a_walk_through_tuned_faces_begins_and_ends_with_what_was_found(studio: Studio, tuning: WeightDelta) -> None:
    from editkit.rendered_path import render_path

    first, last = piece_of(studio, tuning), replace(piece_of(studio), latent=sample_w(studio.G, [2]))
    frames = list(render_path(studio.G, [first.latent, last.latent], frames=3, tunings=[tuning, None]))
    torch.testing.assert_close(frames[0][None].clamp(-1, 1), first.picture)
    torch.testing.assert_close(frames[2], render(studio.G, last.latent)[0])
    plain = list(render_path(studio.G, [first.latent, last.latent], frames=3))
    assert not torch.allclose(frames[1], plain[1], atol=1e-4)
    with pytest.raises(UsageError, match="one a keyframe"):
        render_path(studio.G, [first.latent, last.latent], frames=3, tunings=[tuning])


def test_dragging_a_tuned_face_keeps_its_tuning(
    studio: Studio, tabs: SimpleNamespace, tuning: WeightDelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    from editkit.page import drag_tab

    drag, request, desk = tabs.drag, tabs.request, studio.desks.of("a")
    tuned = piece_of(studio, tuning)
    desk.put(tuned)
    shown: list[torch.Tensor] = []
    monkeypatch.setattr(drag_tab.pictures, "enlarged", lambda desk, image, **options: (shown.append(image), "x.png")[1])
    drag.on_take(request)
    assert torch.equal(shown[-1], tuned.picture)
    for x, y in ((10, 10), (12, 10)):
        drag.on_put(request, str(x), str(y))
    list(drag.on_go(request, 5, None))
    drag.on_keep(request)
    assert desk.piece.tuning is tuning
    assert torch.equal(desk.piece.picture, render(studio.painter(tuned), desk.piece.latent).clamp(-1, 1))


def test_a_batch_says_what_it_does_with_the_strength_and_with_no_edit(
    warmth: Direction, studio: Studio, tabs: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from editkit.page import batch_tab

    batch, request, desk = tabs.batch, tabs.request, studio.desks.of("a")
    said: list[str] = []
    monkeypatch.setattr(batch_tab.gr, "Warning", said.append)
    slider = batch.on_which(request, "warmth")
    assert (slider["minimum"], slider["maximum"]) == (-1.2, 1.8), "photos: 60 % of the range"
    assert batch._recipe(desk, batch_tab.FROM_CHOICE, "warmth", 9.0, None).edits[0].strength == pytest.approx(1.8)
    assert "+1.8 is used, not +9" in said[0]
    assert batch._recipe(desk, batch_tab.FROM_CHOICE, "warmth", 1.0, None).edits[0].strength == 1.0
    assert len(said) == 1, "what fits is not spoken of"
    assert batch_tab.NOTHING in batch.on_what(request, batch_tab.FROM_EDIT)[2]
    desk.history.add(replace(desk.history.now, strengths={"warmth": 1.5}))
    assert "warmth +1.5" in batch.on_what(request, batch_tab.FROM_EDIT)[2]
    assert batch.on_what(request, batch_tab.FROM_CHOICE)[2] == ""


def test_thumbs_become_a_boundary_from_eight_a_side(
    studio: Studio, tabs: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("directions.preference._PATIENCE", 1e9)  # whatever else this machine does
    explore, request = tabs.explore, tabs.request
    with pytest.raises(UsageError, match="nothing is liked yet"):
        explore.on_make(request, "mine")

    def thumb(act: str, index: int) -> None:
        explore.on_click(request, SimpleNamespace(index=index), act, 0, 0.7, None)

    for index in range(8):
        thumb(LIKE, index)
    for index in range(8, 15):
        thumb(DISLIKE, index)
    told = explore.on_make(request, "seven")
    assert "The difference of two means (8 liked, 7 disliked): too few to test. With 8 or more" in told[explore.taste]
    few = studio.directions["seven"]
    assert few.method == "examples" and "accuracy" not in few.scores
    thumb(DISLIKE, 15)
    told = explore.on_make(request, "eight")
    assert "A linear SVM between 8 liked, 8 disliked" in told[explore.taste]
    assert "of 4 held-out samples apart (95 % interval" in told[explore.taste]
    assert "Judged on 16 faces" in told[explore.taste] and "as far as samples go" in told[explore.taste]
    made = Direction.load(catalog.find_files(studio.G.spec)["eight"])
    assert made.method == "examples, linear svm" and own.is_own(made) and made.target
    assert {"accuracy", "accuracy_low", "accuracy_high", "leakage", "monotonicity"} <= set(made.scores)
    _, table, forget = explore.on_which(request, "eight")
    assert "judged by" in table and "accuracy" in table and forget["visible"]


def test_a_direction_that_hides_a_bundled_one_says_so(
    studio: Studio, tabs: SimpleNamespace, mine: Direction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "bundled_directions", lambda: tmp_path / "bundled")
    catalog.save(studio.G, replace(mine, name="glow", method="ganspace"), folder=tmp_path / "bundled")
    explore, request = tabs.explore, tabs.request
    explore.on_click(request, SimpleNamespace(index=1), LIKE, 0, 0.7, None)
    with pytest.raises(UsageError, match="'glow' is the name of a bundled direction, which yours would hide"):
        explore.on_make(request, "glow")
    catalog.save(studio.G, replace(mine, name="glow", method="ganspace"))  # found by a command
    studio.forget_directions()
    _, table, _ = explore.on_which(request, "glow")
    assert "it hides the bundled" in table
    _, table, _ = explore.on_which(request, "warmth")
    assert "hides" not in table


def test_the_walk_goes_in_the_order_of_the_shelf(studio: Studio, tabs: SimpleNamespace) -> None:
    mix, request, desk = tabs.mix, tabs.request, studio.desks.of("a")
    for name in "abc":
        desk.shelve(replace(piece_of(studio), name=name))
    with pytest.raises(UsageError, match="click a face"):
        mix.on_off(request, "a", "b", ["a"])
    mix.on_pick(request, SimpleNamespace(index=2))
    later, earlier = mix._mover(1), mix._mover(-1)
    earlier(request, "a", "b", ["a", "c"])
    told = earlier(request, "a", "b", ["a", "c"])
    assert list(desk.shelf) == ["c", "a", "b"]
    assert told[mix.stops]["value"] == ["c", "a"], "what was ticked stays ticked, in the new order"
    assert (told[mix.first]["value"], told[mix.second]["value"]) == ("a", "b")
    assert told[mix.shelf]["selected_index"] == 0
    for _ in range(5):
        later(request, None, None, [])
    assert list(desk.shelf) == ["a", "b", "c"]
    told = mix.on_off(request, "c", "b", ["c"])
    assert list(desk.shelf) == ["a", "b"] and told[mix.first]["value"] == "a" and told[mix.stops]["value"] == []


def test_classes_are_offered_where_there_are_some(studio: Studio, tmp_path: Path) -> None:
    assert classes.update(studio, "any")["visible"] is False
    save_generator(random_generator(resolution=32, c_dim=3), tmp_path / "c.safetensors")
    studio.load(str(tmp_path / "c.safetensors"))
    shown = classes.update(studio, "any")
    assert shown["visible"] and [value for _, value in shown["choices"]] == [classes.ANY, "0", "1", "2"]
    assert [classes.chosen(value) for value in (None, classes.ANY, "2")] == [None, None, 2]


def test_no_event_makes_the_browser_copy_the_page(studio: Studio) -> None:
    """See ``parts.PRIVATE``: what Gradio tells an output how it goes costs a tenth of a second a move."""
    page = build(studio)
    told = [one["outputs"] for one in page.config["dependencies"] if one["show_progress_on"] != []]
    assert [len(outputs) for outputs in told] == [1, 1, 2, 0], "the examples, two for programs, and the leaving"


def test_a_model_is_loaded_in_its_turn_and_a_later_choice_counts(
    studio: Studio, tabs: SimpleNamespace, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from editkit.page.models_tab import ModelsTab

    with gr.Blocks():
        models = ModelsTab(studio, tabs.edit, gr.HTML())
        models.wire(lambda desk: {}, [])
    loaded: list[str] = []
    monkeypatch.setattr(studio, "load", loaded.append)
    with studio.line.place():
        first, second = models.on_file(tabs.request, "one.pkl"), models.on_file(tabs.request, "two.pkl")
        assert "one search is before" in next(first)[models.facts]
        assert "before yours" in next(second)[models.facts]
        assert list(first) == [] and not loaded
    list(second)
    assert loaded == ["two.pkl"]
    monkeypatch.setattr(studio, "source", None)
    monkeypatch.setattr("editkit.page.models_tab.choices", lambda: [studio.G.spec.name])
    desk = studio.desks.of("a")
    desk.put(piece_of(studio))
    list(models.on_choice(tabs.request, studio.G.spec.name))
    assert loaded == ["two.pkl"] and desk.piece is not None, "the one that draws already takes nothing away"


def test_only_generators_are_offered_as_models() -> None:
    """Encoders, discriminators and scorers lie in the same folder."""
    from editkit.generator import MODELS, load_generator
    from editkit.page.models_tab import choices

    bundled = [name for name in choices() if (MODELS / f"{name}.safetensors").is_file()]
    assert bundled
    for name in bundled:
        assert load_generator(name, device="cpu").spec.name == name

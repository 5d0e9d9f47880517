"""What a visitor's tabs do with a click: points, batches, thumbs, the shelf, classes, models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from project_fixtures import G, checkpoint, photo, warmth
from studio_fixtures import mine, piece_of, studio, tabs

from directions import catalog
from editkit.direction import Direction
from editkit.errors import EditkitError, UsageError
from editkit.generator import random_generator, save_generator
from editkit.page import classes, finding, mixing, own
from editkit.page.desk import Desk
from editkit.page.edit_tab import CROP_AUTO
from editkit.page.explore_tab import DISLIKE, LIKE
from editkit.page.layout import build
from editkit.page.studio import Studio


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
    search = ("", 2, 0, CROP_AUTO, None, 0, False, False, False)
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

"""Faces with a tuned generator on the page: drawn, kept, blended, walked through, dragged."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from project_fixtures import G, checkpoint, photo
from studio_fixtures import piece_of, studio, tabs, tuning

from editkit.alignment import align
from editkit.errors import GeneratorMismatchError, UsageError
from editkit.page import editing, finding, methods, mixing, parcel
from editkit.page.desk import Piece
from editkit.page.studio import Studio
from editkit.photo import read_photo
from editkit.rendering import render
from editkit.sampling import sample_w
from editkit.weight_delta import WeightDelta
from projector.methods import NAMES


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


def test_a_pulled_face_goes_back_into_its_photo(studio: Studio, tabs: SimpleNamespace, photo: Path) -> None:
    """Only the change goes back: what the pull did, not what the search left open."""
    drag, request, desk = tabs.drag, tabs.request, studio.desks.of("a")
    desk.photo = read_photo(photo)
    face = align(desk.photo, studio.G.spec, convention="centre")
    found = replace(piece_of(studio), face=face)
    desk.put(found)
    change, _ = editing.PASTES

    def pulled() -> torch.Tensor:
        drag.on_take(request)
        for x, y in ((10, 10), (16, 10)):
            drag.on_put(request, str(x), str(y))
        list(drag.on_go(request, 5, None))
        drag.on_keep(request)
        return editing.whole(studio, desk, editing.picture(studio, desk), change)[1]

    for _ in range(2):  # pulled again it is still compared with what was found
        whole = pulled()
        assert torch.equal(whole, face.paste_back(desk.piece.picture, inverted=found.picture))
        assert not torch.equal(whole, face.photo.image) and desk.photo is face.photo
    drag.on_random(request)
    drag.on_keep(request)
    assert desk.photo is None and desk.piece.face is None


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

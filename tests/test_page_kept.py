"""What the page keeps: directions of one's own, searches in the library; the whole photo."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from project_fixtures import G, checkpoint, photo, warmth
from studio_fixtures import mine, piece_of, studio, tabs

from directions import catalog
from editkit.alignment import align
from editkit.direction import Direction
from editkit.errors import UsageError
from editkit.generator import NetworkGenerator
from editkit.page import editing, finding, methods, own
from editkit.page.desk import Piece
from editkit.page.grouping import SPARE
from editkit.page.options import Options
from editkit.page.studio import Studio
from editkit.photo import read_photo


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

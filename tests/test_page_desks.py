"""What a visitor has on the page and in the library, and when it is cleared."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from page_clock import Clock
from project_fixtures import G, checkpoint, photo

import projector
from editkit.alignment import align
from editkit.edits import Recipe
from editkit.errors import OutputError, SchemaError
from editkit.generator import NetworkGenerator
from editkit.page.desk import IDLE, LEFT, MOST, PLACES, Desk, Desks
from editkit.page.library import Library
from editkit.photo import read_photo
from projector.job import Job, Outcome


def test_desks_are_apart_and_cleared(tmp_path: Path) -> None:
    clock = Clock()
    desks = Desks(tmp_path, clock=clock)
    first, second = desks.of("a"), desks.of("b")
    searching = first.start()
    assert first is not second and desks.of("a") is first
    assert desks.of("a", "ann") is not first, "another user gets a desk of their own"
    assert not first.folder.exists() and searching.is_set()
    running, walking = second.start(), second.start("walk")
    assert second.start("walk") is not walking and walking.is_set() and not running.is_set()
    desks.leave("b")
    assert running.is_set() and second.jobs["walk"].is_set(), "what was going on is told to stop"
    clock.now += LEFT + 1
    desks.of("c")
    assert not second.folder.exists() and len(desks) == 2
    clock.now += IDLE + 1
    desks.of("d")
    assert len(desks) == 1
    for number in range(MOST + 10):
        clock.now += 1
        desks.of(f"many {number}")
    assert len(desks) <= MOST + 1
    assert len(list(tmp_path.iterdir())) == len(desks)


def test_a_desk_is_cleared_though_nobody_comes_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[threading.Timer] = []
    monkeypatch.setattr(threading.Timer, "start", lambda timer: started.append(timer))
    clock = Clock()
    desks = Desks(tmp_path, clock=clock)
    first, second = desks.of("a"), desks.of("b")
    desks.leave("a")
    clock.now += LEFT / 2
    desks.leave("b")
    (timer,) = started
    clock.now += LEFT / 2 + 1
    timer.function()
    assert not first.folder.exists() and second.folder.exists() and len(started) == 2
    clock.now += LEFT + 1
    started[1].function()
    assert not second.folder.exists() and len(started) == 2, "no timer without a closed page"


def test_old_files_of_a_desk_are_removed(tmp_path: Path) -> None:
    desk = Desk(folder=tmp_path)
    kept, old = desk.path("a", lasting=True), desk.path("b")
    for _ in range(PLACES):
        desk.path("c")
    assert kept.parent.is_dir() and not old.parent.exists() and len(list(tmp_path.iterdir())) == PLACES + 1


def test_the_shelf_gives_free_names(tmp_path: Path) -> None:
    from editkit.latent import Latent
    from editkit.page.desk import Piece

    latent = Latent(space="w", codes=torch.zeros(1, 2, 3), generator="x")
    desk, piece = (
        Desk(folder=tmp_path),
        Piece(name="me", latent=latent, transform=None, picture=torch.zeros(1, 3, 8, 8)),
    )
    assert [desk.shelve(piece) for _ in range(3)] == ["me", "me (2)", "me (3)"]


@pytest.fixture
def kept(G: NetworkGenerator, photo: Path) -> tuple[Library, str]:
    library, key = Library.of(None), Library.key("abc", 0)
    face = align(read_photo(photo), G.spec, convention="centre")
    method = projector.Optimise(steps=2)
    found = projector.project(G, face, method)
    from editkit.perceptual import best_available

    job = Job(generator=G, method=method, perceptual=best_available(G.device), recipe=Recipe(name="none", edits=()))
    outcome = Outcome(face=face, found=found, edited=found.image, zero_edit_is_identity=True, seconds=1.0)
    for _ in range(2):  # kept again: the same entry, anew
        library.keep(key, "Holiday Zebra", job, outcome)
    return library, key


def test_the_library_keeps_opens_searches_and_deletes(
    kept: tuple[Library, str], G: NetworkGenerator, photo: Path
) -> None:
    library, key = kept
    (entry,) = library.entries()
    assert entry.name == "Holiday Zebra" and library.entries(search="zebra HOLI")
    assert not library.entries(search="other")
    assert library.find(key, G.spec.id) is not None and library.find(key, "other") is None
    piece = library.open(entry)
    piece.latent.check(G.spec)
    assert piece.face is not None and torch.equal(piece.face.photo.image, read_photo(photo).image)
    assert {path.name for path in entry.folder.iterdir()} >= {"photo.png", "latent.safetensors", "report.json"}
    assert library.delete(entry.key) and not library.delete(entry.key)
    assert not entry.folder.exists() and not library.entries()
    assert b"Zebra" not in (library.folder / "manifest.sqlite").read_bytes(), (
        "the row is overwritten, not only unlinked"
    )


def test_what_cannot_be_deleted_is_said_and_stays(kept: tuple[Library, str], monkeypatch: pytest.MonkeyPatch) -> None:
    library, _ = kept
    before = library.entries()
    monkeypatch.setattr("editkit.page.library.shutil.rmtree", lambda *_, **__: None)
    with pytest.raises(OutputError, match="could not be deleted"):
        library.delete(before[0].key)
    assert library.entries() == before


def test_the_libraries_of_users_are_apart(kept: tuple[Library, str]) -> None:
    assert Library.of("ann").folder != Library.of("bob").folder != kept[0].folder
    assert not Library.of("ann").entries()
    assert Library.of("../../x").folder.parent == Library.of("ann").folder.parent


def test_a_library_of_a_newer_version_is_refused(kept: tuple[Library, str]) -> None:
    import sqlite3

    with sqlite3.connect(kept[0].folder / "manifest.sqlite") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(SchemaError):
        kept[0].entries()

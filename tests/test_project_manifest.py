"""The manifest and the page of `editkit project`."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from project_fixtures import G, checkpoint, home, one_line, photo, project, warmth

from editkit.direction import Direction
from editkit.errors import OutputError, SchemaError
from editkit.photo import read_photo
from projector import Stop, report
from projector.folder import Source
from projector.manifest import Manifest


def test_the_manifest_keeps_folders_apart(tmp_path: Path) -> None:
    with Manifest(tmp_path) as manifest:
        for path, stem in (("1", "me"), ("2", "Me"), ("3", "me"), ("4", "report.html"), ("1", "me")):
            manifest.begin(path, name=path, stem=stem, settings="s", fingerprint="f")
        assert {row.path: row.folder for row in manifest.records()} == {
            "1": "me", "2": "Me-2", "3": "me-3", "4": "report.html-2"
        }  # fmt: skip


def test_a_newer_manifest_is_refused(tmp_path: Path, project, photo: Path, capsys) -> None:
    (tmp_path / "out").mkdir()
    database = sqlite3.connect(tmp_path / "out" / "manifest.sqlite")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(SchemaError, match="99"):
        Manifest(tmp_path / "out")
    assert project(photo) == 1
    assert "update editkit" in one_line(capsys)


@pytest.mark.parametrize("kind", ["text", "other"])
def test_a_file_that_is_no_manifest_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "manifest.sqlite"
    if kind == "text":
        path.write_text("shopping list\n" * 100)
    else:
        database = sqlite3.connect(path)
        database.execute("CREATE TABLE photos (album TEXT)")
        database.close()
    before = path.read_bytes()
    with pytest.raises(OutputError, match="not a manifest"):
        Manifest(tmp_path)
    assert path.read_bytes() == before


def test_the_page_asks_nothing_of_any_network(project, photo: Path, warmth: Direction, tmp_path: Path) -> None:
    assert project(photo) == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "://" not in page and "<script" not in page and "@import" not in page
    assert "prefers-color-scheme: dark" in page and 'src="me/aligned.png"' in page and "warmth +2.1" in page
    assert Stop.MAX_STEPS.advice in page


def test_the_page_of_nothing_is_still_a_page() -> None:
    assert "0 done" in report.page([])


def test_the_sample_and_files_have_keys_of_their_own(photo: Path) -> None:
    assert Source(path=None, name="astronaut").key == "sample:astronaut"
    assert Source(path=photo, name="me.png").key == str(photo.resolve())
    assert Source(path=photo, name="me.png").read().size == read_photo(photo).size
    shutil.copy2(photo, photo.with_name("copy.png"))
    assert Source(path=photo, name="x").key != Source(path=photo.with_name("copy.png"), name="x").key

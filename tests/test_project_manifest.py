"""The manifest and the page of `editkit project`."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from project_fixtures import G, checkpoint, one_line, photo, project, warmth

from editkit.direction import Direction
from editkit.errors import OutputError, SchemaError
from editkit.photo import read_photo
from projector import Stop, lease, report
from projector.manifest import LeaseLostError, Manifest
from projector.sources import Source


def test_the_manifest_keeps_folders_apart(tmp_path: Path) -> None:
    with Manifest(tmp_path) as manifest:
        for path, stem in (("1", "me"), ("2", "Me"), ("3", "me"), ("4", "report.html"), ("1", "me")):
            manifest.begin(path, name=path, stem=stem, settings="s", fingerprint="f")
        assert {row.path: row.folder for row in manifest.records()} == {
            "1": "me", "2": "Me-2", "3": "me-3", "4": "report.html-2"
        }  # fmt: skip


def test_a_manifest_of_schema_1_goes_on(tmp_path: Path, project, photo: Path) -> None:
    assert project(photo) == 0
    database = sqlite3.connect(tmp_path / "out" / "manifest.sqlite")
    for column in ("owner", "host", "pid", "heartbeat", "attempts"):
        database.execute(f"ALTER TABLE photos DROP COLUMN {column}")
    database.execute("PRAGMA user_version = 1")
    database.commit()
    database.close()
    before = (tmp_path / "out" / "me" / "report.json").stat().st_mtime_ns
    assert project(photo) == 0
    assert (tmp_path / "out" / "me" / "report.json").stat().st_mtime_ns == before
    with Manifest(tmp_path / "out") as manifest:
        (row,) = manifest.records()
    assert row.status == "done" and row.attempts == 0


def _claim(manifest: Manifest, **options):
    return manifest.begin("1", name="1", stem="1", settings="s", fingerprint="f", **options)


def test_a_photo_has_one_owner_until_that_is_gone(tmp_path: Path, monkeypatch) -> None:
    with Manifest(tmp_path) as first, Manifest(tmp_path) as second:
        mine = _claim(first)
        assert mine.attempts == 1 and _claim(second) is None
        monkeypatch.setattr("projector.lease._is_alive", lambda pid: False)
        theirs = _claim(second)
        assert theirs.attempts == 2 and theirs.folder == mine.folder
        published = []
        with pytest.raises(LeaseLostError, match="taken over"):
            first.finish(
                mine, seconds=1, metrics={}, stop="converged", edits="none", publish=lambda: published.append(1)
            )
        assert not published
        assert second.fail(theirs, "because", seconds=1).status == "failed"
        assert _claim(first, was=(1, "pending")) is None  # decided before the other one was done
        assert _claim(first, was=(2, "failed")).attempts == 3


def test_a_lease_ends_with_its_process_or_its_time() -> None:
    here, now = lease.Owner(), time.time()
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert not here.has_left(host=here.host, pid=os.getpid(), heartbeat=now)
    assert here.has_left(host=here.host, pid=os.getpid(), heartbeat=now - lease.LEASE - 1)
    if sys.platform != "win32":
        assert here.has_left(host=here.host, pid=child.pid, heartbeat=now)
    assert not here.has_left(host="elsewhere", pid=child.pid, heartbeat=now - lease.LEASE - 1)  # clocks may differ
    assert here.has_left(host="elsewhere", pid=child.pid, heartbeat=now - lease.LEASE - lease.SKEW - 1)


def test_the_heartbeat_renews_what_is_held(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(lease, "BEAT", 0.02)
    with Manifest(tmp_path) as manifest:
        began = _claim(manifest).heartbeat
        deadline = time.monotonic() + 10
        while manifest.find("1").heartbeat == began and time.monotonic() < deadline:
            time.sleep(0.02)
        assert manifest.find("1").heartbeat > began


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
    assert "://" not in page and "src=" not in page.partition("<script>")[2] and "@import" not in page
    assert page.count('class="sort') == 7 and "fetch" not in page and "import(" not in page
    assert "prefers-color-scheme: dark" in page and 'src="me/aligned.png"' in page and "warmth +1.05" in page
    assert Stop.MAX_STEPS.advice in page


def test_the_page_leads_to_what_failed(tmp_path: Path) -> None:
    with Manifest(tmp_path) as manifest:
        for name in ("a", "b"):
            record = manifest.begin(name, name=name, stem=name, settings="s", fingerprint="f")
        assert record is not None
        manifest.fail(record, "no face\nwas <found>", seconds=1.0)
        page = report.page(manifest.records())
    for word in ('<a href="#failed">1 failed</a>', '<h2 id="failed">', '<a href="#pending">1 not finished</a>'):
        assert word in page
    assert '<h2 id="pending">' in page and "<b>b</b>: no face was &lt;found&gt;" in page


def test_the_page_of_nothing_is_still_a_page() -> None:
    assert "0 done" in report.page([])


def test_the_sample_and_files_have_keys_of_their_own(photo: Path) -> None:
    assert Source(path=None, name="astronaut").key == "sample:astronaut"
    assert Source(path=photo, name="me.png").key == str(photo.resolve())
    assert Source(path=photo, name="me.png").read().size == read_photo(photo).size
    shutil.copy2(photo, photo.with_name("copy.png"))
    assert Source(path=photo, name="x").key != Source(path=photo.with_name("copy.png"), name="x").key

"""`editkit project` on a folder: killed at twenty random moments, and shared by two processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from project_fixtures import ROOT, make_photo, rows

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")


def _run(mode: str, folder: Path, photos: int) -> str:
    for index in range(photos):
        make_photo(folder / "photos" / f"{index:02}.png", seed=index)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    words = [str(ROOT / "tests" / "folder_worker.py"), mode, *(str(folder / name) for name in ("photos", "out", "log"))]
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=120, env=environment, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_killed_at_twenty_moments_nothing_is_half_written_or_done_twice(tmp_path: Path) -> None:
    said = json.loads(_run("kill", tmp_path, 60))
    assert said["code"] == 0 and said["done"] == 60 and said["killed"] == 20
    assert 5 <= said["before"] < 60, "kills in the middle of the work, some photos done and others not"
    found = rows(tmp_path / "out")
    assert len(found) == 60 and {row["status"] for row in found.values()} == {"done"}
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.endswith(".part")]


def test_two_processes_share_a_folder_and_do_nothing_twice(tmp_path: Path) -> None:
    _run("share", tmp_path, 16)
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert {status for _, status, _ in lines} == {"done"}
    assert Counter(name for _, _, name in lines) == {f"{index:02}.png": 1 for index in range(16)}
    assert len({pid for pid, _, _ in lines}) == 2  # both took their part
    assert {row["status"] for row in rows(tmp_path / "out").values()} == {"done"}

"""`editkit project`: what Ctrl-C leaves."""

from __future__ import annotations

import importlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from project_fixtures import ROOT, G, checkpoint, make_photo, photo, project, rows, warmth

from projector import Step, Stop
from projector import cli as project_cli
from projector.job import FILES
from projector.manifest import Manifest


def interrupt_at(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Ctrl-C in the step ``count`` of the process, counted over photos."""
    step, seen = project_cli._Screen.step, []

    def interrupted(self, found: Step) -> None:
        seen.append(found)
        step(self, found)
        if len(seen) == count:
            raise KeyboardInterrupt

    monkeypatch.setattr(project_cli._Screen, "step", interrupted)


def test_ctrl_c_writes_the_best_so_far_of_one_photo(project, photo: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        assert project(photo, "--json") == 130
    said = json.loads(capsys.readouterr().out)
    assert said["interrupted"] is True and said["photos"][0]["stop"] == "cancelled"
    told = json.loads((tmp_path / "out" / "me" / "report.json").read_text())
    assert told["stop"] == "cancelled" and told["advice"] == Stop.CANCELLED.advice and told["steps"] == 2
    assert sorted(path.name for path in (tmp_path / "out" / "me").iterdir()) == sorted(FILES)
    assert project(photo) == 0  # it does not count as done
    assert json.loads((tmp_path / "out" / "me" / "report.json").read_text())["stop"] == "max-steps"


def test_ctrl_c_in_a_folder_leaves_nothing_half_and_goes_on_later(project, tmp_path: Path, monkeypatch, capsys) -> None:
    for index, name in enumerate("abc"):
        make_photo(tmp_path / "photos" / f"{name}.png", seed=index)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 5)  # the second step of the second photo
        assert project(tmp_path / "photos") == 130
    assert "goes on" in capsys.readouterr().err
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["a", "manifest.sqlite", "report.html"]
    assert {name: row["status"] for name, row in rows(out).items()} == {"a.png": "done", "b.png": "pending"}
    assert "Not finished" in (out / "report.html").read_text(encoding="utf-8")
    written = (out / "a" / "report.json").stat().st_mtime_ns
    assert project(tmp_path / "photos") == 0
    assert {row["status"] for row in rows(out).values()} == {"done"} and len(rows(out)) == 3
    assert (out / "a" / "report.json").stat().st_mtime_ns == written


def interrupting(monkeypatch: pytest.MonkeyPatch, place: str, *, times: int) -> None:
    """Ctrl-C at the end of the function ``place``, in its first calls."""
    module, _, name = place.rpartition(".")
    owner = Manifest if module.endswith("Manifest") else importlib.import_module(module)
    function, seen = getattr(owner, name), []

    def interrupted(*args, **options):
        result = function(*args, **options)
        seen.append(place)
        if len(seen) <= times:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(owner, name, interrupted)


AFTER_THE_SEARCH = (
    "projector.search.measure",
    "projector.job.render_edited",
    "projector.job.write_edited",
    "projector.job.photo_report",
    "projector.manifest.Manifest.finish",
)


@pytest.mark.parametrize("place", AFTER_THE_SEARCH)
def test_ctrl_c_after_the_search_writes_what_was_found(
    project, photo: Path, warmth, tmp_path: Path, monkeypatch, capsys, place: str
) -> None:
    assert project(photo) == 0
    found = (tmp_path / "out" / "me" / "edited.png").read_bytes()
    with monkeypatch.context() as patch:
        interrupting(patch, place, times=1)
        assert project(photo, "--force") == 130
    captured = capsys.readouterr()
    assert "Ctrl-C again stops at once" in captured.err and "Traceback" not in captured.err
    assert sorted(path.name for path in (tmp_path / "out" / "me").iterdir()) == sorted(FILES)
    assert (tmp_path / "out" / "me" / "edited.png").read_bytes() == found
    told = json.loads((tmp_path / "out" / "me" / "report.json").read_text())
    assert told["stop"] == rows(tmp_path / "out")["me.png"]["stop"] == "cancelled" and told["steps"] == 3


@pytest.mark.parametrize("place", AFTER_THE_SEARCH[:4])
def test_a_second_ctrl_c_stops_at_once(project, photo: Path, tmp_path: Path, monkeypatch, place: str) -> None:
    interrupting(monkeypatch, place, times=2)
    assert project(photo) == 130
    assert not (tmp_path / "out" / "me" / "report.json").exists()
    assert rows(tmp_path / "out")["me.png"]["status"] == "pending"


def test_ctrl_c_in_the_search_and_after_it_stops_at_once(project, photo: Path, tmp_path: Path, monkeypatch) -> None:
    interrupt_at(monkeypatch, 2)
    interrupting(monkeypatch, "projector.search.measure", times=1)
    assert project(photo) == 130
    assert not (tmp_path / "out" / "me").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_a_real_ctrl_c(checkpoint: Path, photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "editkit",
        "project",
        str(photo),
        "--out",
        str(out),
        "--generator",
        str(checkpoint),
    ]
    command += ["--align", "centre", "--steps", "1000000", "--budget", "200s", "--verbose", "--device", "cpu"]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background inherits "ignore"
    ) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "step 1," in line:
                process.send_signal(signal.SIGINT)
                break
        rest = process.communicate(timeout=120)[1]
    assert process.returncode == 130, "".join(lines) + rest
    assert "Traceback" not in rest
    assert json.loads((out / "me" / "report.json").read_text())["stop"] == "cancelled"
    assert sorted(path.name for path in (out / "me").iterdir()) == sorted(FILES)

"""`editkit project DIR --engine ray`: two workers of which one is killed."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path

import pytest
import ray_maker
from PIL import Image
from project_fixtures import ROOT, G, checkpoint, make_photo, one_line, photo, project, rows

from editkit.errors import UsageError
from projector import ray_engine
from projector.sources import sources_of

KILLS, KILLS_ONCE = (255, 0, 0), (0, 0, 255)


class Heard:
    def __init__(self) -> None:
        self.ended: list[tuple[str, str]] = []

    def begin(self, source, index, total) -> None:
        pass

    def step(self, step) -> None:
        pass

    def end(self, source, entry) -> None:
        self.ended.append((entry["photo"], entry["status"]))


if importlib.util.find_spec("ray") is not None:  # an extra of 240 MB

    @pytest.mark.slow
    def test_a_killed_worker_is_replaced_and_its_photo_done(tmp_path: Path, monkeypatch) -> None:
        photos, out = tmp_path / "photos", tmp_path / "out"
        for index, name in enumerate("acd"):
            make_photo(photos / f"{name}.png", seed=index)
        Image.new("RGB", (32, 32), KILLS_ONCE).save(photos / "b.png")
        Image.new("RGB", (32, 32), KILLS).save(photos / "e.png")
        (photos / "f.png").write_bytes(b"no picture")
        monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'tests'}")  # of the workers
        monkeypatch.setenv("RAY_worker_niceness", "0")  # beside the rest of a test run, 15 would starve them
        monkeypatch.setattr(ray_engine, "TRIES", 2)
        heard = Heard()
        summary = ray_engine.run(partial(ray_maker.make, tmp_path), sources_of(photos, out=out), out, watch=heard)
        status = {
            "a.png": "done",
            "b.png": "done",
            "c.png": "done",
            "d.png": "done",
            "e.png": "failed",
            "f.png": "failed",
        }
        found = rows(out)
        errors = {name: row["error"] for name, row in found.items()}
        assert {name: row["status"] for name, row in found.items()} == status == dict(heard.ended), errors
        assert len(heard.ended) == 6 and summary.failed == 2 and not summary.interrupted
        assert "lost 2 times" in found["e.png"]["error"] and "not a picture" in found["f.png"]["error"]
        attempts = {name: row["attempts"] for name, row in found.items()}
        assert attempts["b.png"] == 2 and [attempts[name] for name in ("a.png", "c.png", "d.png")] == [1, 1, 1]
        made = (tmp_path / "made").read_text().split()
        assert len(made) == len(set(made)) <= 2 + 3  # once a worker: two, and those that took their places
        assert (out / "b" / "report.json").is_file() and "4 done" in (out / "report.html").read_text()
        assert not list(out.glob(".*.part"))


def test_without_ray_it_says_what_to_install(project, photo: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(ray_engine.importlib.util, "find_spec", lambda name: None)
    assert project(photo.parent, "--engine", "ray") == 2
    assert "pip install ray" in one_line(capsys)


def test_wrong_use(project, photo: Path, tmp_path: Path, capsys) -> None:
    assert project(photo, "--engine", "ray") == 2
    assert "for a folder" in one_line(capsys)
    assert project(photo.parent, "--ray-address", "auto") == 2
    assert "goes with --engine ray" in one_line(capsys)
    with pytest.raises(UsageError, match="at least one worker"):
        ray_engine.run(lambda: None, [], tmp_path, watch=Heard(), workers=0)  # type: ignore[arg-type,return-value]

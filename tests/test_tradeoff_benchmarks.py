"""benchmarks/editability.py and benchmarks/placement.py on generators that take no time: figures, table, picture."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from blob_generator import BlobGenerator
from PIL import Image
from project_fixtures import make_photo

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import directions  # noqa: E402
import editkit  # noqa: E402
from benchmarks import editability, placement  # noqa: E402
from directions import image_statistics, score  # noqa: E402
from editkit.direction import Direction  # noqa: E402
from editkit.generator import random_generator, save_generator  # noqa: E402
from projector import pose_search  # noqa: E402


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_editability_is_measured_kept_and_written(tmp_path: Path, monkeypatch, capsys) -> None:
    G = random_generator(resolution=16, output_scale=0.8)
    save_generator(G, tmp_path / "g.safetensors")
    for index in range(2):
        make_photo(tmp_path / "photos" / f"{index}.png", seed=index, side=16)
    vector = torch.randn(G.spec.w_dim, generator=torch.Generator().manual_seed(0))
    known = Direction(name="brightness", vector=vector, space="w", generator=G.spec.id)
    monkeypatch.setattr(directions, "names", lambda generator: ["brightness"])
    monkeypatch.setattr(directions, "load", lambda generator, name: known)
    scorers = (image_statistics.brightness(), image_statistics.contrast())
    monkeypatch.setattr(score, "default_scorers", lambda: scorers)
    page = tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    page.write_text(f"before\n{editability.START}\nold\n{editability.END}\nafter\n")
    command = ["editability.py", str(tmp_path / "photos"), "--generator", str(tmp_path / "g.safetensors")]
    command += ["--out", str(tmp_path / "out"), "--doc", str(page), "--steps", "3", "--points"]

    def run(*points: str) -> str:
        monkeypatch.setattr(sys, "argv", [*command, *points])
        editability.main()
        return capsys.readouterr().out

    assert run("spread 0.05").count("'kept'") == 2
    told = run("spread 0.05", "w")
    assert told.count("'kept'") == 2, "what is there is not measured again"
    assert "| spread 0.05 (default) |" in told and "| w |" in told and "Means over 2 photos" in told
    floor = next(line for line in told.splitlines() if line.startswith("| generator's samples"))
    assert floor.split("|")[5].strip() == "1.00", "samples keep the effect of samples"
    assert "old" not in page.read_text() and "| w |" in page.read_text() and page.read_text().endswith("after\n")
    assert Image.open(page.parent / "images" / editability.PICTURE).size == (640, 400)


def test_leakage_is_what_else_changes() -> None:
    rows = [{"kept": 1.0, "leakage": 0.3}, {"kept": 0.5, "leakage": 0.4}]
    assert editability.mean(rows) == pytest.approx({"kept": 0.75, "leakage": (0.125) ** 0.5})


def test_placement_counts_what_it_finds(monkeypatch, capsys) -> None:
    monkeypatch.setattr(editkit, "load_generator", lambda source, device: BlobGenerator())
    monkeypatch.setattr(pose_search, "POLISHED", 12)
    easy = placement.Placement(coarse=5, starts=3, trial=5, steps=25)
    hopeless = placement.Placement(coarse=1, trial=1, steps=1)
    monkeypatch.setattr(placement, "Placement", lambda: easy)
    monkeypatch.setattr(sys, "argv", ["placement.py", "--trials", "2", "--seed", "3"])
    placement.main()
    assert "2 of 2 within 0.5 px, 1 degree, 2 %" in capsys.readouterr().out
    monkeypatch.setattr(placement, "Placement", lambda: hopeless)
    placement.main()
    told = capsys.readouterr().out
    assert "0 of 2 within" in told and told.count("MISSED") == 2


def test_errors_of_a_pose() -> None:
    wanted = torch.zeros(4)
    found = torch.tensor([3 / 64, 4 / 64, torch.pi / 180, 0.0198026])
    assert placement.errors(found, wanted, 64) == pytest.approx((5.0, 1.0, 2.0), abs=1e-3)

"""`editkit rebuild`: the picture of the main job."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from editkit import cli
from editkit.direction import Direction
from editkit.errors import EditkitError
from editkit.generator import random_generator
from train import rebuild
from train.rebuild import show_main_job

ROOT = Path(__file__).resolve().parents[1]


def test_the_picture_is_what_the_main_job_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def project(arguments: list[str]) -> int:
        assert arguments[0] == "project"
        folder = Path(arguments[arguments.index("--out") + 1]) / "astronaut"
        folder.mkdir()
        (folder / "compare.png").write_bytes(b"new")
        return 0

    monkeypatch.setattr(cli, "main", project)
    show_main_job(tmp_path / "compare.png")
    assert (tmp_path / "compare.png").read_bytes() == b"new"


def test_a_failed_main_job_leaves_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "compare.png").write_bytes(b"old")
    monkeypatch.setattr(cli, "main", lambda arguments: 1)
    with pytest.raises(EditkitError, match="ended with 1"):
        show_main_job(tmp_path / "compare.png")
    assert (tmp_path / "compare.png").read_bytes() == b"old"


def test_every_picture_of_the_documentation_is_shown_somewhere_or_a_sheet_of_the_generator() -> None:
    texts = "".join(path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
    stray = [
        path.name
        for path in (ROOT / "docs" / "images").iterdir()
        if f"images/{path.name}" not in texts and not path.name.startswith("faces64_samples")
    ]
    assert not stray


def test_directions_and_banks_of_former_generators_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "bundled_directions", lambda: tmp_path)
    monkeypatch.setattr(rebuild, "bundled_bank", lambda generator: tmp_path / f"{generator[:12]}.bank.safetensors")
    for generator in ("a" * 12, "b" * 12):
        (tmp_path / generator).mkdir()
        (tmp_path / f"{generator}.bank.safetensors").write_bytes(b"bank")
    (tmp_path / "README.md").write_bytes(b"kept")
    said: list[str] = []
    rebuild.remove_former("b" * 64, said.append)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "b" * 12, f"{'b' * 12}.bank.safetensors"]
    assert len(said) == 2


def test_strips_of_directions_are_those_that_there_are(tmp_path: Path) -> None:
    G = random_generator(seed=1, resolution=16)
    (tmp_path / "direction_old.png").write_bytes(b"old")
    (tmp_path / "compare.png").write_bytes(b"kept")
    one = Direction(name="tone", vector=torch.ones(G.spec.w_dim), space="w", generator=G.spec.id)
    rebuild.show_directions(G, [one], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["compare.png", "direction_tone.png"]

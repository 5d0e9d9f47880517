"""Shared by the tests of `editkit project`: a small generator, photos, and the command itself."""

from __future__ import annotations

import errno
import io
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from directions import catalog
from editkit import cli
from editkit.direction import Direction
from editkit.generator import NetworkGenerator, load_generator, random_generator, save_generator

ROOT = Path(__file__).resolve().parents[1]
QUICK = ("--align", "centre", "--steps", "3")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("generator") / "small.safetensors"
    save_generator(random_generator(resolution=32, alignment="faces128", output_scale=0.8), path)
    return path


@pytest.fixture
def G(checkpoint: Path) -> NetworkGenerator:
    return load_generator(checkpoint, device="cpu")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return make_photo(tmp_path / "me.png")


@pytest.fixture
def warmth(G: NetworkGenerator) -> Direction:
    vector = torch.randn(G.spec.w_dim, generator=torch.Generator().manual_seed(0))
    direction = Direction(
        name="warmth", vector=vector, space="w", generator=G.spec.id, strength=(-2.0, 3.0), unit="one of them"
    )
    catalog.save(G, direction)
    return direction


def make_photo(path: Path, *, seed: int = 0, side: int = 48) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def project(checkpoint: Path, tmp_path: Path) -> Callable[..., int]:
    """``project(photo, *options)``: into tmp_path/out, with the small generator, quickly."""

    def run(*arguments: str | Path, quick: bool = True) -> int:
        options = ["--out", tmp_path / "out", "--generator", checkpoint, "--device", "cpu", *(QUICK if quick else ())]
        return cli.main([str(word) for word in ["project", *options, *arguments]])

    return run


def rows(out: Path) -> dict[str, sqlite3.Row]:
    database = sqlite3.connect(out / "manifest.sqlite")
    database.row_factory = sqlite3.Row
    found = {row["name"]: row for row in database.execute("SELECT * FROM photos")}
    database.close()
    return found


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    err = capsys.readouterr().err
    assert err.startswith("editkit: error: ") and err.count("\n") == 1, err
    return err


def close(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Nobody may look into ``folder`` any more. root may look anywhere, so the refusal is played."""

    def refusing(function: Callable, below: bool) -> Callable:
        def refused(path, *args, **options):
            name = Path(os.fsdecode(path)) if isinstance(path, str | bytes | os.PathLike) else None
            if name is not None and (folder in name.parents if below else name == folder or folder in name.parents):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
            return function(path, *args, **options)

        return refused

    for module, name in ((os, "stat"), (os, "lstat"), (os, "mkdir"), (io, "open")):
        monkeypatch.setattr(module, name, refusing(getattr(module, name), below=True))
    for name in ("scandir", "listdir"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name), below=False))

"""Discs of a colour on a gradient: pictures that a tiny network learns in a minute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def write_toys(folder: Path, *, count: int = 256, side: int = 16) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / side
    for index in range(count):
        cx, cy = rng.uniform(0.3, 0.7, 2)
        radius, colour, ground = rng.uniform(0.15, 0.3), rng.uniform(120, 255, 3), rng.uniform(0, 90, 3)
        inside = np.clip((radius - np.hypot(x - cx, y - cy)) * side / 1.5 + 0.5, 0, 1)[..., None]
        picture = inside * colour + (1 - inside) * (ground * (0.5 + x[..., None] / 2))
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"{index:04d}.png")
    return folder


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toys(tmp_path_factory.mktemp("data") / "toys")

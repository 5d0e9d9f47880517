"""Pictures made for the tests of data sets: textures whose spectrum falls like that of a photograph."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image


def texture(side: int, *, seed: int) -> np.ndarray:
    """uint8 [side, side, 3], in colour, with power 1 / f^2."""
    rng = np.random.default_rng([17, seed])
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequency[0, 0] = 1
    layers = [
        np.fft.irfft2(np.fft.rfft2(rng.standard_normal((side, side))) / frequency, (side, side)) for _ in range(4)
    ]
    layers = [(layer - layer.mean()) / layer.std() for layer in layers]
    colours = np.stack([128 + 30 * layers[3] + 18 * layer for layer in layers[:3]], axis=-1)
    return np.clip(colours, 0, 255).round().astype(np.uint8)


def good(seed: int, *, side: int = 64) -> Image.Image:
    """A picture as it should be: reduced by Lanczos from twice the size."""
    return Image.fromarray(texture(2 * side, seed=seed)).resize((side, side), Image.Resampling.LANCZOS)


def write_folder(folder: Path, count: int, *, side: int = 64, prefix: str = "p") -> Path:
    """``count`` good pictures p00.png, p01.png, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        good(seed, side=side).save(folder / f"{prefix}{seed:02d}.png")
    return folder


def write_zip(path: Path, count: int, *, side: int = 16, labels: object = None, mode: str = "RGB") -> Path:
    """An official data set zip; ``labels`` is what its dataset.json says, False: there is none."""
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(count):
            stream = io.BytesIO()
            good(index, side=side).convert(mode).save(stream, "PNG")
            archive.writestr(f"00000/img{index:08d}.png", stream.getvalue())
        if labels is not False:
            archive.writestr("dataset.json", json.dumps({"labels": labels}))
    return path

"""The pictures that a generator is compared with: a folder or a zip, read in batches at the generator's resolution.

Convention: float32 [N, 3, R, R] RGB in [-1, 1], sorted by name. Labels, if there are any, are not read.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from editkit.errors import TrainingDataError
from editkit.photo import image_from_uint8

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})


class Pictures:
    """Names and bytes of the square pictures of a folder (with its sub-folders) or zip."""

    def __init__(self, source: str | Path, *, resolution: int, limit: int | None = None) -> None:
        """Raises TrainingDataError: no such folder or zip, or no pictures in it."""
        self.source, self.resolution = Path(source), resolution
        self._archive: zipfile.ZipFile | None = None
        if self.source.is_dir():
            found = [path for path in self.source.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()]
            names = sorted(path.relative_to(self.source).as_posix() for path in found)
        elif self.source.is_file():
            try:
                self._archive = zipfile.ZipFile(self.source)
            except (OSError, zipfile.BadZipFile) as error:
                raise TrainingDataError(
                    f"{self.source} is not a readable zip ({error}); give a zip or a folder"
                ) from error
            names = sorted(name for name in self._archive.namelist() if Path(name).suffix.lower() in SUFFIXES)
        else:
            raise TrainingDataError(f"there is no folder or zip {self.source}; check the path")
        self.names = names[:limit]
        if not self.names:
            raise TrainingDataError(f"{self.source} holds no pictures ({', '.join(sorted(SUFFIXES))})")

    def __len__(self) -> int:
        return len(self.names)

    def digest(self) -> str:
        """SHA-256 of the names and bytes of the pictures."""
        running = hashlib.sha256()
        for name in self.names:
            running.update(hashlib.sha256(self._bytes(name)).digest() + name.encode())
        return running.hexdigest()

    def batches(self, size: int) -> Iterator[Tensor]:
        """All pictures in order, ``size`` at a time. Raises TrainingDataError for one that is damaged or not square."""
        for start in range(0, len(self), size):
            yield image_from_uint8(np.stack([self._read(name) for name in self.names[start : start + size]]))

    def _bytes(self, name: str) -> bytes:
        try:
            return (self.source / name).read_bytes() if self._archive is None else self._archive.read(name)
        except (OSError, zipfile.BadZipFile, RuntimeError) as error:  # RuntimeError: encrypted
            raise TrainingDataError(f"cannot read {name} of {self.source}: {error}") from error

    def _read(self, name: str) -> np.ndarray:
        try:
            with Image.open(io.BytesIO(self._bytes(name))) as picture:
                rgb = picture.convert("RGB")
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
            raise TrainingDataError(f"{name} of {self.source} is damaged or not a picture: {error}") from error
        if rgb.width != rgb.height:
            raise TrainingDataError(
                f"{name} of {self.source} is {rgb.width}x{rgb.height}; pictures here are square: crop them first"
            )
        if rgb.width != self.resolution:
            rgb = rgb.resize((self.resolution, self.resolution), Image.Resampling.LANCZOS)
        return np.asarray(rgb)


def as_seen(images: Tensor) -> Tensor:
    """Generated pictures as a file would hold them: clipped and rounded to 8 bits, back in [-1, 1]."""
    return ((images.float().clamp(-1, 1) + 1) * 127.5).round().div(127.5).sub(1)


def as_bytes(images: Tensor) -> Tensor:
    """[N, 3, R, R] in [-1, 1] to uint8."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)

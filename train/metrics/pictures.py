"""The pictures that a generator is compared with: what training would read of a folder or zip, at its resolution.

Convention: float32 [N, 3, R, R] RGB in [-1, 1], sorted by name. Labels, if there are any, are not read. For a generator
of grey pictures they are read grey, for one with alpha with theirs, and both are shown as its own pictures are (see
``editkit.colour``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from editkit.colour import as_rgb
from editkit.photo import image_from_uint8
from train.dataset import open_dataset


class Pictures:
    """The pictures of a folder (with its sub-folders) or zip, decoded and cut as ``train.dataset`` does for training.

    Of a face data set all rows, those for evaluation too.
    """

    def __init__(self, source: str | Path, *, resolution: int, channels: int = 3, limit: int | None = None) -> None:
        """channels: 1, 3 or 4, of the generator; limit: of the first so many.

        Raises TrainingDataError as ``open_dataset``: no pictures, or damaged ones.
        """
        self._data = open_dataset(source, resolution=resolution, channels=channels, part="all", cache="none")
        self.resolution, self.channels, self.names = resolution, channels, self._data.names[:limit]

    def __len__(self) -> int:
        return len(self.names)

    def digest(self) -> str:
        """SHA-256 of the names and contents (size and CRC-32) of the pictures, wherever they lie."""
        running = hashlib.sha256()
        for name in self.names:
            size, checksum = self._data.source.stamp(name)
            running.update(f"{name}\0{size}\0{checksum}\n".encode("utf-8", "surrogateescape"))
        return running.hexdigest()

    def batches(self, size: int) -> Iterator[Tensor]:
        """All pictures in order, ``size`` at a time. Raises TrainingDataError for one that is damaged."""
        for start in range(0, len(self), size):
            places = range(start, min(start + size, len(self)))
            images = as_rgb(image_from_uint8(self._data.__getitems__(places).images))
            yield as_seen(images) if self.channels == 4 else images


def as_seen(images: Tensor) -> Tensor:
    """Generated pictures as a file would hold them: clipped and rounded to 8 bits, back in [-1, 1]."""
    return ((images.float().clamp(-1, 1) + 1) * 127.5).round().div(127.5).sub(1)


def as_bytes(images: Tensor) -> Tensor:
    """[N, 3, R, R] in [-1, 1] to uint8."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)

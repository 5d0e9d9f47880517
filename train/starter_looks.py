"""What the starter's discriminator is shown of a picture: all of it, moved a little, and a small square from close by.

A feature network made for photographs of 200 pixels and more sees little of what is fine in 64. EfficientNet-Lite shows
these at 128, and a square of 32 pixels as well: eyes, skin and hair at twice the scale, and never a whole photograph
that could be learned by heart.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from editkit.errors import CheckpointError
from train.projected_discriminator import Backbone

log = logging.getLogger(__name__)

_SECOND = ("mixings.1.", "scales.4.", "scales.5.", "scales.6.", "scales.7.")  # of a discriminator's weights


class Looks:
    """One look, or two.

    Args:
        features: the frozen network of both.
        side: of the pictures, in pixels.
        shift: the whole picture is moved by up to so many pixels.
        close: side of the square; 0: no second look.

    ``backbones`` are for a discriminator that is given maps (``judge``), not pictures.
    """

    def __init__(self, features: Backbone, *, side: int, shift: int, close: int) -> None:
        self.features, self.side, self.shift, self.close = features, side, shift, close
        self.backbones = [features] * (2 if close else 1)

    def drawn(self, count: int, *, seed: int, seen: int) -> dict[str, Tensor]:
        """Of ``count`` pictures of the step at image ``seen``: how each is moved, and where its square lies, int64
        [count, 2], (y, x)."""

        def pixels(stream: int, low: int, high: int) -> Tensor:
            random = np.random.default_rng([seed, stream, seen])
            return torch.from_numpy(random.integers(low, high + 1, (count, 2)))

        drawn = {"shifts": pixels(2, -self.shift, self.shift)}
        return drawn | {"corners": pixels(3, 0, self.side - self.close)} if self.close else drawn

    def __call__(self, images: Tensor, drawn: Mapping[str, Tensor]) -> list[Tensor]:
        """The maps of [N, 3, R, R] in every look, one after another, as ``ProjectedDiscriminator.judge`` takes them."""
        maps = self.features(moved(images, drawn["shifts"]))
        if self.close:
            maps = [*maps, *self.features(windows(images, drawn["corners"], self.close))]
        return maps


def carried_over(own: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights ``stored`` of a discriminator for one that has ``own``: they are the same, or a second look begins
    with its own, or is left out. Raises CheckpointError where anything else differs."""
    differing = own.keys() ^ stored.keys()
    if differing and differing != {name for name in (*own, *stored) if name.startswith(_SECOND)}:
        raise CheckpointError(f"the state's discriminator is of another kind, or damaged: {min(differing)}")
    if differing:
        log.info("the look from close by %s", "begins anew" if len(own) > len(stored) else "is left out")
    return {name: stored.get(name, begun) for name, begun in own.items()}


def moved(images: Tensor, shifts: Tensor) -> Tensor:
    """Images [N, C, R, R] moved by whole pixels (y, x), int64 [N, 2]; what comes in is grey."""
    side, most = images.shape[2], images.shape[2] // 2
    return windows(F.pad(images, [most] * 4), most - shifts.clamp(-most, most), side)


def windows(images: Tensor, corners: Tensor, side: int) -> Tensor:
    """Of each image [N, C, R, R] the square [N, C, side, side] whose upper left pixel is (y, x), int64 [N, 2]."""
    corners = corners.to(images.device)
    places = torch.arange(side, device=images.device)
    rows, columns = places + corners[:, :1], places + corners[:, 1:]
    each = torch.arange(len(images), device=images.device)[:, None, None]
    return images.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)

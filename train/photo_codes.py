"""Where the codes of photographs lie, for the encoder: found by searching for some of them.

Photographs do not lie round the mean of W. A fourth of the way (of its squared length) from where an encoder that began
there ended to the code of a long search was the same for all photographs (docs/projection.md). So an encoder begins at
the mean of such codes, sees samples drawn about it, and the curvature is measured there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from editkit.generator import Generator
from editkit.perceptual import PerceptualDistance
from editkit.photo import image_from_uint8
from projector.curvature import Curvature
from projector.refine import Refine
from projector.result import Stop
from projector.statistics import WStatistics
from train.dataset import ImageDataset

PHOTOS, STEPS, BATCH = 48, 80, 8
"""Photographs searched for, the steps of each, and how many at a time."""
LEAST = 8
"""Of fewer the mean says little, and what is drawn about it would be one person."""
_ROW_NOISE = 0.2
"""Of drawn codes, beside what the codes that were found span: in standard deviations of W."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PhotoCodes:
    """Codes that were found, in standard deviations of W.

    Attributes:
        mean: [num_ws, w_dim].
        apart: each less the mean, [K, num_ws, w_dim].
    """

    mean: Tensor
    apart: Tensor

    @classmethod
    def of(cls, codes: Tensor) -> PhotoCodes:
        """From codes [K, num_ws, w_dim]."""
        mean = codes.mean(0)
        return cls(mean=mean, apart=codes - mean)

    def draw(self, count: int, random: torch.Generator) -> Tensor:
        """Codes of people who are nobody, [count, num_ws, w_dim]: normal, with the covariance of those found and a
        little noise."""
        shares = torch.randn(count, len(self.apart), generator=random) / max(1, len(self.apart) - 1) ** 0.5
        noise = _ROW_NOISE * torch.randn(count, *self.mean.shape, generator=random)
        return self.mean + torch.einsum("nk,krw->nrw", shares, self.apart) + noise


def find_photo_codes(
    G: Generator,
    photos: ImageDataset,
    statistics: WStatistics,
    curvature: Curvature,
    *,
    perceptual: PerceptualDistance,
    count: int = PHOTOS,
    steps: int = STEPS,
    on_batch: Callable[[int, int], None] | None = None,
) -> PhotoCodes:
    """Searches for ``count`` photographs, evenly spaced, by ``Refine`` from the mean of W.

    ``on_batch`` is called with how many are found, and how many are wanted. Raises KeyboardInterrupt on Ctrl-C.
    """
    count = min(count, len(photos))
    places = [index * len(photos) // count for index in range(count)]
    found: list[Tensor] = []
    for first in range(0, count, BATCH):
        images = image_from_uint8(photos.__getitems__(places[first : first + BATCH]).images)
        method = Refine(steps=steps, patience=0)
        ended = method.find(G, images, perceptual=perceptual, curvature=curvature)
        if ended.stop is Stop.CANCELLED:  # Ctrl-C: a search that was cut short is no code of a photograph
            raise KeyboardInterrupt
        found.append(statistics.deviations(ended.latent.tensor.to(G.device) - statistics.mean).cpu())
        if on_batch is not None:
            on_batch(min(first + BATCH, count), count)
    return PhotoCodes.of(torch.cat(found))

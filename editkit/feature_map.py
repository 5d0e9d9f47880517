"""Intermediate activations of a generator, read by places in its picture.

Convention: places are (x, y) in pixels of the picture, the origin at the top-left corner of the top-left pixel, centres
at +0.5, as everywhere. A map has its own sampling rate, and StyleGAN3's reach beyond the picture on every side.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FeatureMap:
    """What one layer computed.

    Attributes:
        values: [N, C, H, W], its centre that of the picture.
        rate: samples in the width of the picture (Karras et al. 2021, section 3.2: s); H and W less this are margins.
        resolution: of the picture, in pixels.
    """

    values: Tensor
    rate: float
    resolution: int

    def at(self, places: Tensor) -> Tensor:
        """The features at ``places`` [N, ..., 2], between samples bilinearly: [N, ..., C]; beyond the map its edge."""
        height, width = self.values.shape[2:]
        size = places.new_tensor([width, height])
        grid = (places / self.resolution - 0.5) * (2 * self.rate) / size  # -1 and 1 are the outer edges of the map
        flat = grid.reshape(len(places), 1, -1, 2)
        found = F.grid_sample(
            self.values.to(places.dtype), flat, mode="bilinear", padding_mode="border", align_corners=False
        )
        return found[:, :, 0].transpose(1, 2).reshape(*places.shape[:-1], -1)

"""Noise maps of StyleGAN2 as part of a projection: what makes freckles and strands of hair is fitted too.

Source: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", section 5 and appendix D: the maps
are optimised with the code, kept at mean 0 and variance 1, and kept from holding a picture by a term on the correlation
of neighbours at every scale. Departures: they start from the network's own maps, so that a short search stays near
its picture, and the weight of the term is 1 where 1e5 was published: in our few hundred steps that leaves the maps no
room (an untrained network at 32 px, 200 steps: 16.2 dB with 1e5, 16.6 without maps, 23.4 with 1, whose maps are as
uncorrelated as noise is).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from editkit.errors import UsageError

if TYPE_CHECKING:
    from editkit.generator import Generator

SMALLEST = 8
"""Side in pixels of the coarsest scale at which neighbours are compared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseMaps:
    """Settings of the fit.

    Attributes:
        weight: of the term against structure.
        lr: peak learning rate of Adam; the maps have variance 1.
    """

    weight: float = 1.0
    lr: float = 0.1

    def __post_init__(self) -> None:
        if not (self.weight >= 0 and math.isfinite(self.weight) and self.lr > 0 and math.isfinite(self.lr)):
            raise UsageError(
                f"noise maps need a weight of 0 or more and a learning rate above 0, got {self.weight}, {self.lr}"
            )


def map_sizes(G: Generator) -> dict[str, int]:
    """Layer -> side of its noise map. Raises UsageError where the generator has none."""
    stored: Mapping[str, Tensor] = getattr(G, "noise_maps", {})
    if not stored:
        raise UsageError(
            f"{G.spec.name!r} has no noise maps to fit: only StyleGAN2 has, and not every one; leave --noise-maps out"
        )
    return {name: values.shape[-1] for name, values in stored.items()}


def structure(maps: Mapping[str, Tensor]) -> Tensor:
    """Maps [N, r, r] to [N]: squared correlation of neighbours, over all maps and halvings of them (equation 9)."""
    total: Tensor | float = 0.0
    for values in maps.values():
        level = values[:, None]
        while True:
            for axis in (2, 3):
                total = total + (level * level.roll(1, axis)).mean([1, 2, 3]).square()
            if level.shape[2] <= SMALLEST:
                break
            level = F.avg_pool2d(level, 2) * 2  # the mean of four has half the deviation
    return torch.as_tensor(total)


def normalised(values: Tensor) -> Tensor:
    """[N, r, r] with mean 0 and mean square 1."""
    centred = values - values.mean([1, 2], keepdim=True)
    return centred * centred.square().mean([1, 2], keepdim=True).clamp(min=1e-12).rsqrt()

"""Blur of all that the discriminator sees, fading out early in training.

Source: Karras et al. 2021, "Alias-Free Generative Adversarial Networks", appendix D.2: without it configuration R lets
the discriminator settle on high frequencies at once. The deviation falls linearly from ``sigma`` to 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from editkit.errors import UsageError
from editkit.ops.upfirdn2d import filter2d


@dataclass(frozen=True, kw_only=True, slots=True)
class BlurFade:
    """``sigma`` in pixels at the start (10 in the paper); ``images``: how many pass until it is gone (200,000).

    The taps are 2^-(x / sigma)^2, up to three sigma.
    """

    sigma: float = 10.0
    images: int = 200_000

    def __post_init__(self) -> None:
        if not 0 <= self.sigma < math.inf or self.images < 1:
            raise UsageError(f"a blur needs a sigma from 0 and at least one image, got {self.sigma} and {self.images}")

    def sigma_at(self, seen: int) -> float:
        """The deviation after ``seen`` images."""
        return self.sigma * max(1 - seen / self.images, 0.0)

    def __call__(self, images: Tensor, *, seen: int) -> Tensor:
        """[N, C, H, W], blurred as far as it is after ``seen`` images."""
        sigma = self.sigma_at(seen)
        reach = math.floor(sigma * 3)
        if reach < 1:
            return images
        taps = (
            torch.arange(-reach, reach + 1, device=images.device, dtype=torch.float32).div(sigma).square().neg().exp2()
        )
        return filter2d(images, taps / taps.sum())

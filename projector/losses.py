"""What a search minimises: weighted terms between pictures, one value a sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from editkit.perceptual import PerceptualDistance


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """Weights of the terms.

    Attributes:
        pixel: mean squared error, images in [-1, 1], averaged over ``scales`` halvings.
        perceptual: the perceptual distance in force (LPIPS, or the bundled one).
        spread: how far the rows of W+ are from their mean, in standard deviations of W, squared: what keeps a W+ code
            editable (Tov et al. 2021, "Designing an Encoder for StyleGAN Image Manipulation", section 4.1).
        prior: how far the mean row is from the mean of W, in standard deviations, squared.
        styles: how far the styles of S are from those of the code in W+, in standard deviations of each, squared.
        scales: pixel scales, each half of the one before.
    """

    pixel: float = 10.0
    perceptual: float = 0.3
    spread: float = 0.05
    prior: float = 0.001
    styles: float = 0.05
    scales: int = 3


EDITABLE = Weights(spread=5.0, prior=0.005)
"""Of "auto": a code nearer to the samples of the generator, so that edits hold further; 2 dB farther from the photo."""


class PictureLoss:
    """Terms between rendered pictures and their targets."""

    def __init__(self, targets: Tensor, perceptual: PerceptualDistance, weights: Weights) -> None:
        """``targets``: [N, 3, R, R] in [-1, 1]."""
        self.targets, self.weights = targets, weights
        self.prepared = perceptual.prepare(targets) if weights.perceptual else None

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """``images`` [N, 3, R, R] to weighted terms, each [N]."""
        terms = {"pixel": self.weights.pixel * multiscale_mse(images, self.targets, scales=self.weights.scales)}
        if self.prepared is not None:
            terms["perceptual"] = self.weights.perceptual * self.prepared.distance(images)
        return terms


def multiscale_mse(first: Tensor, second: Tensor, *, scales: int) -> Tensor:
    """Mean squared error a sample, averaged over ``scales`` halvings: [N, 3, R, R] twice to [N]."""
    difference = first - second
    total = difference.square().mean([1, 2, 3])
    for _ in range(scales - 1):
        if min(difference.shape[2:]) < 8:
            return total / scales
        difference = F.avg_pool2d(difference, 2)  # linear, so that only the difference is needed
        total = total + difference.square().mean([1, 2, 3])
    return total / scales

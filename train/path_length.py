"""The path length regulariser: a step in W of any direction moves the image by the same amount.

Source: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", section 3.2, equation 4, and
appendix B (lazy regularisation on a part of the batch).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from editkit.errors import UsageError


class PathLength:
    """Holds the running mean of path lengths, a scalar tensor ``mean``: to be saved, and averaged over ranks.

    Args:
        weight: of the penalty (2 in the paper).
        decay: how far the mean moves to that of a batch.
        batch_shrink: a batch of N is cut to N / ``batch_shrink`` samples, as second derivatives need memory.
        ahead: lengths are compared with the mean that they have moved, as published; False: with the one before, so
            that parts of a batch, each with lengths of its own, are compared with the same.
    """

    def __init__(self, *, weight: float = 2.0, decay: float = 0.01, batch_shrink: int = 2, ahead: bool = True) -> None:
        if weight <= 0 or not 0 < decay <= 1 or batch_shrink < 1:
            raise UsageError(
                f"path length needs a weight above 0, a decay in (0, 1] and batch_shrink from 1, got {weight}, {decay} "
                f"and {batch_shrink}"
            )
        self.weight, self.decay, self.batch_shrink, self.ahead = weight, decay, batch_shrink, ahead
        self.mean = torch.zeros([])

    def count(self, batch: int) -> int:
        """How many of ``batch`` samples it takes."""
        return max(batch // self.batch_shrink, 1)

    def __call__(self, images: Tensor, ws: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The penalty and the weighted loss, [N] each; moves the mean.

        Args:
            images: [N, C, H, W], made of ``ws`` [N, num_ws, w_dim].
            noise: standard normal, of the images' shape.
        """
        scaled = noise / math.sqrt(images.shape[2] * images.shape[3])
        (gradient,) = torch.autograd.grad((images * scaled).sum(), ws, create_graph=True)
        lengths = gradient.square().sum(2).mean(1).sqrt()  # |J^T y|, [N]
        before = self.mean.to(lengths)
        mean = before.lerp(lengths.mean(), self.decay)
        self.mean = mean.detach().clone()
        mean = mean if self.ahead else before
        penalty = (lengths - mean).square()
        return penalty, penalty * self.weight

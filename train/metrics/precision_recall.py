"""Precision and recall: how many samples look real, and how much of what is real is covered.

Source: Kynkäänniemi et al. 2019, "Improved Precision and Recall Metric for Assessing Generative Models", equations 1
and 2: a set's manifold is the union of balls about its features that reach to the k-th nearest neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from editkit.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class PrecisionRecall:
    """Shares of 0 to 1."""

    precision: float
    recall: float


def precision_recall(
    real: Tensor, fake: Tensor, *, neighbours: int = 3, rows: int = 2_000, distance_dtype: torch.dtype = torch.float32
) -> PrecisionRecall:
    """Of features [N, D] and [M, D].

    Args:
        neighbours: k; rows: of the distance matrix at a time.
        distance_dtype: distances are rounded to it before they are compared; float16 is what the paper's code did.

    Raises:
        UsageError: not more pictures than neighbours in a set, or features of different length.
    """
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise UsageError(f"precision needs features of one length, got {tuple(real.shape)} and {tuple(fake.shape)}")
    if neighbours < 1 or min(len(real), len(fake)) <= neighbours:
        raise UsageError(
            f"precision with {neighbours} neighbours needs more pictures than that, got {len(real)} and {len(fake)}"
        )
    covered = []
    for manifold, probes in ((real, fake), (fake, real)):
        reach = torch.cat(
            [
                _distances(part, manifold, distance_dtype).kthvalue(neighbours + 1).values
                for part in manifold.split(rows)
            ]
        )  # the nearest is the point itself
        inside = [(_distances(part, manifold, distance_dtype) <= reach).any(1) for part in probes.split(rows)]
        covered.append(float(torch.cat(inside).float().mean()))
    return PrecisionRecall(precision=covered[0], recall=covered[1])


def _distances(a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.cdist(a.float(), b.float()).to(dtype).float()

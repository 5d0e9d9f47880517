"""Mean and covariance of w, summed batch by batch in float64: memory does not grow with the number of samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from directions.methods import Progress
from editkit.errors import DirectionError
from editkit.labels import Classes
from editkit.sampling import sample_w

if TYPE_CHECKING:
    from editkit.generator import Generator


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Spread:
    """Where the samples of a generator lie in W.

    Attributes:
        mean: [w_dim], float64.
        covariance: [w_dim, w_dim], float64.
    """

    mean: Tensor
    covariance: Tensor

    def deviation(self, vector: Tensor) -> float:
        """Standard deviation of w along ``vector`` [w_dim], whose length does not matter."""
        unit = vector.detach().cpu().double()
        unit = unit / unit.norm()
        return float((unit @ self.covariance @ unit).clamp(min=0).sqrt())


def spread_of_w(
    G: Generator,
    *,
    samples: int,
    seed: int = 0,
    classes: Classes | None = None,
    batch: int = 1000,
    on_progress: Progress | None = None,
) -> Spread:
    """Of the seeds ``seed`` to ``seed + samples - 1``; the same for any batch up to rounding.

    Raises DirectionError: too few samples, or NaN in W.
    """
    width = G.spec.w_dim
    if samples <= width:
        raise DirectionError(f"{samples} samples cannot show {width} dimensions; take more than {width}")
    if batch < 1:
        raise DirectionError(f"a batch has at least one sample, got {batch}")
    # Sums are taken about w_avg, which is near the mean: nothing is lost to cancellation.
    centre = G.w_avg.detach().cpu().double()  # [w_dim]
    total, products = torch.zeros(width, dtype=torch.float64), torch.zeros(width, width, dtype=torch.float64)
    for start in range(0, samples, batch):
        stop = min(start + batch, samples)
        codes = sample_w(G, range(seed + start, seed + stop), classes=classes).tensor
        w = codes[:, 0].cpu().double() - centre  # [B, w_dim]
        total += w.sum(dim=0)
        products += w.T @ w
        if on_progress is not None:
            on_progress(stop, samples)
    offset = total / samples
    covariance = (products - samples * torch.outer(offset, offset)) / (samples - 1)
    if not bool(torch.isfinite(covariance).all()):
        raise DirectionError(f"the mapping of {G.spec.name!r} gives NaN or infinite values; its weights are damaged")
    return Spread(mean=centre + offset, covariance=covariance)


def leading_eigenvectors(matrix: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest eigenvalues [count] of a symmetric matrix, and unit eigenvectors [count, D].

    Signs are fixed: the largest entry of each vector is positive.
    """
    values, columns = torch.linalg.eigh(matrix)  # ascending
    vectors = columns.T.flip(0)[:count].contiguous()
    largest = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))
    return values.flip(0)[:count], vectors * largest.sign()

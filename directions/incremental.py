"""Principal components of a stream of vectors too long to keep: batches come and go, a few components stay.

Ross, Lim, Lin, Yang, "Incremental Learning for Robust Visual Tracking" (IJCV 2008), section 3.1: the components so far,
scaled by their singular values, stand for all samples seen; with a new batch below them and a row for the shift of the
mean, their singular value decomposition is that of everything. Cut off at ``rank`` components each time, so memory is
(2 rank + batch) vectors, however many samples there are; exact while no more than ``rank`` components vary.
Departure: the decomposition goes through the small Gram matrix, in float64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from editkit.errors import DirectionError


class IncrementalComponents:
    """Give batches to ``update``; ``mean``, ``vectors`` and ``deviations`` are those of all so far."""

    def __init__(self, rank: int) -> None:
        """``rank``: how many components are carried along; a few more than are wanted."""
        self.rank, self.samples = rank, 0
        self.mean = torch.zeros(0)
        self._rows = torch.zeros(0, 0)  # [K, D], singular value times component
        self._squares = 0.0  # of all samples about the mean

    def update(self, batch: Tensor) -> None:
        """``batch`` [B, D], in any dtype. Raises DirectionError for NaN."""
        x = batch.detach().flatten(1).float().cpu()
        if not bool(torch.isfinite(x).all()):
            raise DirectionError("activations hold NaN or infinite values; the generator's weights are damaged")
        count, centre = len(x), x.mean(0, dtype=torch.float64)
        x = (x - centre.float()).contiguous()
        self._squares += float(x.double().square().sum())
        if not self.samples:
            stacked, self.mean = x, centre
        else:
            shift = self.mean - centre
            weight = self.samples * count / (self.samples + count)
            self._squares += weight * float(shift.square().sum())
            stacked = torch.cat([self._rows, x, math.sqrt(weight) * shift.float()[None]])
            self.mean = (self.samples * self.mean + count * centre) / (self.samples + count)
        self.samples += count
        _, columns = torch.linalg.eigh(stacked.double() @ stacked.double().T)  # ascending
        kept = columns.flip(1)[:, : self.rank]
        self._rows = kept.float().T @ stacked  # a singular value long, each

    @property
    def vectors(self) -> Tensor:
        """[K, D], orthonormal rows; the largest entry of each is positive."""
        unit = torch.nn.functional.normalize(self._rows, dim=1, eps=1e-30)
        return unit * unit.gather(1, unit.abs().argmax(1, keepdim=True)).sign()

    @property
    def deviations(self) -> Tensor:
        """[K], standard deviation along each, float64."""
        return self._rows.double().norm(dim=1) / math.sqrt(max(1, self.samples - 1))

    @property
    def total_variance(self) -> float:
        """Of all dimensions together, exact."""
        return self._squares / max(1, self.samples - 1)

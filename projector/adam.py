"""Adam for many small problems at once: a row has its own count of steps and rate, and may be left out of a step.

Source: Kingma and Ba 2015, "Adam: A Method for Stochastic Optimization", algorithm 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

BETAS, EPSILON = (0.9, 0.99), 1e-8


class LaneAdam:
    """State of the rows of ``variables``, each [N, ...]; the caller owns those."""

    def __init__(self) -> None:
        self.first: dict[str, Tensor] = {}
        self.second: dict[str, Tensor] = {}
        self.count: dict[str, Tensor] = {}

    def enter(self, variables: Mapping[str, Tensor]) -> None:
        """State for new rows, after those there are."""
        for name, rows in variables.items():
            fresh = (torch.zeros_like(rows), torch.zeros_like(rows), rows.new_zeros(len(rows)))
            for kept, new in zip((self.first, self.second, self.count), fresh, strict=True):
                kept[name] = torch.cat([kept[name], new]) if name in kept else new

    def stay(self, lanes: Sequence[int]) -> None:
        """Drop all rows but these."""
        for kept in (self.first, self.second, self.count):
            for name in kept:
                kept[name] = kept[name][list(lanes)]

    def forget(self, where: Tensor) -> None:
        """Rows begin anew; ``where``: bool [N]."""
        for kept in (self.first, self.second, self.count):
            for values in kept.values():
                values[where] = 0

    def update(self, variables: Mapping[str, Tensor], rates: Mapping[str, Tensor]) -> None:
        """One step along the gradients that ``variables`` carry, at ``rates`` [N] each; a rate of 0 leaves a row,
        none the variable."""
        with torch.no_grad():
            for name, rate in rates.items():
                values = variables[name]
                moves = _over(rate > 0, values)
                # where: gradients of a row that is left out may be NaN
                gradient = torch.zeros_like(values) if values.grad is None else values.grad
                gradient = torch.where(moves, gradient, torch.zeros_like(gradient))
                count = self.count[name] + (rate > 0)
                first = torch.where(moves, torch.lerp(gradient, self.first[name], BETAS[0]), self.first[name])
                second = torch.lerp(gradient.square(), self.second[name], BETAS[1])
                second = torch.where(moves, second, self.second[name])
                self.first[name], self.second[name], self.count[name] = first, second, count
                taken = count.clamp(min=1)
                mean = first / _over(1 - BETAS[0] ** taken, values)
                root = (second / _over(1 - BETAS[1] ** taken, values)).sqrt() + EPSILON
                values.sub_(_over(rate, values) * mean / root)


def _over(row: Tensor, like: Tensor) -> Tensor:
    """[N] to [N, 1, ...], as many axes as ``like``."""
    return row.reshape(-1, *[1] * (like.ndim - 1))

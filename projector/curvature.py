"""In which directions of W+ pictures change much, and variables in which they change alike.

A search in W+ is badly scaled: a small step along some directions changes the whole picture, a large one along others
hardly a pixel. An encoder's file keeps, for each row, the strongest directions of the loss's mean Gauss-Newton matrix
(Nocedal and Wright 2006, "Numerical Optimization", section 10.3), as if rows did not interact. ``Refine`` searches in
variables y with code = P y, where P shrinks a direction of curvature e by (1 + e / soft)^-1/2 and leaves what is not
kept. Measured by ``train/encoder_curvature.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Curvature:
    """Directions of each row and how much each is shrunk.

    Attributes:
        basis: [num_ws, r, w_dim], the r of a row orthonormal.
        shrink: [num_ws, r], in (0, 1].
    """

    basis: Tensor
    shrink: Tensor

    def to(self, device: torch.device) -> Curvature:
        """The same there."""
        return Curvature(basis=self.basis.to(device), shrink=self.shrink.to(device))

    def to_codes(self, variables: Tensor) -> Tensor:
        """P y: [N, num_ws w_dim] to codes in standard deviations of W."""
        return self._scaled(variables, self.shrink)

    def to_variables(self, codes: Tensor) -> Tensor:
        """The inverse of ``to_codes``."""
        return self._scaled(codes, 1 / self.shrink)

    def _scaled(self, flat: Tensor, factors: Tensor) -> Tensor:
        rows = flat.unflatten(1, (self.basis.shape[0], self.basis.shape[2]))
        parts = torch.einsum("nlw,lrw->nlr", rows, self.basis) * (factors - 1)
        return (rows + torch.einsum("nlr,lrw->nlw", parts, self.basis)).flatten(1)

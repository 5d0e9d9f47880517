"""In which directions of W+ pictures change much, and variables in which they change alike.

A search in W+ is badly scaled: a small step along some directions changes the whole picture, a large one along others
hardly a pixel. An encoder's file keeps the strongest directions of the loss's mean Gauss-Newton matrix (Nocedal and
Wright 2006, "Numerical Optimization", section 10.3); ``Refine`` searches in variables y with code = P y, where P
shrinks direction i, of curvature e_i, by (1 + e_i / e_r)^-1/2 and leaves what lies outside the r kept ones.
Measured by ``train/encoder_curvature.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Curvature:
    """Directions and how much each is shrunk.

    Attributes:
        basis: [r, num_ws w_dim], orthonormal rows.
        shrink: [r], in (0, 1].
    """

    basis: Tensor
    shrink: Tensor

    def to_codes(self, variables: Tensor) -> Tensor:
        """P y: [N, num_ws w_dim] to codes in standard deviations of W."""
        return variables + ((variables @ self.basis.t()) * (self.shrink - 1)) @ self.basis

    def to_variables(self, codes: Tensor) -> Tensor:
        """The inverse of ``to_codes``."""
        return codes + ((codes @ self.basis.t()) * (1 / self.shrink - 1)) @ self.basis

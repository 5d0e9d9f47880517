"""Limited-memory BFGS for many small problems at once, each with its own curvature and its own step length.

Source: Nocedal and Wright 2006, "Numerical Optimization", algorithms 7.4 (two-loop recursion) and 7.5, with Armijo
backtracking (equation 3.4) by quadratic interpolation (equation 3.57). Departures: the problems of a batch advance
together, one evaluation each, so that some take a step while others shorten theirs; a pair without positive curvature
is left out, since nothing enforces the curvature condition (3.6b).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SUFFICIENT = 1e-4
"""c1 of equation 3.4."""


class QuasiNewton:
    """Minimises N functions of D variables: ``propose`` says where to look, ``tell`` takes what is there.

    Args:
        start: [N, D].
        memory: pairs kept.
        first: length of the first step, in units of the variables' root mean square.
        longest: of any step, likewise.
    """

    def __init__(self, start: Tensor, *, memory: int = 20, first: float = 0.05, longest: float = 1.0) -> None:
        self.point = start.detach().clone()
        self.memory, self.first, self.longest = memory, first, longest
        count = len(start)
        self.value = torch.full((count,), torch.inf, device=start.device)
        self.gradient = torch.zeros_like(self.point)
        self.direction = torch.zeros_like(self.point)
        self.length = torch.ones(count, device=start.device)
        self.slope = torch.zeros(count, device=start.device)
        kept = (count, memory, self.point.shape[1])
        self.moves = torch.zeros(kept, device=start.device)  # steps s, the newest last
        self.changes = torch.zeros(kept, device=start.device)  # changes of the gradient y
        self.inverses = torch.zeros(kept[:2], device=start.device)  # 1 / (s.y); 0 where there is no pair yet

    _ROWS = (
        "point", "value", "gradient", "direction", "length", "slope", "moves", "changes", "inverses"
    )  # fmt: skip

    def join(self, other: QuasiNewton) -> None:
        """Take in the functions of another search of as many variables and the same memory, after those there are."""
        for name in self._ROWS:
            setattr(self, name, torch.cat([getattr(self, name), getattr(other, name)]))

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all functions but these."""
        for name in self._ROWS:
            setattr(self, name, getattr(self, name)[list(rows)])

    def propose(self) -> Tensor:
        """[N, D], where the functions are wanted next."""
        return self.point + self.length[:, None] * self.direction

    def tell(self, value: Tensor, gradient: Tensor) -> Tensor:
        """Values [N] and gradients [N, D] there; returns which were good enough to move to, [N]."""
        value, gradient = value.detach(), gradient.detach()
        finite = torch.isfinite(value) & torch.isfinite(gradient).all(1)
        bound = self.value + SUFFICIENT * self.length * self.slope
        accepted = finite & ((value <= bound) | torch.isinf(self.value))
        move = self.length[:, None] * self.direction
        change = gradient - self.gradient
        curvature = (move * change).sum(1)
        useful = accepted & (curvature > 1e-10 * change.square().sum(1)) & (curvature > 0)
        for kept, new in ((self.moves, move), (self.changes, change), (self.inverses, 1 / curvature)):
            kept[useful] = torch.cat([kept[useful, 1:], new[useful, None]], 1)
        # Refused: the minimum of the parabola through the two values and the slope.
        rise = (value - self.value - self.slope * self.length).clamp(min=1e-12)
        fit = torch.where(finite, -self.slope * self.length.square() / (2 * rise), 0.1 * self.length)
        shorter = torch.maximum(torch.minimum(fit, 0.5 * self.length), 0.1 * self.length)
        self.point = torch.where(accepted[:, None], self.point + move, self.point)
        self.value = torch.where(accepted, value, self.value)
        self.gradient = torch.where(accepted[:, None], gradient, self.gradient)
        fresh, slope = self._direction()
        self.direction = torch.where(accepted[:, None], fresh, self.direction)
        self.slope = torch.where(accepted, slope, self.slope)
        self.length = torch.where(accepted, torch.ones_like(self.length), shorter)
        return accepted

    def _direction(self) -> tuple[Tensor, Tensor]:
        """A descent direction and the slope along it."""
        q, factors = self.gradient.clone(), {}
        used = [slot for slot in range(self.memory) if bool((self.inverses[:, slot] > 0).any())]
        for slot in reversed(used):
            factors[slot] = self.inverses[:, slot] * (self.moves[:, slot] * q).sum(1)
            q = q - factors[slot][:, None] * self.changes[:, slot]
        # Equation 7.20, from the newest pair.
        known = self.inverses[:, -1] > 0
        scale = 1 / (self.inverses[:, -1] * self.changes[:, -1].square().sum(1)).clamp(min=1e-30)
        q = torch.where(known, scale, 1.0)[:, None] * q
        for slot in used:
            b = self.inverses[:, slot] * (self.changes[:, slot] * q).sum(1)
            q = q + (factors[slot] - b)[:, None] * self.moves[:, slot]
        uphill = (q * self.gradient).sum(1) <= 0
        q = torch.where(uphill[:, None], self.gradient, q)
        root = q.square().mean(1).sqrt().clamp(min=1e-30)
        length = torch.where(known, (self.longest / root).clamp(max=1.0), self.first / root)
        q = q * length[:, None]
        return -q, -(q * self.gradient).sum(1)

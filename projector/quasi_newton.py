"""Limited-memory BFGS for many small problems at once, each with its own curvature and its own step length.

Source: Nocedal and Wright 2006, "Numerical Optimization", algorithms 7.4 (two-loop recursion) and 7.5, with Armijo
backtracking (equation 3.4) by quadratic interpolation (equation 3.57). Departures: the problems of a batch advance
together, one evaluation each, so that some take a step while others shorten theirs; a pair without positive curvature
is left out, since nothing enforces the curvature condition (3.6b).
"""

from __future__ import annotations

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
        self.pairs: list[tuple[Tensor, Tensor, Tensor]] = []  # steps, changes of the gradient, 1 / (s.y) or 0

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
        if bool(useful.any()):
            keep = useful[:, None]
            inverse = torch.where(useful, 1 / curvature.clamp(min=1e-30), 0.0)
            pair = (torch.where(keep, move, 0.0), torch.where(keep, change, 0.0), inverse)
            self.pairs = [*self.pairs, pair][-self.memory :]
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
        q = self.gradient.clone()
        factors = []
        for move, change, inverse in reversed(self.pairs):
            a = inverse * (move * q).sum(1)
            q = q - a[:, None] * change
            factors.append(a)
        q = self._scaled(q)
        for (move, change, inverse), a in zip(self.pairs, reversed(factors), strict=True):
            b = inverse * (change * q).sum(1)
            q = q + (a - b)[:, None] * move
        slope = -(q * self.gradient).sum(1)
        uphill = (slope >= 0)[:, None]
        q = torch.where(uphill, self.gradient, q)
        root = q.square().mean(1).sqrt()
        limit = self.longest if self.pairs else self.first
        scale = (limit / root.clamp(min=1e-30)).clamp(max=1.0) if self.pairs else limit / root.clamp(min=1e-30)
        q = q * scale[:, None]
        return -q, -(q * self.gradient).sum(1)

    def _scaled(self, q: Tensor) -> Tensor:
        """Times the first guess of the inverse Hessian, equation 7.20, from each problem's newest pair."""
        gamma = torch.ones(len(q), device=q.device)
        for _, change, inverse in self.pairs:
            there = inverse > 0
            gamma = torch.where(there, 1 / (inverse * change.square().sum(1)).clamp(min=1e-30), gamma)
        return q * gamma[:, None]

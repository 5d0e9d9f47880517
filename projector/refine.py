"""A short search from a code that is nearly right, by limited-memory BFGS (``projector.quasi_newton``).

Same loss and regularisers as ``Optimise``; no noise, no ramps and no learning rate. It needs a fraction of Adam's steps
(docs/projection.md), but goes to the nearest minimum and explores nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from editkit.errors import UsageError
from editkit.graphs import differentiable
from editkit.labels import Classes
from editkit.latent import Latent
from editkit.perceptual import PerceptualDistance
from editkit.search_memory import check_search_fits
from projector.curvature import Curvature
from projector.driving import Found, OnStep, drive, means
from projector.losses import PictureLoss, Weights
from projector.quasi_newton import QuasiNewton
from projector.statistics import sample_statistics

if TYPE_CHECKING:
    from editkit.generator import Generator


@dataclass(frozen=True, kw_only=True, slots=True)
class Refine:
    """Settings of the short search.

    Attributes:
        steps: at most; a step is one picture rendered and one gradient.
        space: "w+" reconstructs best, "w" edits best.
        weights: of the loss.
        memory: steps that the curvature is read from.
        budget: seconds, or None, as for ``Optimise``.
        patience: steps with an improvement of less than ``tolerance`` (relative) after which it has converged; 0 never
            stops early.
        tolerance: see ``patience``.
    """

    name: ClassVar[str] = "refine"

    steps: int = 60
    space: Literal["w", "w+"] = "w+"
    weights: Weights = field(default_factory=Weights)
    memory: int = 60
    budget: float | None = None
    patience: int = 30
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        if self.steps < 1 or self.memory < 1:
            raise UsageError(f"steps and memory must be at least 1, got {self.steps} and {self.memory}")
        if self.space not in ("w", "w+"):
            raise UsageError(f"the search runs in w or w+, got {self.space!r}")
        if self.budget is not None and not self.budget > 0:
            raise UsageError(f"the budget must be a positive number of seconds, got {self.budget}")

    def find(
        self,
        G: Generator,
        targets: Tensor,
        *,
        perceptual: PerceptualDistance,
        seed: int = 0,
        classes: Classes | None = None,
        on_step: OnStep | None = None,
        start: Latent | None = None,
        curvature: Curvature | None = None,
    ) -> Found:
        """Codes for ``targets`` [N, 3, R, R]; samples do not interact. ``seed`` changes nothing. As ``search``.

        Args:
            start: codes in w or w+ to begin from, one a target; the mean of W by default.
            curvature: of an encoder, for the search in W+.

        Raises:
            MemoryBudgetError: before anything is taken, where it would not fit into the memory that is free.
            LatentError, GeneratorMismatchError: ``start`` is of another shape or generator.
        """
        check_search_fits(G, batch=len(targets), perceptual=perceptual.name if self.weights.perceptual else None)
        if start is not None:
            start.require("w", "w+").check(G.spec)
        if self.space == "w":
            curvature = None
        run = _Refinement(G, targets.to(G.device), self, perceptual, classes, start, curvature)
        return drive(run, G, steps=self.steps, budget=self.budget, space=self.space, on_step=on_step)


class _Refinement:
    """Variables and one step: codes in standard deviations of W, [N, rows w_dim], or those of ``Curvature``."""

    GIVE_UP_AFTER = 8  # losses in a row that are not finite

    def __init__(
        self,
        G: Generator,
        targets: Tensor,
        method: Refine,
        perceptual: PerceptualDistance,
        classes: Classes | None,
        start: Latent | None,
        curvature: Curvature | None,
    ) -> None:
        self.G, self.method, self.curvature = G, method, curvature
        self.statistics = sample_statistics(G, classes=classes)
        self.loss = PictureLoss(targets, perceptual, method.weights)
        rows = G.spec.num_ws if method.space == "w+" else 1
        self.shape = (rows, G.spec.w_dim)
        codes = torch.zeros(len(targets), *self.shape, device=G.device)
        if start is not None:
            ws = start.tensor.to(G.device) - self.statistics.mean
            whole = torch.linalg.solve(self.statistics.axes, ws, left=False)
            codes = (whole if method.space == "w+" else whole.mean(1, keepdim=True)).expand_as(codes)
        flat = codes.flatten(1)
        self.search = QuasiNewton(flat if curvature is None else curvature.to_variables(flat), memory=method.memory)
        self.index = self.failures = self.last_gain = 0
        self.lowest = torch.inf
        with torch.enable_grad():
            sample = self._ws(self._codes(self.search.point.clone().requires_grad_()))
            self.render = differentiable(self._synthesize, sample)

    @property
    def best_ws(self) -> Tensor:
        """[N, num_ws, w_dim]; a step is only ever taken where it improves."""
        return self._ws(self._codes(self.search.point))

    def _codes(self, point: Tensor) -> Tensor:
        """The search's variables to codes in standard deviations of W, [N, rows, w_dim]."""
        return (point if self.curvature is None else self.curvature.to_codes(point)).unflatten(1, self.shape)

    def _ws(self, codes: Tensor) -> Tensor:
        rows = self.statistics.mean + codes @ self.statistics.axes
        return rows.expand(-1, self.G.spec.num_ws, -1)

    def _synthesize(self, ws: Tensor) -> Tensor:
        spec = self.G.spec
        return self.G.synthesize(Latent(space="w+", codes=ws, generator=spec.id, parent=spec.parent_id))

    def step(self, progress: float) -> dict[str, float] | None:
        """Looks where the curvature says, and moves there or halves the way."""
        weights = self.method.weights
        with torch.enable_grad():
            point = self.search.propose().requires_grad_()
            codes = self._codes(point)
            shared = codes.mean(1, keepdim=True)
            terms = self.loss(self.render(self._ws(codes)))
            if weights.prior:
                terms["prior"] = weights.prior * shared.square().mean([1, 2])
            if weights.spread and self.method.space == "w+":
                terms["spread"] = weights.spread * (codes - shared).square().mean([1, 2])
            total = torch.stack(list(terms.values())).sum(0)  # [N]
            (gradient,) = torch.autograd.grad(total.sum(), point)
        self.search.tell(total, gradient)
        self.index += 1
        self.failures = 0 if bool(torch.isfinite(total).all()) else self.failures + 1
        return None if self.failures > self.GIVE_UP_AFTER else means(terms, total)

    def converged(self, progress: float) -> bool:
        """Whether the mean loss has hardly moved for ``patience`` steps."""
        current = float(self.search.value.mean())
        if not current > self.lowest * (1 - self.method.tolerance):
            self.last_gain, self.lowest = self.index, current
        return self.method.patience > 0 and self.index - self.last_gain >= self.method.patience

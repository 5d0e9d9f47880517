"""Gradient search in W or W+.

Source: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", section 5 and appendix D (start
from w_avg, learning-rate ramps, decaying noise); Abdal et al. 2019 for W+. Departures: the search runs in coordinates
in which W is a unit ball, a W+ code is one shared row plus regularised offsets, and the best step is kept.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from editkit.errors import UsageError
from editkit.graphs import differentiable
from editkit.labels import Classes
from editkit.latent import Latent
from editkit.perceptual import PerceptualDistance
from editkit.search_memory import check_search_fits
from editkit.seeds import normal
from projector.driving import Found, OnStep, drive, means, ramp
from projector.losses import PictureLoss, Weights
from projector.placement import SAMPLES, Placement, transform_of
from projector.statistics import WStatistics, drawn, sample_statistics

if TYPE_CHECKING:
    from editkit.generator import Generator

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimise:
    """Settings of the search.

    Attributes:
        steps: at most.
        space: "w+" reconstructs best, "w" edits best.
        lr: peak learning rate of Adam, in standard deviations of W.
        ramp_up, ramp_down: share of the search with a rising and a (cosine) falling rate.
        noise: standard deviation of the exploring noise at the start, in standard deviations of W; it falls to zero
            over ``noise_ramp`` of the search.
        weights: of the loss.
        budget: seconds, or None. The ramps follow the time then. It counts from the end of the first step, in which
            code is compiled and memory is taken for the first time.
        patience: steps without an improvement of ``tolerance`` (relative) after which the search has converged; 0
            never stops early. Counted once the noise has gone.
        tolerance: see ``patience``.
        placement: where given, the picture's placement is sought as well (``projector.placement``; not StyleGAN2).
    """

    name: ClassVar[str] = "optimise"

    steps: int = 200
    space: Literal["w", "w+"] = "w+"
    lr: float = 0.5
    ramp_up: float = 0.05
    ramp_down: float = 0.3
    noise: float = 0.05
    noise_ramp: float = 0.5
    weights: Weights = field(default_factory=Weights)
    budget: float | None = None
    patience: int = 60
    tolerance: float = 1e-3
    placement: Placement | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UsageError(f"steps must be at least 1, got {self.steps}")
        if self.space not in ("w", "w+"):
            raise UsageError(f"the search runs in w or w+, got {self.space!r}")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise UsageError(f"lr must be a positive number, got {self.lr}")
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
    ) -> Found:
        """``search`` with these settings."""
        return search(G, targets, self, perceptual=perceptual, seed=seed, classes=classes, on_step=on_step)


def search(
    G: Generator,
    targets: Tensor,
    method: Optimise,
    *,
    perceptual: PerceptualDistance,
    seed: int = 0,
    classes: Classes | None = None,
    on_step: OnStep | None = None,
) -> Found:
    """Finds codes for ``targets`` [N, 3, R, R] in [-1, 1], on the generator's device; samples do not interact.

    ``classes``: of a conditional generator, as for ``projector.project``.

    ``on_step(step)`` returning False, or Ctrl-C, ends the search with the best so far and ``Stop.CANCELLED``.

    Raises:
        MemoryBudgetError: before anything is taken, where it would not fit into the memory that is free.
        UsageError: a placement is asked for of a StyleGAN2.
    """
    if method.placement is not None:
        method.placement.check(G)
    check_search_fits(G, batch=len(targets), perceptual=perceptual.name if method.weights.perceptual else None)
    run = _Search(G, targets.to(G.device), method, perceptual, seed, classes)
    found = drive(run, G, steps=method.steps, budget=method.budget, space=method.space, on_step=on_step)
    return found if method.placement is None else replace(found, transform=transform_of(run.best_placed.cpu().double()))


class _Search:
    """Variables and one step. A sample's code is ``mean + (shared + offset of the row) @ axes``."""

    GIVE_UP_AFTER = 5  # restarts from the best after a loss that is not finite

    def __init__(
        self,
        G: Generator,
        targets: Tensor,
        method: Optimise,
        perceptual: PerceptualDistance,
        seed: int,
        classes: Classes | None,
    ) -> None:
        self.G, self.method, self.seed = G, method, seed
        self.n = targets.shape[0]
        self.statistics: WStatistics = sample_statistics(G, classes=classes)
        self.loss = PictureLoss(targets, perceptual, method.weights)
        rows = G.spec.num_ws if method.space == "w+" else 1
        self.shared = torch.zeros(self.n, 1, G.spec.w_dim, device=G.device, requires_grad=True)
        self.offsets = torch.zeros(self.n, rows, G.spec.w_dim, device=G.device, requires_grad=method.space == "w+")
        self.index, self.restarts, self.lr_scale = 0, 0, 1.0
        self.best = torch.full([self.n], math.inf, device=G.device)
        self.best_ws = self._ws(self.shared.detach(), self.offsets.detach())
        self.best_shared, self.best_offsets = self.shared.detach().clone(), self.offsets.detach().clone()
        self.last_gain, self.lowest = 0, math.inf
        self.placed = torch.zeros(self.n, 4, device=G.device)
        if method.placement is None:
            self.render = differentiable(self._synthesize, self._ws(self.shared, self.offsets))
        else:  # a transform is checked as it is made, which no graph can record
            with torch.no_grad():
                self.placed = method.placement.start(G, targets, drawn(G, SAMPLES, classes=classes))
            self.placed.requires_grad_(True)
            self.render = self._synthesize
        self.best_placed = self.placed.detach().clone()
        self._reset_optimizer()

    def _reset_optimizer(self) -> None:
        variables = [v for v in (self.shared, self.offsets) if v.requires_grad]
        groups: list[dict[str, Any]] = [{"params": variables, "peak": self.method.lr}]
        if self.method.placement is not None:
            groups.append({"params": [self.placed], "peak": self.method.placement.lr})
        self.optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))

    def _ws(self, shared: Tensor, offsets: Tensor) -> Tensor:
        codes = shared + offsets
        if self.method.placement is not None and self.method.space == "w+":
            codes = torch.cat([torch.zeros_like(codes[:, :1]), codes[:, 1:]], 1)  # row 0 places the picture: not twice
        rows = self.statistics.mean + codes @ self.statistics.axes
        return rows.expand(-1, self.G.spec.num_ws, -1)

    def _synthesize(self, ws: Tensor) -> Tensor:
        spec = self.G.spec
        latent = Latent(space="w+", codes=ws, generator=spec.id, parent=spec.parent_id)
        return self.G.synthesize(latent, transform=transform_of(self.placed) if self.placed.requires_grad else None)

    def step(self, progress: float) -> dict[str, float] | None:
        """One update; the losses, or None once the search has diverged for good."""
        m = self.method
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * self.lr_scale * ramp(progress, m.ramp_up, m.ramp_down)
        scale = m.noise * max(0.0, 1.0 - progress / m.noise_ramp) ** 2 if m.noise_ramp > 0 else 0.0
        shared: Tensor = self.shared
        if scale > 0:
            noise = normal(self.seed * 100_003 % 2**31 + self.index, (1, 1, self.G.spec.w_dim))
            shared = shared + noise.to(shared.device) * scale  # the same for every sample of a batch, whatever its size
        together = m.placement is not None and progress < m.placement.settle
        ws = self._ws(shared, self.offsets * 0 if together else self.offsets)
        terms = self.loss(self.render(ws))
        if m.weights.prior:
            terms["prior"] = m.weights.prior * self.shared.square().mean([1, 2])
        if m.weights.spread and m.space == "w+":
            terms["spread"] = m.weights.spread * self.offsets.square().mean([1, 2])
        total = torch.stack(list(terms.values())).sum(0)  # [N]
        self.index += 1
        if not bool(torch.isfinite(total).all()):
            return self._restart(terms, total)
        self._keep_best(total.detach(), ws.detach())
        self.optimizer.zero_grad(set_to_none=True)
        total.sum().backward()
        self.optimizer.step()
        if m.placement is not None:
            with torch.no_grad():
                self.placed.copy_(m.placement.clamp(self.placed))
        return means(terms, total)

    def _keep_best(self, total: Tensor, ws: Tensor) -> None:
        better = total < self.best
        self.best = torch.where(better, total, self.best)
        where = better[:, None, None]
        self.best_ws = torch.where(where, ws, self.best_ws)
        self.best_shared = torch.where(where, self.shared.detach(), self.best_shared)
        self.best_offsets = torch.where(where, self.offsets.detach(), self.best_offsets)
        self.best_placed = torch.where(better[:, None], self.placed.detach(), self.best_placed)

    def _restart(self, terms: dict[str, Tensor], total: Tensor) -> dict[str, float] | None:
        self.restarts += 1
        log.warning("the loss is not finite at step %d: back to the best, at half the learning rate", self.index)
        if self.restarts > self.GIVE_UP_AFTER:
            return None
        self.lr_scale *= 0.5
        with torch.no_grad():
            self.shared.copy_(self.best_shared)
            self.offsets.copy_(self.best_offsets)
            self.placed.copy_(self.best_placed)
        self._reset_optimizer()
        return means(terms, total)

    def converged(self, progress: float) -> bool:
        """Whether nothing has improved for ``patience`` steps since the noise has gone."""
        m = self.method
        current = float(self.best.mean())
        if progress < m.noise_ramp or current < self.lowest * (1 - m.tolerance):
            self.last_gain, self.lowest = self.index, min(current, self.lowest)
        return m.patience > 0 and self.index - self.last_gain >= m.patience

"""A short search from a code that is nearly right, by limited-memory BFGS (``projector.quasi_newton``).

Same loss and regularisers as ``Optimise``; no noise, no ramps and no learning rate. It needs a fraction of Adam's steps
(docs/projection.md), but goes to the nearest minimum and explores nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from editkit.errors import UsageError
from editkit.labels import Classes
from editkit.latent import Latent
from editkit.perceptual import PerceptualDistance
from editkit.search_memory import check_search_fits
from projector.curvature import Curvature
from projector.driving import Found, OnStep, drive
from projector.lanes import Together
from projector.losses import PictureLoss, Weights
from projector.precision import check_precision, mixed
from projector.quasi_newton import QuasiNewton
from projector.recorded import RecordedSynthesis
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
        mixed_precision: convolutions in bfloat16, on an NVIDIA GPU only (``projector.precision``).
    """

    name: ClassVar[str] = "refine"

    steps: int = 60
    space: Literal["w", "w+"] = "w+"
    weights: Weights = field(default_factory=Weights)
    memory: int = 60
    budget: float | None = None
    patience: int = 30
    tolerance: float = 1e-3
    mixed_precision: bool = False

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
        if start is not None:
            start.require("w", "w+").check(G.spec)
        lanes = self.lanes(G, perceptual=perceptual, classes=classes, curvature=curvature)
        check_search_fits(G, batch=len(targets), perceptual=perceptual.name if self.weights.perceptual else None)
        lanes.starting = None if start is None else lambda _: start
        return drive(Together(lanes, targets), steps=self.steps, budget=self.budget, on_step=on_step)

    def lanes(
        self,
        G: Generator,
        *,
        perceptual: PerceptualDistance,
        seed: int = 0,
        classes: Classes | None = None,
        curvature: Curvature | None = None,
    ) -> RefineSearch:
        """The same search, for photos that come and go (``projector.project_many``). ``seed`` changes nothing."""
        check_precision(G.device, self.mixed_precision)
        return RefineSearch(G, self, perceptual, classes, curvature if self.space == "w+" else None)


class RefineSearch:
    """Lanes of ``Refine``, a ``projector.lanes.Lanes``: codes in standard deviations of W, [N, rows w_dim], or the
    variables of ``Curvature``."""

    GIVE_UP_AFTER = 8  # losses in a row that are not finite

    def __init__(
        self,
        G: Generator,
        method: Refine,
        perceptual: PerceptualDistance,
        classes: Classes | None,
        curvature: Curvature | None,
    ) -> None:
        self.G, self.method, self.perceptual = G, method, perceptual
        self.curvature = None if curvature is None else curvature.to(G.device)
        self.statistics = sample_statistics(G, classes=classes)
        self.shape = (G.spec.num_ws if method.space == "w+" else 1, G.spec.w_dim)
        self.starting: Callable[[Tensor], Latent] | None = None
        self.search: QuasiNewton | None = None
        self.targets = torch.empty(0)
        self.index: list[int] = []
        self.failures: list[int] = []
        self.last_gain: list[int] = []
        self.lowest: list[float] = []
        self.synthesize = RecordedSynthesis(G)

    def enter(self, targets: Tensor) -> None:
        """New lanes for ``targets`` [K, 3, R, R], from the codes that ``starting(targets)`` gives, or the mean of W."""
        targets = targets.to(self.G.device)
        count = len(targets)
        codes = torch.zeros(count, *self.shape, device=self.G.device)
        if self.starting is not None:
            ws = self.starting(targets).tensor.to(self.G.device)
            whole = self.statistics.deviations(ws - self.statistics.mean)
            codes = (whole if self.method.space == "w+" else whole.mean(1, keepdim=True)).expand_as(codes)
        flat = codes.flatten(1)
        fresh = QuasiNewton(
            flat if self.curvature is None else self.curvature.to_variables(flat), memory=self.method.memory
        )
        if self.search is None or not self.index:
            self.search, self.targets = fresh, targets
        else:
            self.search.join(fresh)
            self.targets = torch.cat([self.targets, targets])
        self.index += [0] * count
        self.failures += [0] * count
        self.last_gain += [0] * count
        self.lowest += [torch.inf] * count
        self.loss = PictureLoss(self.targets, self.perceptual, self.method.weights)

    def leave(self, lanes: Sequence[int]) -> None:
        """Drop these lanes."""
        stay = [lane for lane in range(len(self.index)) if lane not in set(lanes)]
        self._search.keep(stay)
        self.targets = self.targets[stay]
        for name in ("index", "failures", "last_gain", "lowest"):
            kept = getattr(self, name)
            setattr(self, name, [kept[lane] for lane in stay])
        if stay:
            self.loss = PictureLoss(self.targets, self.perceptual, self.method.weights)

    @property
    def _search(self) -> QuasiNewton:
        if self.search is None:
            raise UsageError("no photo has entered this search")
        return self.search

    def latent(self) -> Latent:
        """The best of every lane, on the CPU; a step is only ever taken where it improves."""
        spec = self.G.spec
        with torch.no_grad():
            ws = self._ws(self._codes(self._search.point)).contiguous()
        return Latent(space=self.method.space, codes=ws, generator=spec.id, parent=spec.parent_id).to("cpu")

    def transform(self) -> None:
        """No placement is sought."""

    def _codes(self, point: Tensor) -> Tensor:
        """The search's variables to codes in standard deviations of W, [N, rows, w_dim]."""
        return (point if self.curvature is None else self.curvature.to_codes(point)).unflatten(1, self.shape)

    def _ws(self, codes: Tensor) -> Tensor:
        rows = self.statistics.mean + codes @ self.statistics.axes
        return rows.expand(-1, self.G.spec.num_ws, -1)

    def advance(self, progress: Sequence[float]) -> dict[str, Tensor]:
        """Looks where the curvature says, and moves there or shortens the way; terms and their sum "loss", [N]."""
        weights = self.method.weights
        with torch.enable_grad():
            point = self._search.propose().requires_grad_()
            codes = self._codes(point)
            shared = codes.mean(1, keepdim=True)
            with mixed(self.G.device, self.method.mixed_precision):
                terms = self.loss(self.synthesize(self._ws(codes)))
            if weights.prior:
                terms["prior"] = weights.prior * shared.square().mean([1, 2])
            if weights.spread and self.method.space == "w+":
                terms["spread"] = weights.spread * (codes - shared).square().mean([1, 2])
            total = torch.stack(list(terms.values())).sum(0)  # [N]
            (gradient,) = torch.autograd.grad(total.sum(), point)
        self._search.tell(total, gradient)
        self.index = [index + 1 for index in self.index]
        finite = torch.isfinite(total).tolist()
        self.failures = [0 if fine else n + 1 for n, fine in zip(self.failures, finite, strict=True)]
        return {name: value.detach() for name, value in (terms | {"loss": total}).items()}

    def given_up(self) -> list[bool]:
        """Which lanes have diverged for good."""
        return [failures > self.GIVE_UP_AFTER for failures in self.failures]

    def settled(self, progress: Sequence[float]) -> list[bool]:
        """Which losses have hardly moved for ``patience`` steps."""
        m, found = self.method, []
        for lane, current in enumerate(self._search.value.tolist()):
            if not current > self.lowest[lane] * (1 - m.tolerance):
                self.last_gain[lane], self.lowest[lane] = self.index[lane], current
            found.append(m.patience > 0 and self.index[lane] - self.last_gain[lane] >= m.patience)
        return found

"""Gradient search in W, W+ or S.

Source: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", section 5 and appendix D (start
from w_avg, learning-rate ramps, decaying noise); Abdal et al. 2019 for W+; Wu et al. 2020, "StyleSpace
Analysis", section 3, for S. Departures: the search runs in coordinates in which W is a unit ball, a W+ code is one
shared row plus regularised offsets, in S the styles of a W+ code that was found are refined, and the best step is kept.
The steps are in ``projector.adam_search``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from torch import Tensor

from editkit.errors import UsageError
from editkit.labels import Classes
from editkit.perceptual import PerceptualDistance
from editkit.search_memory import check_search_fits
from projector.adam_search import AdamSearch
from projector.driving import Found, OnStep, drive
from projector.lanes import Together
from projector.losses import Weights
from projector.noise_maps import NoiseMaps, map_sizes
from projector.placement import Placement
from projector.precision import check_precision

if TYPE_CHECKING:
    from editkit.generator import Generator


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimise:
    """Settings of the search.

    Attributes:
        steps: at most.
        space: "w" edits best, "w+" reconstructs better; "s" finds a code in W+ first and then moves the styles of every
            layer on their own, which reconstructs best of the three, and takes edits of any space.
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
        refine_from: in S, the share of the search after which the code in W+ rests and the styles move.
        style_lr: and their peak learning rate, in standard deviations of each channel.
        noise_maps: where given, the noise maps of a StyleGAN2 are fitted as well (``projector.noise_maps``); the latent
            keeps them.
        mixed_precision: convolutions in bfloat16, on an NVIDIA GPU only (``projector.precision``).
        placement: where given, the picture's placement is sought as well (``projector.placement``; not StyleGAN2).
    """

    name: ClassVar[str] = "optimise"

    steps: int = 200
    space: Literal["w", "w+", "s"] = "w+"
    lr: float = 0.5
    ramp_up: float = 0.05
    ramp_down: float = 0.3
    noise: float = 0.05
    noise_ramp: float = 0.5
    weights: Weights = field(default_factory=Weights)
    budget: float | None = None
    patience: int = 60
    tolerance: float = 1e-3
    refine_from: float = 0.6
    style_lr: float = 0.05
    noise_maps: NoiseMaps | None = None
    mixed_precision: bool = False
    placement: Placement | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UsageError(f"steps must be at least 1, got {self.steps}")
        if self.space not in ("w", "w+", "s"):
            raise UsageError(f"the search runs in w, w+ or s, got {self.space!r}")
        for name in ("lr", "style_lr"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise UsageError(f"{name} must be a positive number, got {getattr(self, name)}")
        if not 0 < self.refine_from < 1:
            raise UsageError(f"refine_from is a share of the search, between 0 and 1, got {self.refine_from}")
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

    def lanes(
        self, G: Generator, *, perceptual: PerceptualDistance, seed: int = 0, classes: Classes | None = None
    ) -> AdamSearch:
        """The same search, for photos that come and go (``projector.project_many``). Raises as ``search`` does, but for
        memory."""
        if self.placement is not None:
            self.placement.check(G)
        if self.noise_maps is not None:
            map_sizes(G)
        check_precision(G.device, self.mixed_precision)
        return AdamSearch(G, self, perceptual, seed, classes)


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
        UsageError: what the generator has not is asked for: a placement, noise maps, styles, or mixed precision.
    """
    lanes = method.lanes(G, perceptual=perceptual, seed=seed, classes=classes)
    check_search_fits(G, batch=len(targets), perceptual=perceptual.name if method.weights.perceptual else None)
    found = drive(Together(lanes, targets), steps=method.steps, budget=method.budget, on_step=on_step)
    return replace(found, transform=lanes.transform())

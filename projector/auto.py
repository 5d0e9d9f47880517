"""``Auto``: the best method at hand for a generator, a machine and a time, by what was measured of each.

``MEASURED`` holds losses by steps on the bundled generator. With a budget, a step is timed on this machine, which says
how many there is time for; without, as many are taken as are asked for. The method that was nearest after so many is
taken. On other generators the numbers differ, the order less so: a choice says what it rests on.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import torch

from editkit.errors import UsageError
from editkit.labels import Classes
from editkit.latent import Latent
from editkit.perceptual import PerceptualDistance
from projector.driving import Found, OnStep
from projector.encode_then_optimise import EncodeThenOptimise
from projector.encoder import Encode, fitting_encoder
from projector.losses import EDITABLE, PictureLoss, Weights
from projector.methods import STEPS_WITHIN_BUDGET, Method
from projector.noise_maps import NoiseMaps
from projector.optimise import Optimise
from projector.pivotal import Pivotal
from projector.placement import Placement
from projector.refine import Refine

if TYPE_CHECKING:
    from editkit.generator import Generator

MEASURED: dict[str, tuple[tuple[float, float], ...]] = {
    "encode": ((0, 0.828),),
    "encode+optimise": (
        (1, 0.828), (5, 0.374), (10, 0.265), (15, 0.218), (30, 0.164), (60, 0.132), (120, 0.111), (200, 0.103),
    ),
    "refine": (
        (1, 1.547), (5, 0.498), (10, 0.331), (15, 0.284), (30, 0.215), (60, 0.158), (120, 0.123), (200, 0.110),
    ),
    "w+": ((15, 1.303), (30, 1.149), (60, 0.357), (120, 0.153), (200, 0.128)),
}  # fmt: skip
"""Method -> (steps, loss) with ``EDITABLE``: four portraits, means; between two, a straight line over log steps.
``python benchmarks/auto.py PHOTOS`` measures them."""
STEPS = Optimise().steps
"""Without a budget, and where nobody says how many."""
TIMED, TIMING = 3, 5.0
"""Steps that are timed, and after how many seconds no more are; the quickest counts, since the first ones compile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Auto:
    """Settings of the choice.

    Attributes:
        steps: at most; by default 200, and with a budget as many as there is time for.
        budget: seconds for the search of a photo, from the end of its first step, or None.
        encoder: file of ``editkit train encoder``; None takes the bundled one where it fits.
        weights: of the search's loss; by default such that the code leaves edits room.
        placement: sought as well, or None; then the method is ``Optimise``, as with ``noise_maps``.
        noise_maps: of a StyleGAN2, or None.
        mixed_precision: of the search, see ``Refine``.
    """

    name: ClassVar[str] = "auto"

    steps: int | None = None
    budget: float | None = None
    encoder: str | None = None
    weights: Weights = EDITABLE
    placement: Placement | None = None
    noise_maps: NoiseMaps | None = None
    mixed_precision: bool = False

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise UsageError(f"steps must be at least 1, got {self.steps}")
        if self.budget is not None and not self.budget > 0:
            raise UsageError(f"the budget must be a positive number of seconds, got {self.budget}")
        if self.encoder is not None:
            object.__setattr__(self, "encoder", os.fspath(self.encoder))
            if self.placement is not None or self.noise_maps is not None:
                raise UsageError("a search for a placement or for noise maps takes no encoder; leave it out")

    def chosen(
        self, G: Generator, *, perceptual: PerceptualDistance, classes: Classes | None = None
    ) -> tuple[Method, str]:
        """The method for ``G`` here and now, and why, in a line for people.

        Raises UsageError where an encoder is named beside a class, of which encoders know nothing.
        """
        candidates = self._candidates(G, classes)
        steps, time_for = float(self.steps or STEPS), ""
        if self.budget is not None:
            a_step = seconds_a_step(G, perceptual)
            within = self.budget / a_step
            steps = min(within, self.steps or math.inf)
            time_for = f", {self.budget:g} s at {_told(a_step)} a step here"
        losses = {name: expected(name, steps) for name in candidates}
        best = min(losses, key=lambda name: losses[name])
        others = [f"{name} {loss:.3g}" for name, loss in losses.items() if name != best]
        length = "without a search" if best == "encode" else f"for {max(int(steps), 1)} steps"
        why = f"{best} {length}{time_for}"
        if others:
            why += f": loss {losses[best]:.3g}, {', '.join(others)}, as measured on the bundled generator"
        else:
            why += ": nothing else finds what was asked for"
        return candidates[best], why

    def find(
        self,
        G: Generator,
        targets: torch.Tensor,
        *,
        perceptual: PerceptualDistance,
        seed: int = 0,
        classes: Classes | None = None,
        on_step: OnStep | None = None,
    ) -> Found:
        """As the chosen method's."""
        method, _ = self.chosen(G, perceptual=perceptual, classes=classes)
        return method.find(G, targets, perceptual=perceptual, seed=seed, classes=classes, on_step=on_step)

    def _candidates(self, G: Generator, classes: Classes | None) -> dict[str, Method]:
        """Those that find what is asked for, by name, the simplest first."""
        check_encoder(self.encoder, classes)
        length = self.steps or (STEPS if self.budget is None else STEPS_WITHIN_BUDGET)
        found: dict[str, Method] = {}
        rest = self.placement is not None or self.noise_maps is not None
        if classes is None and not rest and (self.encoder is not None or fitting_encoder(G) is not None):
            if self.budget is not None and not self.mixed_precision:
                found["encode"] = Encode(encoder=self.encoder)
            found["encode+optimise"] = EncodeThenOptimise(
                steps=length, encoder=self.encoder, weights=self.weights, budget=self.budget,
                mixed_precision=self.mixed_precision,
            )  # fmt: skip
        if not rest:
            found["refine"] = Refine(
                steps=length, weights=self.weights, budget=self.budget, mixed_precision=self.mixed_precision
            )
        found["w+"] = Optimise(
            steps=length, weights=self.weights, budget=self.budget, mixed_precision=self.mixed_precision,
            placement=self.placement, noise_maps=self.noise_maps,
        )  # fmt: skip
        return found


def decided(
    method: Method, G: Generator, *, perceptual: PerceptualDistance, classes: Classes | None = None
) -> tuple[Method, str | None]:
    """``method`` with every ``Auto`` in it replaced by what it chooses, and why; None: there was none."""
    if isinstance(method, Auto):
        return method.chosen(G, perceptual=perceptual, classes=classes)
    if isinstance(method, Pivotal) and isinstance(method.inner, Auto):
        inner, why = method.inner.chosen(G, perceptual=perceptual, classes=classes)
        return replace(method, inner=inner), why
    return method, None


def check_encoder(encoder: str | None, classes: Classes | None) -> None:
    """Raises UsageError where an encoder is named beside a class, of which encoders know nothing."""
    if encoder is not None and classes is not None:
        raise UsageError("a search from a class takes no encoder; leave --encoder out, or the class")


def expected(name: str, steps: float) -> float:
    """The loss measured of a method of ``MEASURED`` after so many steps, at the ends as at the last point."""
    points = MEASURED[name]
    steps = min(max(steps, points[0][0]), points[-1][0])
    for (before, high), (after, low) in pairwise(points):
        if steps <= after:
            share = (math.log1p(steps) - math.log1p(before)) / (math.log1p(after) - math.log1p(before))
            return high + share * (low - high)
    return points[-1][1]


def seconds_a_step(G: Generator, perceptual: PerceptualDistance) -> float:
    """Of one picture rendered and one gradient on this machine, measured once a process."""
    key = (G.spec.id, str(G.device), perceptual.name)
    if key not in _TIMES:
        _TIMES[key] = _timed(G, perceptual)
    return _TIMES[key]


_TIMES: dict[tuple[str, str, str], float] = {}


def _timed(G: Generator, perceptual: PerceptualDistance) -> float:
    w = G.w_avg.expand(1, G.spec.num_ws, -1)
    with torch.no_grad():
        loss = PictureLoss(G.synthesize(_latent(G, w)), perceptual, Weights())
    seconds: list[float] = []
    while len(seconds) < TIMED and sum(seconds) < TIMING:
        started = time.perf_counter()
        with torch.enable_grad():
            codes = w.clone().requires_grad_()
            total = torch.stack(list(loss(G.synthesize(_latent(G, codes))).values())).sum()
            torch.autograd.grad(total, codes)[0].sum().item()  # .item() waits for the device
        seconds.append(time.perf_counter() - started)
    return max(min(seconds), 1e-6)


def _latent(G: Generator, codes: torch.Tensor) -> Latent:
    return Latent(space="w+", codes=codes, generator=G.spec.id, parent=G.spec.parent_id)


def _told(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"

"""The loop around any search: steps or time, progress, Ctrl-C, and why it ended."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from projector.result import Step, Stop

if TYPE_CHECKING:
    from editkit.latent import Latent
    from editkit.transform import Transform
    from editkit.weight_delta import WeightDelta

OnStep = Callable[[Step], object]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Found:
    """Codes of a batch: the latent, the history, and why the search ended; weights and placements
    where a method finds them."""

    latent: Latent
    history: tuple[Step, ...]
    stop: Stop
    seconds: float
    tuning: WeightDelta | None = None
    transform: Transform | None = None


class Run(Protocol):
    """A search under way."""

    @property
    def index(self) -> int:
        """Steps taken."""
        ...

    def latent(self) -> Latent:
        """The best so far, on the CPU."""
        ...

    def step(self, progress: float) -> dict[str, float] | None:
        """One step at ``progress`` from 0 to 1; the losses, or None once the search has diverged for good."""
        ...

    def converged(self, progress: float) -> bool:
        """Whether more steps would change little."""
        ...


def drive(run: Run, *, steps: int, budget: float | None, on_step: OnStep | None = None) -> Found:
    """Takes at most ``steps`` steps, and none that begins ``budget`` seconds after the end of the first.

    ``on_step(step)`` returning False, or Ctrl-C, ends the search with the best so far and ``Stop.CANCELLED``.
    """

    started = time.monotonic()
    first: float | None = None  # when the first step ended
    history: list[Step] = []
    stop = Stop.MAX_STEPS
    try:
        while run.index < steps:
            elapsed = 0.0 if first is None else time.monotonic() - first
            if budget is not None and elapsed >= budget:
                stop = Stop.BUDGET
                break
            progress = run.index / steps
            if budget is not None:
                progress = max(progress, elapsed / budget)
            losses = run.step(progress)
            first = time.monotonic() if first is None else first
            if losses is None:
                stop = Stop.DIVERGED
                break
            history.append(Step(index=run.index - 1, total=steps, losses=losses, progress=progress))
            if on_step is not None and on_step(replace(history[-1], latent=run.latent())) is False:
                stop = Stop.CANCELLED
                break
            if run.converged(progress):
                stop = Stop.CONVERGED
                break
    except KeyboardInterrupt:
        stop = Stop.CANCELLED
    return Found(latent=run.latent(), history=tuple(history), stop=stop, seconds=time.monotonic() - started)


def means(terms: dict[str, Tensor], total: Tensor) -> dict[str, float]:
    """Terms [N] and their sum [N] as a step reports them."""
    return {name: float(value.detach().mean()) for name, value in (terms | {"loss": total}).items()}


def ramp(progress: float, up: float, down: float) -> float:
    """Linear rise over ``up``, cosine fall over ``down``."""
    rise = min(1.0, (progress + 1e-3) / up) if up > 0 else 1.0
    fall = min(1.0, (1.0 - progress) / down) if down > 0 else 1.0
    return rise * (0.5 - 0.5 * math.cos(math.pi * max(fall, 0.0)))

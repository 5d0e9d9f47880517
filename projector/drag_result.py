"""What dragging returns, and what it says on its way."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from editkit.latent import Latent


class DragStop(Enum):
    """Why dragging ended."""

    REACHED = "reached"
    MAX_STEPS = "max-steps"
    STALLED = "stalled"
    DIVERGED = "diverged"
    CANCELLED = "cancelled"

    @property
    def advice(self) -> str:
        """What to try next."""
        return _ADVICE[self]


_ADVICE = {
    DragStop.REACHED: "every handle is where it should be, as far as its features tell",
    DragStop.MAX_STEPS: "every step was taken before the handles arrived; more steps may bring them nearer",
    DragStop.STALLED: "the handles come no nearer; a shorter move, another handle, a larger mask or more rows may help",
    DragStop.DIVERGED: "the loss became infinite; lower the learning rate, and check the weights",
    DragStop.CANCELLED: "stopped on request; the nearest so far was kept",
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DragStep:
    """One step, as ``on_step`` gets it.

    Attributes:
        index: from 0; total: steps at most.
        latent: after the step, in w+.
        positions: [P, 2], where the handles are now, in pixels.
        distance: of the handle that is farthest from its target, in pixels.
    """

    index: int
    total: int
    latent: Latent
    positions: Tensor
    distance: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DragResult:
    """Where dragging led.

    Attributes:
        latent: in w+, one sample, on the CPU; of the step after which the handles were nearest.
        image: [1, 3, R, R], its picture.
        positions: [steps + 1, P, 2], the handles' way in pixels, as tracked; first where they were put.
        targets: [P, 2].
        reached: for each point, whether it is within the tolerance of its target in ``latent``.
        best_step: the index of ``latent`` in ``positions``.
        stop: why it ended; ``stop.advice`` says what to try next.
        steps: made.
    """

    latent: Latent
    image: Tensor
    positions: Tensor
    targets: Tensor
    reached: tuple[bool, ...]
    best_step: int
    stop: DragStop
    steps: int

    @property
    def distances(self) -> tuple[float, ...]:
        """For each point, pixels from its target in ``latent``."""
        return tuple((self.positions[self.best_step] - self.targets).norm(dim=1).tolist())

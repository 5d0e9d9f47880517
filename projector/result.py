"""What a projection returns: the latent, how good it is, and why the search ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from editkit.latent import Latent
    from editkit.transform import Transform
    from editkit.weight_delta import WeightDelta


class Stop(Enum):
    """Why a search ended."""

    CONVERGED = "converged"
    MAX_STEPS = "max-steps"
    BUDGET = "budget"
    DIVERGED = "diverged"
    CANCELLED = "cancelled"
    ENCODED = "encoded"

    @property
    def advice(self) -> str:
        """What to try next."""
        return _ADVICE[self]


_ADVICE = {
    Stop.CONVERGED: "more steps would change little; W+ (space='w+') or a larger generator comes closer",
    Stop.MAX_STEPS: "every step was taken before the loss came to rest; more steps may come closer",
    Stop.BUDGET: "the time was up; a larger --budget comes closer",
    Stop.DIVERGED: "the loss became infinite again and again; lower the learning rate, and check the weights",
    Stop.ENCODED: "looked, not searched; --method encode+optimise comes closer",
    Stop.CANCELLED: "stopped on request; the best so far was kept, run it again to go further",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One step of a search, as ``on_step`` gets it.

    Attributes:
        index: from 0.
        total: steps planned.
        losses: weighted terms and their sum "loss"; means over the batch.
        progress: 0 to 1, by steps or by time, whichever is nearer its end.
        latent: the best so far, in w or w+, on the CPU: for a preview. None in ``ProjectionResult.history``.
    """

    index: int
    total: int
    losses: dict[str, float]
    progress: float
    latent: Latent | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ProjectionResult:
    """What was found for one photo.

    Attributes:
        latent: in w or w+, one sample, on the CPU.
        transform: placement of the picture, kept apart from the latent.
        image: [1, 3, R, R], what the generator makes of them.
        metrics: "psnr" (dB) and "ssim" on uint8-rounded aligned crops, data range 255; "mse" of images in [-1, 1];
            "perceptual" by the distance named in ``perceptual``.
        perceptual: name of the perceptual distance.
        history: every step.
        stop: why the search ended; ``stop.advice`` says what to try next.
        method: name and settings of the method, and the seed; where ``Auto`` chose it, "chosen" says why.
        seconds: wall time of the search, its first step, which a budget does not count, included.
        tuning: weight delta of pivotal tuning, or None; the image is then that of ``projector.tuned(G, tuning)``.
    """

    latent: Latent
    transform: Transform
    image: Tensor
    metrics: dict[str, float]
    perceptual: str
    history: tuple[Step, ...]
    stop: Stop
    method: dict[str, Any]
    seconds: float
    tuning: WeightDelta | None = None

"""The strength of augmentation, adapted to how far the discriminator overfits.

Source: Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", section 3.1:
r_t = E[sign(D(real))], equation 1, is kept at 0.6 by moving the strength a little every four batches.
Departure: the strength also stops at 1, beyond which every transformation happens already.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from editkit.errors import UsageError

Reduce = Callable[[Tensor], None]
"""Adds a tensor up over all ranks, in place: ``torch.distributed.all_reduce``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptiveOptions:
    """``target`` of r_t; ``speed_kimg``: thousands of images in which the strength may go from 0 to 1; ``interval``:
    batches between adjustments."""

    target: float = 0.6
    speed_kimg: float = 500.0
    interval: int = 4

    def __post_init__(self) -> None:
        if not -1 < self.target < 1 or self.speed_kimg <= 0 or self.interval < 1:
            raise UsageError(
                f"adaptive augmentation needs a target within (-1, 1), a speed above 0 and an interval from 1, got "
                f"{self.target}, {self.speed_kimg} and {self.interval}"
            )


class AdaptiveStrength:
    """Keeps the strength p. ``observe`` the logits of every batch of real images, then call ``step`` once a batch."""

    def __init__(self, options: AdaptiveOptions | None = None, *, strength: float = 0.0) -> None:
        self.options = options or AdaptiveOptions()
        self.strength = strength
        self.overfitting: float | None = None
        """r_t of the last adjustment; None before the first."""
        self._seen = torch.zeros(2, dtype=torch.float64)  # signs and count of this rank in this batch
        self._sum = torch.zeros(2, dtype=torch.float64)  # of all ranks since the last adjustment
        self._batches = 0

    def observe(self, real_logits: Tensor) -> None:
        """Note the discriminator's logits of real images (augmented, as it saw them), any shape, of this rank."""
        signs = real_logits.detach().sign().sum().double().cpu()
        self._seen += torch.stack([signs, torch.tensor(real_logits.numel(), dtype=torch.float64)])

    def step(self, images: int, *, reduce: Reduce | None = None) -> bool:
        """Ends a batch; adjusts the strength where it is time to, and says whether it did.

        Args:
            images: the total batch, over all ranks.
            reduce: adds the signs and their count up over all ranks (in place), so that all get the same strength.
        """
        if reduce is not None:  # in every batch, so that a snapshot between two adjustments holds what all ranks saw
            reduce(self._seen)
        self._sum += self._seen
        self._seen.zero_()
        self._batches += 1
        if self._batches % self.options.interval:
            return False
        total = self._sum.clone()
        self._sum.zero_()
        if total[1] == 0:
            raise UsageError("adaptive augmentation saw no logits of real images since its last step")
        self.overfitting = float(total[0] / total[1])
        distance = self.overfitting - self.options.target
        change = images * self.options.interval / (self.options.speed_kimg * 1000)
        self.strength = min(
            max(self.strength + (change if distance > 0 else -change if distance < 0 else 0.0), 0.0), 1.0
        )
        return True

    def state_dict(self) -> dict[str, Any]:
        """Numbers only, between batches; the same for all ranks."""
        return {
            "strength": self.strength,
            "overfitting": self.overfitting,
            "signs": float(self._sum[0]),
            "count": float(self._sum[1]),
            "batches": self._batches,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of ``state_dict``."""
        self.strength, self.overfitting = float(state["strength"]), state["overfitting"]
        self._sum = torch.tensor([state["signs"], state["count"]], dtype=torch.float64)
        self._seen.zero_()  # of a batch that was given up
        self._batches = int(state["batches"])

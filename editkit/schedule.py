"""How a learning rate runs over a search or a training of a known length."""

from __future__ import annotations

import math


def rise_and_fall(step: int, steps: int, *, rise: float) -> float:
    """Share of a rate at ``step`` of ``steps``: a line up over the first ``rise`` steps, half a cosine down."""
    return min(1.0, (step + 1) / rise) * (0.5 + 0.5 * math.cos(math.pi * step / steps))

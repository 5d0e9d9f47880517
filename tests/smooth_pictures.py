"""Smooth random pictures, for tests of what looks at pictures."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def pictures(count: int = 4, size: int = 64, seed: int = 0) -> torch.Tensor:
    """Smooth random pictures with some detail, [count, 3, size, size]."""
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False).clamp(-1, 1)

"""Where dragging leads, looks and holds: points, discs and masks, in pixels of the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from editkit.errors import UsageError

if TYPE_CHECKING:
    from editkit.feature_map import FeatureMap

Point = tuple[float, float]


def pairs_of(points: Sequence[tuple[Point, Point]], resolution: int) -> Tensor:
    """Handles and targets, [P, 2, 2]. Raises UsageError where one is no point of the picture."""
    try:
        pairs = torch.tensor(points, dtype=torch.float32)
    except (TypeError, ValueError) as problem:
        raise UsageError(f"points are pairs ((x, y), (x, y)) of handle and target, got {points!r}") from problem
    if pairs.ndim != 3 or pairs.shape[1:] != (2, 2) or not len(pairs):
        raise UsageError(f"points are pairs ((x, y), (x, y)) of handle and target, one at least, got {points!r}")
    inside = (pairs >= 0) & (pairs <= resolution)  # false for NaN
    if not bool(inside.all()):
        x, y = pairs[~inside.all(2)][0].tolist()
        raise UsageError(
            f"the point ({x:g}, {y:g}) is outside the picture, which is 0 to {resolution} pixels both ways"
        )
    return pairs


def surroundings(pairs: Tensor, resolution: int) -> Tensor:
    """[R, R], true within half of a handle's way and 14 pixels (of 64) more of the middle of the way."""
    line = torch.arange(resolution) + 0.5
    y, x = torch.meshgrid(line, line, indexing="ij")
    handles, targets = pairs.cpu().unbind(1)
    reach = 14 * resolution / 64 + (targets - handles).norm(dim=1) / 2
    away = torch.stack([x, y], 2)[:, :, None] - (handles + targets) / 2  # [R, R, P, 2]
    return (away.norm(dim=3) <= reach).any(2)


def outside(mask: Tensor, resolution: int, features: FeatureMap) -> Tensor:
    """[1, 1, H, W] on the map: 1 where ``mask`` [R, R] is false; beyond the picture as at its edge.

    Raises UsageError for a mask of another size."""
    if mask.shape != (resolution, resolution):
        raise UsageError(f"the mask is [{resolution}, {resolution}] here, as the picture, got {list(mask.shape)}")
    keep = (mask <= 0.5) if mask.is_floating_point() else ~mask.bool()
    height, width = features.values.shape[2:]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    places = torch.stack([x - width / 2, y - height / 2], 2) / features.rate + 0.5  # image widths
    nearest = (places * resolution).floor().long().clamp(0, resolution - 1)
    return keep.float().cpu()[nearest[..., 1], nearest[..., 0]][None, None].to(features.values.device)


def blurred(values: Tensor, sigma: float) -> Tensor:
    """[N, C, H, W] under a Gaussian of ``sigma`` samples, the edge repeated."""
    reach = math.ceil(3 * sigma)
    line = torch.arange(-reach, reach + 1, device=values.device, dtype=values.dtype)
    taps = torch.exp(-line.square() / (2 * sigma * sigma))
    taps = (taps / taps.sum()).expand(values.shape[1], 1, 1, -1)
    values = F.pad(values, (reach, reach, reach, reach), mode="replicate")
    values = F.conv2d(values, taps, groups=values.shape[1])
    return F.conv2d(values, taps.transpose(2, 3), groups=values.shape[1])


def disc(radius: float, spacing: float) -> Tensor:
    """Offsets [K, 2] on a grid through (0, 0), within ``radius``."""
    reach = int(radius / spacing)
    line = torch.arange(-reach, reach + 1) * spacing
    y, x = torch.meshgrid(line, line, indexing="ij")
    offsets = torch.stack([x, y], 2).reshape(-1, 2)
    return offsets[offsets.norm(dim=1) <= radius + 1e-6]

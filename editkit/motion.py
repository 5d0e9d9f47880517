"""Placements in motion: between keyframes, and along simple movements of the whole picture.

Convention: as in ``editkit.transform``; content moves. Between keyframes the parts of a transform are interpolated, not
its matrix: the angle the shortest way round, scale (with any shear) by its logarithm, the translation as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from editkit.errors import UsageError
from editkit.paths import Timing, hermite
from editkit.transform import Transform


@dataclass(frozen=True, kw_only=True, slots=True)
class Motion:
    """A movement of the whole picture over a path, put on top of the keyframes' placements.

    In a loop, shift and zoom go there and back (as a cosine) and a turn is a whole number of turns.

    Attributes:
        circle: radius of a circle on which the content goes round once, about its place; in image widths. It starts
            on the right and goes up first.
        shift: (x, y) by which the content has moved at the end, in image widths.
        turn: degrees by which it has turned at the end, counter-clockwise; may be several turns.
        zoom: factor by which it has grown at the end.
    """

    circle: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    turn: float = 0.0
    zoom: float = 1.0

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in (self.circle, *self.shift, self.turn, self.zoom)):
            raise UsageError(f"a motion needs finite numbers, got {self}")
        if self.zoom <= 0:
            raise UsageError(f"zoom is a factor above 0, got {self.zoom:g}")

    def __bool__(self) -> bool:
        """Whether anything moves."""
        return self != Motion()

    def at(self, t: float, *, loop: bool = False) -> Transform:
        """The placement at ``t``, 0 at the beginning and 1 at the end (in a loop: at the beginning again).

        Raises UsageError for a loop whose turn does not lead back.
        """
        if loop and self.turn % 360:
            raise UsageError(f"in a loop the turn is a multiple of 360 degrees, got {self.turn:g}")
        share = (1 - math.cos(2 * math.pi * t)) / 2 if loop else t
        x = self.shift[0] * share + self.circle * math.cos(2 * math.pi * t)
        y = self.shift[1] * share - self.circle * math.sin(2 * math.pi * t)
        moved = Transform.translate(x, y)
        return moved @ Transform.rotate(self.turn * t) @ Transform.scale(self.zoom**share)


def transform_curve(keyframes: Transform, timing: Timing, *, smooth: bool = False) -> Callable[[int, float], Transform]:
    """A function of (segment, t) through the keyframes' placements; at t = 0 the keyframe itself.

    Args:
        keyframes: K samples.
        smooth: along the cubic of ``editkit.paths.spline``, instead of straight from one to the next.

    Raises:
        UsageError: a placement mirrors the picture: there is no way to it.
    """
    parts = decompose(keyframes)  # [K, 6]
    following = parts.roll(-1, 0) if timing.loop else parts[1:]
    change = following - (parts if timing.loop else parts[:-1])  # [segments, 6]
    change[:, 0] = 180 - (180 - change[:, 0]) % 360  # to -180 (not included) .. 180
    # Angles that go on from one another, so that a spline does not see a jump.
    parts[1:, 0] = parts[0, 0] + change[: len(parts) - 1, 0].cumsum(0)
    h = torch.tensor(timing.steps, dtype=parts.dtype)[:, None]
    cubic = hermite(parts, change / h, h, timing)

    def at(segment: int, t: float) -> Transform:
        if t == 0:
            return keyframes[segment % len(keyframes)]
        return compose(cubic(segment, t) if smooth else parts[segment] + t * change[segment])

    return at


def decompose(transform: Transform) -> Tensor:
    """[N, 6] float64: angle in degrees, logarithm of the symmetric stretch (xx, xy, yy), translation (x, y).

    The linear part is rotation @ stretch (its polar decomposition); a similarity has a stretch of scale x identity.
    Raises UsageError where the picture is mirrored or flattened.
    """
    matrix = transform.matrix.detach().cpu().double()
    linear = matrix[:, :2, :2]
    if not bool((torch.linalg.det(linear) > 1e-12).all()):
        raise UsageError("a placement that mirrors or flattens the picture cannot be moved to; leave it out")
    angle = torch.atan2(linear[:, 0, 1] - linear[:, 1, 0], linear[:, 0, 0] + linear[:, 1, 1])
    c, s = torch.cos(angle), torch.sin(angle)
    back = torch.stack([c, -s, s, c], 1).reshape(-1, 2, 2)
    values, vectors = torch.linalg.eigh(back @ linear)
    log = vectors @ torch.diag_embed(values.log()) @ vectors.mT
    return torch.stack(
        [angle.rad2deg(), log[:, 0, 0], log[:, 0, 1], log[:, 1, 1], matrix[:, 0, 2], matrix[:, 1, 2]], dim=1
    )


def compose(parts: Tensor) -> Transform:
    """The transform of one row [6] of ``decompose``."""
    angle, xx, xy, yy, x, y = parts.tolist()
    stretch = torch.linalg.matrix_exp(torch.tensor([[xx, xy], [xy, yy]], dtype=torch.float64))
    placed = Transform.translate(x, y) @ Transform.rotate(angle)
    matrix = placed.matrix.clone()
    matrix[0, :2, :2] = matrix[0, :2, :2] @ stretch
    return Transform(matrix=matrix)

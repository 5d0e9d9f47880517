"""Paths through keyframes: which frame lies where, and the curve between them. Nothing is rendered here.

Convention: K keyframes have K - 1 segments, K where the path is a loop (the last leads back to the first). A segment
takes a whole number of frames, so that every keyframe is a frame, exactly. A loop's last frame is one step before its
first, which is not repeated. A position is (segment, t) with t in [0, 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from editkit.errors import UsageError
from editkit.latent import Latent


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """When the keyframes are shown.

    Attributes:
        steps: frames from each keyframe to the next, one number a segment, each at least 1.
        loop: whether the last segment leads back to the first keyframe.
    """

    steps: tuple[int, ...]
    loop: bool = False

    @property
    def frames(self) -> int:
        """How many there are."""
        return sum(self.steps) + (not self.loop)

    @property
    def keyframes(self) -> int:
        """How many there are."""
        return len(self.steps) + (not self.loop)

    def position(self, frame: int) -> tuple[int, float]:
        """(segment, t) of a frame. The last keyframe of a path that is no loop is (number of segments, 0)."""
        for segment, steps in enumerate(self.steps):
            if frame < steps:
                return segment, frame / steps
            frame -= steps
        return len(self.steps), 0.0


def timing(keyframes: int, frames: int, *, durations: Sequence[float] | None = None, loop: bool = False) -> Timing:
    """``frames`` over the segments between ``keyframes``, in proportion to ``durations`` (even by default).

    Args:
        keyframes: at least 2.
        frames: at least as many.
        durations: above 0, in any unit, one a segment: K - 1, or K for a loop.

    Raises:
        UsageError: too few keyframes or frames, or durations that do not fit.
    """
    segments = keyframes - (not loop)
    if keyframes < 2:
        raise UsageError(f"a path leads from one keyframe to another; give at least 2, got {keyframes}")
    if not isinstance(frames, int) or frames < keyframes:
        raise UsageError(f"{frames} frames are too few for {keyframes} keyframes; each takes at least one")
    weights = [1.0] * segments if durations is None else [float(duration) for duration in durations]
    if len(weights) != segments:
        kind = "loop" if loop else "path"
        raise UsageError(f"a {kind} of {keyframes} keyframes has {segments} durations, got {len(weights)}")
    if not all(math.isfinite(weight) and weight > 0 for weight in weights):
        raise UsageError(f"durations are finite numbers above 0, got {weights}")
    total = frames - (not loop)
    wanted = [weight / sum(weights) * total for weight in weights]
    steps = [max(1, math.floor(share)) for share in wanted]
    while sum(steps) > total:  # some shares were below one: the others give, those first that are furthest above theirs
        steps[max((i for i in range(segments) if steps[i] > 1), key=lambda i: steps[i] - wanted[i])] -= 1
    # What rounding left over goes to the largest remainders; equal ones take it at even distances along the path.
    order = sorted(range(segments), key=lambda i: (round(steps[i] - wanted[i], 9), i * 0.618034 % 1))
    for i in order[: total - sum(steps)]:
        steps[i] += 1
    return Timing(steps=tuple(steps), loop=loop)


class Curve(Protocol):
    """A way through keyframes; its attributes are its options."""

    def through(self, keyframes: Latent, timing: Timing) -> Callable[[int, float], Latent]:
        """A function of (segment, t) that gives one sample; at t = 0 the keyframe itself."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Linear:
    """Straight lines."""

    def through(self, keyframes: Latent, timing: Timing) -> Callable[[int, float], Latent]:
        """See ``Curve``."""

        def at(segment: int, t: float) -> Latent:
            start = keyframes[segment % len(keyframes)]
            return start if t == 0 else start.lerp(keyframes[(segment + 1) % len(keyframes)], t)

        return at


@dataclass(frozen=True, kw_only=True, slots=True)
class Slerp:
    """Great circles between Z codes, where the norm of a code means nothing (White 2016)."""

    def through(self, keyframes: Latent, timing: Timing) -> Callable[[int, float], Latent]:
        """See ``Curve``. Raises LatentError outside z."""
        keyframes.require("z")

        def at(segment: int, t: float) -> Latent:
            start = keyframes[segment % len(keyframes)]
            return start if t == 0 else start.slerp(keyframes[(segment + 1) % len(keyframes)], t)

        return at


@dataclass(frozen=True, kw_only=True, slots=True)
class Spline:
    """A cubic through every keyframe without a corner: Catmull and Rom 1974, with tangents for uneven spacing.

    A tangent is the slope, at the keyframe, of the parabola through it and its neighbours in time; at the ends of a
    path that is no loop, the slope of the parabola through the last three (of the line, where there are two).
    """

    def through(self, keyframes: Latent, timing: Timing) -> Callable[[int, float], Latent]:
        """See ``Curve``."""
        splines = {name: spline(codes, timing) for name, codes in keyframes.named_tensors().items()}

        def at(segment: int, t: float) -> Latent:
            start = keyframes[segment % len(keyframes)]
            return start if t == 0 else start._with({name: f(segment, t)[None] for name, f in splines.items()})

        return at


def spline(points: Tensor, timing: Timing) -> Callable[[int, float], Tensor]:
    """The cubic of ``Spline`` through points [K, ...]: a function of (segment, t) that gives [...]."""
    h = torch.tensor(timing.steps, dtype=points.dtype, device=points.device).view(-1, *[1] * (points.ndim - 1))
    following = points.roll(-1, 0) if timing.loop else points[1:]
    slopes = (following - (points if timing.loop else points[:-1])) / h  # [segments, ...], per frame
    return hermite(points, slopes, h, timing)


def hermite(points: Tensor, slopes: Tensor, h: Tensor, timing: Timing) -> Callable[[int, float], Tensor]:
    """As ``spline``, for slopes [segments, ...] given per frame: a loop's may lead to a multiple of a turn."""
    before, after = slopes.roll(1, 0), slopes
    h_before, h_after = h.roll(1, 0), h
    inner = (before * h_after + after * h_before) / (h_before + h_after)  # the three-point parabola at keyframe i
    if timing.loop:
        tangents = inner
    elif len(slopes) == 1:
        tangents = torch.cat([slopes, slopes])
    else:
        tangents = torch.cat([2 * slopes[:1] - inner[1:2], inner[1:], 2 * slopes[-1:] - inner[-1:]])

    def at(segment: int, t: float) -> Tensor:
        if t == 0:
            return points[segment % len(points)]
        step = h[segment]
        start, end = points[segment], points[segment] + slopes[segment] * step
        leave, arrive = tangents[segment] * step, tangents[(segment + 1) % len(tangents)] * step
        return (
            (2 * t**3 - 3 * t**2 + 1) * start
            + (t**3 - 2 * t**2 + t) * leave
            + (3 * t**2 - 2 * t**3) * end
            + (t**3 - t**2) * arrive
        )

    return at

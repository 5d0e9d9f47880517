"""Easing: how time runs between two keyframes.

An easing is a function of t in 0..1 with 0 -> 0 and 1 -> 1, exactly; any such function may be passed. Names and shapes
are those of the CSS Easing Functions specification, as polynomials.
"""

from __future__ import annotations

from collections.abc import Callable

from editkit.errors import UsageError

Easing = Callable[[float], float]


def linear(t: float) -> float:
    """At constant speed."""
    return t


def ease_in(t: float) -> float:
    """Starts from rest."""
    return t**3


def ease_out(t: float) -> float:
    """Comes to rest."""
    return 1 - (1 - t) ** 3


def ease_in_out(t: float) -> float:
    """Starts from and comes to rest, without a jump in acceleration at either end: 6 t^5 - 15 t^4 + 10 t^3."""
    return t**3 * (t * (6 * t - 15) + 10)


EASINGS: dict[str, Easing] = {"linear": linear, "in": ease_in, "out": ease_out, "in-out": ease_in_out}
"""Name -> easing, as the command line has them."""


def eased(easing: Easing, t: float) -> float:
    """``easing(t)``; the ends are kept exactly. Raises UsageError where it moves them or gives no finite number."""
    if t in (0.0, 1.0):
        if abs(easing(t) - t) > 1e-9:
            raise UsageError(f"an easing takes 0 to 0 and 1 to 1, this one takes {t:g} to {easing(t)!r}")
        return t
    value = easing(t)
    if not abs(value) < 1e6:
        raise UsageError(f"an easing gives finite numbers, this one gives {value!r} at {t:.3f}")
    return value

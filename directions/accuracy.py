"""How well a boundary tells samples apart that it was not fitted on, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

_EVEN = 0.4  # share of the smaller side from which on the two are called balanced


def separability(sides: Tensor, right: Tensor) -> float:
    """exp H(Y|X) for true sides Y and the boundary's X, in nats: 1 where X tells Y, 2 where it says nothing.

    Karras et al. 2019, section 4.2, with labels of both sides counting the same.
    """
    joint = torch.zeros(2, 2, dtype=torch.float64)  # [Y, X]
    for row, side in enumerate((1, -1)):
        share = float(right[sides == side].double().mean())
        joint[row, row], joint[row, 1 - row] = share / 2, (1 - share) / 2
    said = joint.sum(0, keepdim=True).expand(2, 2)
    seen = joint > 0
    return math.exp(-float((joint[seen] * (joint[seen] / said[seen]).log()).sum()))


def wilson(successes: int, count: int, *, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927): honest for few samples, and at 0 and 1."""
    if count < 1:
        return 0.0, 1.0
    share = successes / count
    middle, half = share + z * z / (2 * count), z * math.sqrt(share * (1 - share) / count + z * z / (4 * count**2))
    return (middle - half) / (1 + z * z / count), (middle + half) / (1 + z * z / count)


def balanced(*sides: tuple[int, int]) -> tuple[float, float, float]:
    """Mean over the sides of (successes, count), each counting the same, and its 95 % interval.

    From the interval of each by Newcombe 1998 ("Interval estimation for the difference between independent
    proportions", method 10), here for the mean.
    """
    shares = [successes / max(1, count) for successes, count in sides]
    bounds = [wilson(successes, count) for successes, count in sides]
    mean = sum(shares) / len(sides)
    below = math.sqrt(sum((share - low) ** 2 for share, (low, _) in zip(shares, bounds, strict=True))) / len(sides)
    above = math.sqrt(sum((high - share) ** 2 for share, (_, high) in zip(shares, bounds, strict=True))) / len(sides)
    return mean, mean - below, mean + above


def told(scores: Mapping[str, float]) -> str:
    """A line for people: how well a boundary tells samples apart that it was not fitted on.

    Where one side is much larger, saying "it" every time would be right often: then each side counts the same.
    """
    share = scores["positive_share"]
    even = _EVEN <= share <= 1 - _EVEN
    key, word = ("accuracy", "") if even else ("balanced_accuracy", "balanced accuracy: ")
    rest = f"{share:.0%} positive" if even else f"{share:.0%} positive, so each side counts the same"
    guess = "; no better than a guess: label more" if scores[f"{key}_low"] <= 0.5 else ""
    return (
        f"{word}tells {scores[key]:.1%} of {scores['held_out']:.0f} held-out samples apart (95 % interval "
        f"{scores[f'{key}_low']:.1%} to {scores[f'{key}_high']:.1%}; {rest}){guess}"
    )

"""A direction from examples that a person likes and dislikes.

Source: Shen et al. 2020, "Interpreting the Latent Space of GANs for Semantic Face Editing", section 2, for moving along
the normal between two classes. Departure: with a handful of examples the normal is taken as the difference of the
classes' means, which needs no more samples than dimensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from editkit.direction import Direction
from editkit.errors import DirectionError
from editkit.latent import Latent

if TYPE_CHECKING:
    from editkit.generator import Generator

SAMPLES = 1000
"""Codes of W whose spread along the direction is its unit."""


def from_examples(
    G: Generator, name: str, liked: Latent, disliked: Latent | None = None, *, seed: int = 0
) -> Direction:
    """From the mean of ``disliked`` (by default the mean of W) to that of ``liked``: in w+, [num_ws, w_dim].

    A unit is one standard deviation of W along it; row 0, which places the picture, stays.
    Raises DirectionError where both means are the same, LatentError or GeneratorMismatchError for unfit codes.
    """
    from editkit.sampling import sample_w

    to = liked.require("w", "w+").check(G.spec).as_w_plus().tensor.mean(0)  # [num_ws, w_dim]
    if disliked is None:
        away = G.w_avg.to(to).expand_as(to)
    else:
        away = disliked.require("w", "w+").check(G.spec).as_w_plus().tensor.to(to).mean(0)
    vector = to - away
    vector[0] = 0.0
    length = float(vector.norm())
    if length < 1e-6:
        raise DirectionError("what is liked and what is disliked are the same on average; choose other examples")
    unit = vector / length
    rows = sample_w(G, range(seed, seed + SAMPLES)).as_w_plus().tensor.to(unit)  # [SAMPLES, num_ws, w_dim]
    spread = float((rows * unit).sum((1, 2)).std())
    return Direction(
        name=name,
        vector=unit * spread,
        space="w+",
        generator=G.spec.id,
        strength=(-3.0, 3.0),
        unit="one standard deviation of W along it",
        method="examples",
        reference=f"{len(liked)} liked, {0 if disliked is None else len(disliked)} disliked",
    )

"""A direction from examples that a person likes and dislikes.

With enough of both it is the boundary of a linear support-vector machine (``directions.boundary``), tested on examples
that were held out, and judged like any other. With fewer it is the difference of the two means: the normal between two
classes needs no more samples than dimensions then, but how well it tells them apart cannot be said.
Source: Shen et al. 2020, "Interpreting the Latent Space of GANs for Semantic Face Editing", section 2.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from directions import accuracy
from directions.bank import known
from directions.boundary import LEAST, LinearSVM
from directions.calibration import reachable, times
from directions.judging import KEPT_SAMPLES, Judgement, judge
from directions.labels import Labelled
from directions.score import default_scorers, sample_latents
from editkit.direction import Direction
from editkit.errors import DirectionError
from editkit.latent import Latent
from editkit.rendering import render
from editkit.sampling import sample_w

if TYPE_CHECKING:
    from editkit.generator import Generator

SAMPLES = 1000
"""Codes of W whose spread along the direction is its unit."""
METHOD = "examples"
"""What ``Direction.method`` begins with."""
_JUDGED, _STRENGTHS = KEPT_SAMPLES, 5  # faces, at so many strengths
_LABELLED = 512  # samples that deviations are taken from, see ``known_baseline``
_PATIENCE = 60.0  # seconds that judging may take where somebody waits


def from_examples(
    G: Generator, name: str, liked: Latent, disliked: Latent | None = None, *, seed: int = 0
) -> Direction:
    """From what is disliked (by default the mean of W) to what is liked: in w+, [num_ws, w_dim]; row 0, the placement,
    stays.

    With eight or more of each a boundary, whose held-out accuracy is in ``scores``; else the difference of the means. A
    unit is one standard deviation of W along it, which for a boundary is one of its score over G's samples.
    Raises DirectionError where both sides are the same, LatentError or GeneratorMismatchError for unfit codes.
    """
    liked = liked.require("w", "w+").check(G.spec)
    disliked = None if disliked is None else disliked.require("w", "w+").check(G.spec)
    source = f"{len(liked)} liked, {0 if disliked is None else len(disliked)} disliked"
    to = liked.as_w_plus().tensor.mean(0)  # [num_ws, w_dim]
    away = G.w_avg.to(to).expand_as(to) if disliked is None else disliked.as_w_plus().tensor.to(to).mean(0)
    apart = to - away
    apart[0] = 0.0
    if float(apart.norm()) < 1e-6:
        raise DirectionError("what is liked and what is disliked are the same on average; choose other examples")
    if disliked is not None and min(len(liked), len(disliked)) >= LEAST:
        labels = Labelled.of_sides(liked.as_w_plus(), disliked.as_w_plus(), name=name, source=source)
        (made,) = LinearSVM(labels=labels, space="w+", layers=tuple(range(1, G.spec.num_ws))).find(G)
        made = replace(made, method=f"{METHOD}, {made.method}")
    else:
        made = Direction(name=name, vector=apart, space="w+", generator=G.spec.id, method=METHOD, reference=source)
    vector = made.named_tensors()["w+"]
    rows = sample_w(G, range(seed, seed + SAMPLES)).as_w_plus().tensor.to(vector)  # [SAMPLES, num_ws, w_dim]
    spread = float((rows * vector).sum((1, 2)).std()) / float(vector.square().sum())
    made = replace(times(made, spread), unit="one standard deviation of W along it")
    high = reachable(G, made)
    return replace(made, strength=(-high, high))


def judged(G: Generator, direction: Direction) -> Judgement | None:
    """What it does to some samples; None where drawing them takes longer than somebody waits for."""
    scorers = default_scorers(faces="face" in (G.spec.domain or ""))
    there = known(G, scorers).scores
    unlabelled = max(0, _LABELLED - min(len(there.get(each.name, ())) for each in scorers))
    render(G, sample_latents(G, samples=1))  # the first picture of all takes longer
    begun = time.monotonic()
    render(G, sample_latents(G, samples=1))
    if (time.monotonic() - begun) * (_JUDGED * _STRENGTHS + 2 * KEPT_SAMPLES + unlabelled) > _PATIENCE:
        return None
    return judge(G, direction, scorers=scorers, samples=_JUDGED)


def told(direction: Direction, found: Judgement | None) -> str:
    """A few sentences for people: how it was made, how well it tells examples apart, and what it does."""
    if "accuracy" in direction.scores:
        said = [f"A linear SVM between {direction.reference.split(';')[0]}: {accuracy.told(direction.scores)}."]
    else:
        said = [
            f"The difference of two means ({direction.reference}): too few to test. With {LEAST} or more of each a "
            "linear SVM is fitted, and tested on faces that were held out."
        ]
    if found is None:
        said.append(f"Not judged, which would take minutes here: editkit directions score {direction.name} --save.")
        return " ".join(said)
    seen, target = found.measurement, found.target
    said.append(
        f"Judged on {seen.samples} faces, it moves {target} most: {seen.effects[target]:+.2f} sd a unit, monotone on "
        f"{seen.monotonicity[target]:.0%}, leakage {seen.worst_leakage(target):.2f}. "
        f"Range: {direction.strength[0]:+g} to {direction.strength[1]:+g}, as far as samples go; look at the strip."
    )
    return " ".join(said)

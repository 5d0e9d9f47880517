"""Units and ranges: one unit of a direction is one standard deviation of its score, as measured on edited samples."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from directions.attributes import Scorer
from directions.bank import known, labelled
from directions.measurement import Measurement
from directions.score import Baseline, baseline_of, measure
from directions.spaces import style_widths, styles
from editkit.direction import Direction
from editkit.errors import DirectionError
from editkit.labels import Classes
from editkit.sampling import sample_w

if TYPE_CHECKING:
    from editkit.generator import Generator

REACH = 3.0
"""How far an edit may go, in standard deviations of the space (root mean square over what it moves)."""
MOST = 3.0
"""Units beyond which no range goes."""
SURE = 2.0
"""Standard errors by which what was measured is doubted: where a unit is set, and where a direction is accepted."""
_SEED = 400_000  # apart from the seeds that directions are found and judged on


def length(G: Generator, direction: Direction, *, samples: int = 512, classes: Classes | None = None) -> float:
    """How far one unit goes, in standard deviations of w (in s: of each layer's styles), over what it moves."""
    latents = sample_w(G, range(samples), classes=classes)
    if direction.space == "s":
        codes = styles(G, latents).styles
        vectors = direction.named_tensors()
        moved = {name: part for name, part in codes.items() if f"s.{name}" in vectors}
        spread = torch.cat([part.double().var(0) for part in moved.values()]).sum()
        total = sum(float(vectors[f"s.{name}"].double().square().sum()) for name in moved)
        return math.sqrt(total / max(float(spread), 1e-300))
    spread = latents.tensor[:, 0].double().var(0).sum()
    vector = direction.named_tensors()[direction.space].double()
    rows = vector.reshape(-1, G.spec.w_dim)
    moved_rows = rows[(rows != 0).any(1)]
    return math.sqrt(float(moved_rows.square().sum(1).mean()) / max(float(spread), 1e-300))


def known_baseline(
    G: Generator, scorers: Sequence[Scorer], *, samples: int = 512, seed: int = 0, classes: Classes | None = None
) -> Baseline:
    """What effects are measured against: all that the sample bank knows of these scores, at least ``samples``.

    What is missing is labelled. Raises DirectionError.
    """
    there = {} if classes is not None else known(G, scorers, seed=seed).scores
    samples = max(samples, min(len(there.get(each.name, ())) for each in scorers))
    return baseline_of(G, labelled(G, scorers, samples=samples, seed=seed, classes=classes).scores)


def calibrated(
    G: Generator,
    direction: Direction,
    scorer: Scorer,
    *,
    against: Baseline,
    samples: int = 32,
    classes: Classes | None = None,
    rounds: int = 2,
) -> Direction:
    """``direction`` scaled, and turned if need be, so that one unit raises its score by one standard deviation.

    In the weaker half of its range (``counted``), and by ``SURE`` standard errors more than that as measured, so that
    it holds on other samples. Its range goes as far as ``REACH`` allows, at most ``MOST`` units. The effect bends at
    the ends of the range, so it is measured over the range that comes out, ``rounds`` times.

    Raises DirectionError where the score does not move.
    """
    scaled = direction
    size = length(G, direction, classes=classes)
    high = 1.0 / size  # one standard deviation of the space, to begin with
    for _ in range(rounds):
        seen = measure(
            G,
            replace(scaled, strength=(-high, high)),
            [scorer],
            against=against,
            samples=samples,
            seed=_SEED,
            classes=classes,
            strengths=(-high, high),
        )
        effect = counted(seen, scorer.name)
        if abs(effect) * REACH / length(G, scaled, classes=classes) < 0.05:
            raise DirectionError(
                f"{direction.name!r} moves {scorer.name} by less than a twentieth of a standard deviation; "
                "it was not found on these samples: try more of them, or another space"
            )
        scaled = times(scaled, 1 / effect)
        high = reachable(G, scaled, classes=classes)
    return replace(
        scaled,
        strength=(-high, high),
        unit=f"one standard deviation of {scorer.name} over the generator's samples",
        target=scorer.name,
    )


def relied_on(seen: Measurement, target: str, errors: float = SURE) -> float:
    """The weaker half's slope of ``target`` less so many standard errors, with its sign; 0 where nothing is left."""
    effect = seen.effects[target]
    return math.copysign(max(0.0, abs(effect) - errors * seen.errors[target]), effect)


def counted(seen: Measurement, target: str) -> float:
    """What a unit is set by: ``relied_on``, or the mean of both halves where one does less than half of that.

    Judging will say of the latter that the halves differ; a unit set by the weak one could be more than the range.
    """
    effect, mean = relied_on(seen, target), seen.means[target]
    return effect if abs(effect) >= 0.5 * abs(mean) else mean


def times(direction: Direction, factor: float) -> Direction:
    """``direction`` with ``factor`` times its vector; its range in units stays as it is."""
    vector = direction.vector
    if isinstance(vector, torch.Tensor):
        return replace(direction, vector=factor * vector)
    return replace(direction, vector={layer: factor * part for layer, part in vector.items()})


def reachable(G: Generator, direction: Direction, *, classes: Classes | None = None) -> float:
    """The largest strength within ``REACH`` and ``MOST``, to a tenth."""
    return max(0.1, min(MOST, math.floor(10 * REACH / length(G, direction, classes=classes)) / 10))


def layer_ranges(G: Generator, *, space: str = "w") -> list[Sequence[int] | Sequence[str]]:
    """Contiguous ranges a search over layers tries: all, each half, each third; row 0, the placement, stays out."""
    names: Sequence[int] | Sequence[str] = (
        list(style_widths(G))[1:] if space == "s" else list(range(min(1, G.spec.num_ws - 1), G.spec.num_ws))
    )
    found: list[Sequence[int] | Sequence[str]] = [names]
    for parts in (2, 3):
        if len(names) >= parts:
            edges = [len(names) * i // parts for i in range(parts + 1)]
            found += [names[a:b] for a, b in itertools.pairwise(edges)]
            if parts == 3:
                found += [names[: edges[2]], names[edges[1] :]]
    return found

"""The rebuild step of a generator's bundled directions: from nothing to files named for what they do.

1. Principal components of W (``directions.ganspace``), each limited to an early, a middle and a late range of rows.
   Row 0 stays out: it drives the learned placement, which an edit of a photo should not move.
2. Each of these is measured against every scorer: a matrix E [scores, candidates] of effects.
3. For each score the combination c of components that moves it by one standard deviation and the others by none, in
   the linear approximation: minimise |E c - e_score|^2 + ridge |c|^2, |c| in standard deviations of W.
4. Each combination is measured again, on other seeds and over its range; those that keep the bars are written, scaled
   to one standard deviation of their score a unit.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from directions.attributes import Scorer
from directions.catalog import bundled_directions, folder_of, save
from directions.ganspace import Components, components, direction
from directions.methods import Progress
from directions.score import Measurement, baseline, default_scorers, measure
from editkit.direction import Direction
from editkit.errors import DirectionError

if TYPE_CHECKING:
    from editkit.generator import Generator

log = logging.getLogger(__name__)

_RIDGES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
_SCREEN_STRENGTHS = (-2.0, 2.0)
_CONFIRM_SEED, _SCREEN_SEED = 300_000, 200_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Bars:
    """What a direction must keep to be bundled.

    Attributes:
        reach: how far from a sample an edit may go, in standard deviations of W (root mean square over edited rows).
        effect: standard deviations of its score that it must move within that reach.
        monotonicity: share of samples whose score goes the right way at every step.
        leakage: largest effect on another score, as a share of its own.
    """

    reach: float = 3.0
    effect: float = 1.0
    monotonicity: float = 0.8
    leakage: float = 0.6


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Bundled:
    """A direction that was kept, with what was measured on fresh seeds per unit of it."""

    direction: Direction
    measurement: Measurement


def build(
    G: Generator,
    *,
    scorers: Sequence[Scorer] | None = None,
    bars: Bars | None = None,
    count: int = 20,
    samples: int = 20_000,
    screened: int = 24,
    confirmed: int = 64,
    root: Path | None = None,
    on_progress: Progress | None = None,
) -> tuple[Bundled, ...]:
    """Find, judge and write the directions of ``G``; stale files of its folder go. Deterministic.

    Args:
        scorers: ``default_scorers()`` by default.
        bars: what to keep.
        count: components of W to combine.
        samples: for the components.
        screened: latents a candidate is screened on.
        confirmed: latents a direction is confirmed on.
        root: where the folder of the generator goes; the package's own bundle by default.
        on_progress: called with (done, total) pictures rendered so far, about.

    Raises:
        DirectionError: nothing keeps the bars, or a scorer fails.
        OutputError: nothing can be written.
    """
    scorers, bars = default_scorers() if scorers is None else scorers, bars or Bars()
    found = components(G, samples=max(samples, 2 * G.spec.w_dim), count=min(count, G.spec.w_dim))
    against = baseline(G, scorers, samples=max(8 * screened, 256))
    candidates, shares = _candidates(G, found)
    total = len(candidates) * len(_SCREEN_STRENGTHS) * screened + len(against.deviation) * 5 * confirmed
    rows = []
    for done, candidate in enumerate(candidates, start=1):
        seen = measure(
            G, candidate, scorers, against=against, samples=screened, seed=_SCREEN_SEED, strengths=_SCREEN_STRENGTHS
        )
        rows.append([seen.effects[name] for name in against.deviation])
        if on_progress is not None:
            on_progress(done * len(_SCREEN_STRENGTHS) * screened, total)
    effects = torch.tensor(rows, dtype=torch.float64).T  # [scores, candidates]
    kept = []
    for index, target in enumerate(against.deviation):
        combined = combine(effects, shares, index, bars=bars)
        if combined is None:
            log.info("%s: out of reach", target)
        else:
            made = _assembled(candidates, *combined, target=target, bars=bars)
            seen = measure(G, made, scorers, against=against, samples=confirmed, seed=_CONFIRM_SEED)
            if _keeps(bars, made, seen):
                kept.append(Bundled(direction=replace(made, scores=seen.as_scores(target)), measurement=seen))
        if on_progress is not None:
            on_progress(total - (len(against.deviation) - index - 1) * 5 * confirmed, total)
    if not kept:
        raise DirectionError(
            f"no direction of {G.spec.name!r} moves a score by {bars.effect} standard deviations within the bars; "
            "train the generator longer, or allow more leakage"
        )
    _write(G, [bundled.direction for bundled in kept], root or bundled_directions())
    return tuple(kept)


def combine(effects: Tensor, shares: Tensor, target: int, *, bars: Bars) -> tuple[Tensor, float] | None:
    """The combination c [candidates] of length 1 for one score, and its predicted effect per unit of length.

    ``effects`` is E [scores, candidates], ``shares`` [candidates] the share of edited rows that each candidate moves:
    |c|^2 = sum of shares c^2. Of the ridges, the strongest that predicts leakage within the bars is taken, else the one
    that predicts the least. None if none reaches the effect.
    """
    wanted = torch.zeros(len(effects), dtype=torch.float64)
    wanted[target] = 1.0
    best: tuple[float, Tensor, float] | None = None
    for ridge in _RIDGES:
        c = torch.linalg.solve(effects.T @ effects + ridge * torch.diag(shares), effects.T @ wanted)
        length = float((shares * c.square()).sum().sqrt())
        if length <= 0:
            continue
        predicted = effects @ c / length
        effect = float(predicted[target])
        if effect * bars.reach < bars.effect:
            continue
        others = predicted[torch.arange(len(predicted)) != target].abs()
        leakage = float(others.max()) / effect if len(others) else 0.0
        if best is None or leakage < best[0]:
            best = leakage, c / length, effect
        if leakage <= bars.leakage / 2:  # half, as what is predicted is not what will be measured
            break
    return None if best is None else best[1:]


def _candidates(G: Generator, found: Components) -> tuple[list[Direction], Tensor]:
    """Every component on the early, middle and late rows of 1 to num_ws - 1, and the share of these rows of each."""
    rows = torch.arange(min(1, G.spec.num_ws - 1), G.spec.num_ws)
    ranges = [part.tolist() for part in rows.tensor_split(3) if len(part)]
    usable = [index for index in range(len(found)) if float(found.deviations[index] / found.deviations[0]) > 1e-6]
    made = [direction(G, found, index, layers=layers) for index in usable for layers in ranges]
    shares = [len(layers) / len(rows) for _ in usable for layers in ranges]
    return made, torch.tensor(shares, dtype=torch.float64)


def _assembled(
    candidates: Sequence[Direction], weights: Tensor, effect: float, *, target: str, bars: Bars
) -> Direction:
    """The combination as a direction that moves ``target`` by one standard deviation a unit, as predicted."""
    high = min(3.0, round(bars.reach * effect, 1))
    stacked = torch.stack([candidate.named_tensors()["w+"] for candidate in candidates])  # [candidates, rows, w_dim]
    return replace(
        candidates[0],
        name=target,
        vector=torch.einsum("c,crd->rd", weights.float() / effect, stacked),
        strength=(-high, high),
        unit=f"one standard deviation of {target} over the generator's samples",
        method="ganspace, components combined by measured effect",
        scores={},
    )


def _keeps(bars: Bars, made: Direction, seen: Measurement) -> bool:
    target, high = made.name, made.strength[1]
    reached, monotone, leaked = seen.effects[target] * high, seen.monotonicity[target], seen.worst_leakage(target)
    good = reached >= bars.effect and monotone >= bars.monotonicity and leaked <= bars.leakage
    figures = f"{reached:.2f} sd at strength {high:g}, monotone on {monotone:.0%}, leakage {leaked:.2f}"
    log.info("%s: %s, %s", target, "kept" if good else "dropped", figures)
    return good


def _write(G: Generator, made: Sequence[Direction], root: Path) -> None:
    written = {save(G, one, folder=root) for one in made}
    for path in folder_of(G.spec.id, root).glob("*.safetensors"):
        if path not in written:
            path.unlink()

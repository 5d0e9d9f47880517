"""The rebuild step of a generator's bundled directions: from nothing to files named for what they do.

1. A sample bank (``directions.bank``) is labelled, and kept beside the directions: seeds and scores.
2. Candidates: the boundary of every score (``directions.boundary``) and, if asked for, principal components of W
   (``directions.ganspace``), each limited to an early, a middle and a late range of rows. Row 0 stays out: it drives
   the learned placement, which an edit of a photo should not move.
3. Each is measured against every scorer, and for each score the combination is taken that moves it alone
   (``directions.combining``), corrected by what is measured of it.
4. Each combination is judged on other seeds (``directions.judging``); those that pass the bars are written, a unit
   being one standard deviation of its score.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from directions.attributes import Scorer
from directions.bank import BUNDLED_SUFFIX, SampleBank, labelled
from directions.bars import Bars
from directions.calibration import MOST, times
from directions.catalog import bundled_directions, folder_of, save
from directions.combining import (
    Combination,
    assemble,
    boundary_candidates,
    component_candidates,
    gram_matrix,
    search,
)
from directions.ganspace import components
from directions.judging import SAMPLES, Judgement, judge, kept
from directions.methods import Progress
from directions.score import all_scorers, baseline_of, default_scorers, measure
from editkit.direction import Direction
from editkit.errors import DirectionError

if TYPE_CHECKING:
    from editkit.generator import Generator

log = logging.getLogger(__name__)

_SCREEN_STRENGTHS = (-2.0, 2.0)
_SCREEN_SEED, _CORRECTION_SEED = 200_000, 300_000


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Bundled:
    """A direction that was kept, and how it was judged."""

    direction: Direction
    judgement: Judgement


def build(
    G: Generator,
    *,
    scorers: Sequence[Scorer] | None = None,
    bars: Bars | None = None,
    count: int = 0,
    samples: int = 20_000,
    labels: int = 8000,
    screened: int = 16,
    confirmed: int = SAMPLES,
    root: Path | None = None,
    on_progress: Progress | None = None,
) -> tuple[Bundled, ...]:
    """Find, judge and write the directions of ``G`` and their sample bank; stale files go. Deterministic.

    Args:
        scorers: ``default_scorers()`` by default; the bank then knows ``all_scorers()``.
        bars: what to keep.
        count: components of W to combine as well; samples: for these components.
        labels: samples of the bank; those that are labelled already are not labelled again.
        screened: latents a candidate, and a correction, is measured on.
        confirmed: latents a direction is judged on.
        root: where the folder of the generator goes; the package's own bundle by default.
        on_progress: called with (done, total) pictures rendered so far, about.

    Raises:
        DirectionError: nothing keeps the bars, or a scorer fails.
        OutputError: nothing can be written.
    """
    faces = "face" in (G.spec.domain or "")
    known = tuple(scorers or all_scorers(faces=faces))
    scorers, bars, root = scorers or default_scorers(faces=faces), bars or Bars(), root or bundled_directions()
    place = root / f"{G.spec.id[:12]}{BUNDLED_SUFFIX}"
    report = on_progress or (lambda done, total: None)
    bank = labelled(G, known, samples=labels, on_progress=lambda done, _: report(done, 2 * labels))
    # As it will be read back, so that a rebuild on top of the bank that it wrote gives the same directions.
    bank = replace(bank, scores={name: values.half().float() for name, values in bank.scores.items()})
    against = baseline_of(G, {each.name: bank.scores[each.name] for each in scorers})
    candidates = boundary_candidates(G, bank, scorers)
    if count:
        found = components(G, samples=max(samples, 2 * G.spec.w_dim), count=min(count, G.spec.w_dim))
        candidates += component_candidates(G, found)
    gram = gram_matrix(G, candidates, _deviation(G, bank))
    steps = len(candidates) + len(against.deviation)

    def moved(one: Direction, strengths: Sequence[float], seed: int) -> list[float]:
        seen = measure(G, one, scorers, against=against, samples=screened, seed=seed, strengths=strengths)
        return [seen.effects[name] for name in against.deviation]

    rows = []
    for done, candidate in enumerate(candidates, start=1):
        rows.append(moved(candidate, _SCREEN_STRENGTHS, _SCREEN_SEED))
        report(labels + labels * done // steps, 2 * labels)
    effects = torch.tensor(rows, dtype=torch.float64).T  # [scores, candidates]
    passed: list[Bundled] = []
    for index, target in enumerate(against.deviation):

        def measured(combination: Combination, target: str = target) -> Tensor:
            made = assemble(candidates, combination, name=target, bars=bars, most=MOST)
            return torch.tensor(moved(made, made.strength, _CORRECTION_SEED), dtype=torch.float64)

        combined = search(effects, gram, index, measured, bars=bars)
        if combined is None:
            log.info("%s: out of reach", target)
        else:
            made = assemble(candidates, combined, name=target, bars=bars, most=MOST)
            judgement = judge(G, made, scorers=scorers, against=against, target=target, bars=bars, samples=confirmed)
            one = _judged(G, made, judgement, bars)
            passed += [] if one is None else [one]
        report(labels + labels * (len(candidates) + index + 1) // steps, 2 * labels)
    if not passed:
        raise DirectionError(
            f"no direction of {G.spec.name!r} moves a score by {bars.effect} standard deviations within the bars; "
            "train the generator longer, or allow more leakage"
        )
    _write(G, [bundled.direction for bundled in passed], root)
    bank.save(place, dtype=torch.float16)
    return tuple(passed)


def _judged(G: Generator, made: Direction, found: Judgement, bars: Bars) -> Bundled | None:
    """The direction with a unit of one standard deviation as judged, and its figures; None where it misses the bars.

    A longer vector over a shorter range makes the same pictures, so nothing needs to be measured again.
    """
    high = math.floor(100 * made.strength[1] * found.measurement.effects[found.target]) / 100
    if high < 1:
        log.info("%s: only %.2f standard deviations are in reach", made.name, high)
        return None
    scale = made.strength[1] / high
    scaled = found.scaled(scale, bars)
    log.info("%s: %s", made.name, "; ".join(scaled.failures) or "kept")
    if scaled.failures:
        return None
    done = replace(times(made, scale), strength=(-high, high))
    judgement = replace(scaled, kept=kept(G, done))
    return Bundled(direction=judgement.applied(done), judgement=judgement)


def _deviation(G: Generator, bank: SampleBank) -> float:
    """Root mean square distance of w from its mean."""
    return math.sqrt(float(bank.latents(G, count=min(len(bank), 2000)).tensor[:, 0].double().var(0).sum()))


def _write(G: Generator, made: Sequence[Direction], root: Path) -> None:
    written = {save(G, one, folder=root) for one in made}
    for path in folder_of(G.spec.id, root).glob("*.safetensors"):
        if path not in written:
            path.unlink()

"""From candidates to a direction that keeps the bars: the combination that moves one score, over a range that holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from directions.affine import in_rows
from directions.attributes import Scorer
from directions.bank import SampleBank
from directions.bars import Bars
from directions.calibration import MOST, times
from directions.combining import Combination, assemble, search
from directions.judging import SEED, Judgement, judge
from directions.likeness import Likeness
from directions.remembered import Remembered
from directions.score import Baseline, Measurement, baseline_of
from editkit.direction import Direction

if TYPE_CHECKING:
    from editkit.generator import Generator

_SCREEN_STRENGTHS = (-2.0, 2.0)
SCREEN_SEED, _CORRECTION_SEED = 200_000, 300_000
_BACK = 0.5  # units that a direction goes the other way at least; its own way it goes one
_SHARES = (1.0, 0.8, 0.65, 0.5)  # of the farther end within reach, tried one after the other


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Bundled:
    """A direction that was kept, and how it was judged."""

    direction: Direction
    judgement: Judgement

    @property
    def units(self) -> float:
        """How far its range goes, on the shorter side."""
        return min(-self.direction.strength[0], self.direction.strength[1])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Work:
    """What all steps of a rebuild share.

    Attributes:
        bank: scores of samples.
        scorers: by which directions are judged; further: the others that the bank knows.
        against: deviations of ``scorers``.
        bars: what to keep.
        screened, confirmed: latents a candidate is measured on, and a direction judged on.
        faces: whether the feature network, which is one of faces, may say where a range ends.
        memory: of what was measured.
        say: takes a line for each result.
    """

    G: Generator
    bank: SampleBank
    scorers: tuple[Scorer, ...]
    further: tuple[Scorer, ...]
    against: Baseline
    bars: Bars
    screened: int
    confirmed: int
    memory: Remembered
    say: Callable[[str], None]
    faces: bool = False
    _likeness: list[Likeness] = field(default_factory=list)

    def likeness(self) -> Likeness:
        """Of the generator's samples, made once."""
        if not self._likeness:
            self._likeness.append(Likeness.of(self.G))
        return self._likeness[0]

    def moved(self, one: Direction, strengths: Sequence[float], seed: int = SCREEN_SEED) -> Measurement:
        """What ``one`` does to every score of few samples."""
        options: Any = {"against": self.against, "samples": self.screened, "seed": seed, "strengths": strengths}
        return self.memory.measure(self.G, one, self.scorers, **options)

    def effects(self, seen: Measurement) -> list[float]:
        return [seen.effects[name] for name in self.against.deviation]

    def effect_matrix(self, candidates: Sequence[Direction]) -> Tensor:
        """E [scores, candidates]."""
        rows = [self.effects(self.moved(one, _SCREEN_STRENGTHS, SCREEN_SEED)) for one in candidates]
        return torch.tensor(rows, dtype=torch.float64).T

    def with_scores(self, *others: Scorer) -> Work:
        """The same with these scores beside the usual ones."""
        scorers = (*self.scorers, *others)
        return replace(
            self,
            scorers=scorers,
            against=baseline_of(self.G, {each.name: self.bank.scores[each.name] for each in scorers}),
        )

    def settled(self, made: Direction, target: str) -> Bundled | None:
        """``made`` over the longest range on which it passes the bars, in units as judged; None where there is none.

        Of faces no range goes further than where pictures leave what samples look like (``directions.likeness``).

        A longer vector over a shorter range makes the same pictures, so nothing is measured again for the unit. What
        was found in s is carried to w+ where that is exact (``affine.in_rows``): it goes with latents in w+ too.
        """
        space = made.space
        if made.space == "s" and (rows := in_rows(self.G, made)) is not None:
            made = replace(rows, method=f"{made.method}, in s")
        said, where = "", f"in {space}"
        ends = self.memory.ends(self.G, made, self.likeness) if self.faces else made.strength
        for share in _SHARES:
            bound = share * max(map(abs, ends))  # of two unlike ends the farther one comes in first
            low, high = max(ends[0], -bound), min(ends[1], bound)
            tried = replace(made, strength=(low, high))
            options: Any = {"against": self.against, "samples": self.confirmed, "seed": SEED}
            seen = self.memory.measure(self.G, tried, self.scorers, **options)
            top = math.floor(100 * high * seen.effects[target]) / 100
            bottom = -low * seen.effects[target]
            if top < 1 or bottom < _BACK:
                said = f"only -{bottom:.2f} to {top:+.2f} are in reach{f'; before, {said}' if said else ''}"
                break
            scale = high / top
            failures = self.bars.failures(seen.scaled(scale).as_scores(target), target)
            if not failures:
                done = replace(
                    times(tried, scale),
                    strength=(round(low / scale, 4), top),
                    unit=f"one standard deviation of {target} over the generator's samples",
                    target=target,
                )
                options = {"scorers": self.scorers, "against": self.against, "target": target, "bars": self.bars}
                found = judge(self.G, done, **options, measured=seen.scaled(scale))
                leakage = seen.worst_leakage(target)
                self.say(f"{made.name}: kept, leakage {leakage:.2f}, {low / scale:+.2f} to {top:+.2f} units, {where}")
                return Bundled(direction=found.applied(done), judgement=found)
            said = "; ".join(failures)
        self.say(f"{made.name}: not {where}: {said}")
        return None

    def combined(self, candidates: Sequence[Direction], effects: Tensor, gram: Tensor, target: str) -> Bundled | None:
        """The combination of ``candidates`` that moves ``target`` alone, where it keeps the bars.

        What leaks over a wide range and within looks may differ: where one fails over a range cut for looks, it is
        searched again by what is measured over the range that is left.
        ``effects``: E [scores, candidates], from ``effect_matrix``; ``gram``: Q.
        """
        ends: tuple[float, float] | None = None

        def made(found: Combination) -> Direction:
            return assemble(candidates, found, name=target, bars=self.bars, most=MOST)

        def measured(found: Combination) -> Tensor:
            one = made(found)
            seen = self.moved(one, ends or one.strength, _CORRECTION_SEED)
            return torch.tensor(self.effects(seen), dtype=torch.float64)

        column = list(self.against.deviation).index(target)
        found = search(effects, gram, column, measured, bars=self.bars)
        if found is None:
            self.say(f"{target}: out of reach in {candidates[0].space}")
            return None
        whole = made(found)
        done = self.settled(whole, target)
        if done is not None or not self.faces:
            return done
        ends = self.memory.ends(self.G, whole, self.likeness)
        if ends == whole.strength or (found := search(effects, gram, column, measured, bars=self.bars)) is None:
            return None
        return self.settled(made(found), target)

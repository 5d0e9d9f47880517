"""From candidates to a direction that keeps the bars: the combination that moves one score, over a range that holds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from directions.affine import in_rows
from directions.attributes import Scorer
from directions.bank import SampleBank
from directions.bars import Bars, decided
from directions.calibration import MOST, SURE, relied_on, times
from directions.combining import Combination, assemble, search
from directions.judging import ACCEPTANCE_SEED, REPORT_SEED, Judgement, judge
from directions.likeness import Likeness
from directions.measurement import Measurement
from directions.remembered import Remembered
from directions.score import Baseline, baseline_of
from editkit.direction import Direction

if TYPE_CHECKING:
    from editkit.generator import Generator

_SCREEN_STRENGTHS = (-2.0, 2.0)
SCREEN_SEED, _CORRECTION_SEED = 200_000, 300_000
_BACK = 0.5  # units that a direction goes the other way at least; its own way it goes one
_NEAR = 1.5  # units to either side between which a combination is looked for
_HARDLY = 1.0  # standard errors by which the bars are doubted where they hold nowhere by ``SURE``
_HOPELESS = 0.45  # leakage on few samples, in the best range, beyond which no more samples are measured
_VAGUE = 0.1  # standard error of a reported slope from which on it is measured on twice as many samples
_SHARES = (0.4, 0.6, 0.8, 1.0)  # of each end within reach, one of which it is
_BESIDE = 0.5  # what a leak onto a score that does not count weighs in a search
_SAME = 0.5  # correlation over samples from which on such a score may go with the target: nearly the same thing


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Bundled:
    """A direction that was kept, and how it was judged."""

    direction: Direction
    judgement: Judgement

    @property
    def units(self) -> float:
        """How far its range goes, on the shorter side."""
        return min(-self.direction.strength[0], self.direction.strength[1])

    @property
    def passes(self) -> bool:
        """Whether the bars hold in the report too: on samples that it was not accepted on."""
        return not self.judgement.failures

    @property
    def rank(self) -> tuple[int, float]:
        """The larger, the rather kept: what misses fewer bars, then what goes further."""
        return -len(self.judgement.failures), self.units


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tried:
    """A range that was tried: ``bottom`` to ``top`` units of ``scale``; ``missed``: bars that its ``doubted`` figures
    miss."""

    missed: tuple[str, ...]
    leakage: float
    doubted: Mapping[str, float] = field(default_factory=dict)
    scale: float = 1.0
    bottom: float = 0.0
    top: float = 0.0

    @property
    def said(self) -> str:
        """The bars that it misses, in words; "" for none."""
        return "; ".join(self.missed)

    @property
    def units(self) -> float:
        """How far it goes, on the shorter side."""
        return min(self.bottom, self.top)


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
        """Mean slopes of both halves, in the order of ``against``: what a linear search goes by."""
        return [seen.means[name] for name in self.against.deviation]

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

    def settled(self, made: Direction, target: str, *, misses: bool = False) -> Bundled | None:
        """``made`` over the longest range on which it passes the bars, in units as judged; None where there is none.

        Accepted is what keeps them with doubts (``Measurement.doubted``) on some seeds; its figures are then measured
        on others, and where those miss the bars it is not offered. With ``misses`` the range that leaks least is kept
        where none passes, if it is in reach: not offered, for those who ask for it by name.
        Of faces no range goes further than where pictures leave what samples look like (``directions.likeness``).

        A longer vector over a shorter range makes the same pictures, so nothing is measured again for the unit. What
        was found in s is carried to w+ where that is exact (``affine.in_rows``): it goes with latents in w+ too.
        """
        space = made.space
        if made.space == "s" and (rows := in_rows(self.G, made)) is not None:
            made = replace(rows, method=f"{made.method}, in s")
        ends = self.memory.ends(self.G, made, self.likeness) if self.faces else made.strength
        steps = [share * end for share in _SHARES for end in ends]
        few = self._best(self.moved(made, steps), target, steps, errors=0.0)
        if few.said and few.leakage > _HOPELESS and not (misses and math.isfinite(few.leakage)):
            self.say(f"{made.name}: not in {space}: {few.said}")
            return None
        options: Any = {"against": self.against, "samples": self.confirmed, "seed": ACCEPTANCE_SEED}
        seen = self.memory.measure(self.G, made, self.scorers, **options, strengths=steps)
        best = self._best(seen, target, steps, errors=SURE)
        if best.said:  # the report decides, too
            best = self._best(seen, target, steps, errors=_HARDLY)
        if best.said and not (misses and math.isfinite(best.leakage)):
            self.say(f"{made.name}: not in {space}: {best.said}")
            return None
        done = replace(
            times(made, best.scale),
            strength=(-best.bottom, best.top),
            unit=f"one standard deviation of {target} over the generator's samples, at least",
            target=target,
        )
        options = {"scorers": self.scorers, "against": self.against, "target": target, "bars": self.bars}
        of: Any = {"against": self.against, "samples": self.confirmed, "seed": REPORT_SEED}
        reported = self.memory.measure(self.G, done, self.scorers, **of)
        if max(reported.errors.values()) >= _VAGUE:
            reported = self.memory.measure(self.G, done, self.scorers, **of | {"samples": 2 * self.confirmed})
        report = judge(self.G, done, **options, samples=self.confirmed, measured=reported)
        kept = report.applied(done)
        if best.said:
            decisive = (f"not accepted: {one}" for one in best.missed)
            report = replace(report, failures=(*decisive, *report.failures))
            kept = replace(kept, scores={**kept.scores, **decided(best.doubted, target)})
        held = "kept" if not report.failures else f"hidden, {'; '.join(report.failures)}"
        self.say(
            f"{made.name}: {held}; {-best.bottom:+.2f} to {best.top:+.2f} units, in {space}; leakage "
            f"{best.leakage:.2f} with doubts, {report.measurement.worst_leakage(target):.2f} reported"
        )
        return Bundled(direction=kept, judgement=report)

    def _best(self, seen: Measurement, target: str, steps: Sequence[float], *, errors: float) -> _Tried:
        """The longest range between two of ``steps`` on which the bars hold; else the one that leaks least."""
        ranges = itertools.product([s for s in steps if s < 0], [s for s in steps if s > 0])
        tried = [self._tried(seen.within(low, high), target, errors) for low, high in ranges]
        good = [one for one in tried if not one.said]
        if good:
            return max(good, key=lambda one: (one.units, one.top))
        return min(
            tried, key=lambda one: one.leakage, default=_Tried(missed=("it goes one way only",), leakage=math.inf)
        )

    def _tried(self, seen: Measurement, target: str, errors: float) -> _Tried:
        """A range in units of ``target`` that hold, doubted by so many standard ``errors``; what speaks against it."""
        low, high = seen.strengths[0], seen.strengths[-1]
        unit = relied_on(seen, target, SURE if errors else 0.0)
        effect = max(0.0, math.copysign(1, seen.means[target]) * unit)
        top, bottom = math.floor(100 * high * effect) / 100, -low * effect
        if top < 1 or bottom < _BACK:
            return _Tried(missed=(f"only -{bottom:.2f} to {top:+.2f} are in reach",), leakage=math.inf)
        scale = high / top
        doubted = seen.scaled(scale).doubted(target, errors)
        missed = self.bars.failures(doubted, target)
        leakage = doubted.get("leakage", math.inf)
        return _Tried(
            missed=missed, leakage=leakage, doubted=doubted, scale=scale, bottom=round(-low / scale, 4), top=top
        )

    @property
    def wide(self) -> Work:
        """The same with every score that the bank knows beside the usual ones."""
        there = {one.name for one in self.scorers}
        return self.with_scores(*(one for one in self.further if one.name not in there))

    def weighing(self, target: str) -> dict[str, float]:
        """What a leak onto each score weighs in a search for ``target``: 1 where it counts as leakage, in the others
        ``_BESIDE``, or nothing where they are nearly the same thing."""
        own = self.bank.scores[target].double()
        weights = dict.fromkeys(self.against.deviation, 1.0)
        for name in self.wide.against.deviation.keys() - weights.keys():
            other = self.bank.scores[name].double()
            count = min(len(own), len(other))
            same = float(torch.corrcoef(torch.stack([own[:count], other[:count]]))[0, 1].abs()) >= _SAME
            weights[name] = 0.0 if same else _BESIDE
        return weights

    def combined(
        self, candidates: Sequence[Direction], effects: Tensor, gram: Tensor, target: str, *, misses: bool = False
    ) -> Bundled | None:
        """The combination of ``candidates`` that moves ``target`` alone, where it keeps the bars.

        It is searched for by what is measured near the middle, ``_NEAR`` units to either side: what leaks further out
        shortens the range.
        ``effects``: E [scores, candidates], from the ``effect_matrix`` of ``wide``; ``gram``: Q; ``misses`` as for
        ``settled``.
        """
        wide, weighing = self.wide, self.weighing(target)
        names = list(wide.against.deviation)
        weights = torch.tensor([weighing[name] for name in names], dtype=torch.float64)

        def measured(found: Combination) -> Tensor:
            one = assemble(candidates, found, name=target, bars=self.bars, most=_NEAR)
            halves = wide.moved(one, one.strength, _CORRECTION_SEED).halves
            seen = torch.tensor([[half.slopes[name] for name in names] for half in halves], dtype=torch.float64)
            return weights * seen

        found = search(weights[:, None] * effects, gram, names.index(target), measured, bars=self.bars)
        if found is None:
            self.say(f"{target}: out of reach in {candidates[0].space}")
            return None
        return self.settled(assemble(candidates, found, name=target, bars=self.bars, most=MOST), target, misses=misses)

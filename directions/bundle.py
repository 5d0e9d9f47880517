"""The rebuild step of a generator's bundled directions: from nothing to files named for what they do.

1. A sample bank (``directions.bank``) is labelled, and kept beside the directions: seeds and scores.
2. Candidates in w+: the boundary of every score (``directions.boundary``) and, if asked for, principal components of W
   (``directions.ganspace``), each limited to an early, a middle and a late range of rows. Row 0 stays out: it drives
   the learned placement, which an edit of a photo should not move. Where a score needs them, candidates in s: the
   gradients of all scores.
3. Each is measured against every scorer, and for each score the combination is taken that moves it alone
   (``directions.combining``), corrected by what is measured of it: in w+, and where that misses the bars or keeps them
   over a short range only, in s. Scores that do not count as leakage weigh half there, unless they are nearly the same.
   What is found in s is carried to w+ where that is exact, as in StyleGAN3: then it goes with latents of either.
4. Of faces, each range ends where pictures leave what samples look like (``directions.likeness``). Each is judged on
   other seeds (``directions.judging``), over a shorter range where the ends of the whole one miss the bars; those that
   pass are kept, a unit being one standard deviation of their score.
5. Where fewer than wanted pass, the scores that are not judged by as a rule follow, such as ``face_length``; then
   components of a layer, factors and channels fill up (``directions.filling``).

Whatever stops it, the next call goes on: labels and measurements are kept (``directions.remembered``).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from directions.attributes import Scorer
from directions.bank import BUNDLED_SUFFIX, SampleBank, labelled
from directions.bars import Bars
from directions.candidates import boundary_candidates, component_candidates, gradient_candidates, gram_matrix
from directions.catalog import bundled_directions, folder_of, save
from directions.filling import alike, change, fillings, free_name
from directions.ganspace import components
from directions.judging import SAMPLES
from directions.methods import Progress
from directions.remembered import Remembered, scratch
from directions.score import all_scorers, baseline_of, default_scorers
from directions.settling import Bundled, Work
from editkit.direction import Direction
from editkit.errors import DirectionError

if TYPE_CHECKING:
    from editkit.generator import Generator

log = logging.getLogger(__name__)

WANTED = 12
"""How many directions that pass are enough: what fills up is weaker, or a second one for its score."""
LEFT_OUT: Mapping[str, tuple[str, ...]] = {"c4a08af66549": ("warmth", "saturation")}
"""By the first 12 of a generator's id, scores that nothing is made for: tried and of no use, or looked at and not what
they are called. Of ``faces64``: warmth and saturation are one thing over its samples.
"""
_WIDE = 1.0  # units either way from which on a range is not looked for in another space
_HOPELESS = 0.8  # leakage as screened over the whole range beyond which a candidate is not judged


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
    wanted: int = WANTED,
    leave_out: Sequence[str] | None = None,
    root: Path | None = None,
    say: Callable[[str], None] | None = None,
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
        leave_out: names of directions that are not made; by default those of ``LEFT_OUT``.
        wanted: directions that pass from which on none is filled up with; every score's own is kept whatever their
            number.
        root: where the folder of the generator goes; the package's own bundle by default.
        say: called with a line for each direction that was tried.
        on_progress: called with (done, total) samples labelled.

    Raises:
        DirectionError: nothing keeps the bars, or a scorer fails.
        OutputError: nothing can be written.
    """
    faces = "face" in (G.spec.domain or "")
    leave_out = LEFT_OUT.get(G.spec.id[:12], ()) if leave_out is None else leave_out
    known = tuple(scorers or all_scorers(faces=faces))
    scorers, bars, root = scorers or default_scorers(faces=faces), bars or Bars(), root or bundled_directions()
    bank = labelled(G, known, samples=labels, on_progress=on_progress)
    # As it will be read back, so that a rebuild on top of the bank that it wrote gives the same directions.
    bank = replace(bank, scores={name: values.half().float() for name, values in bank.scores.items()})
    work = Work(
        G=G,
        bank=bank,
        scorers=tuple(scorers),
        further=tuple(each for each in known if each.name not in {one.name for one in scorers}),
        against=baseline_of(G, {each.name: bank.scores[each.name] for each in scorers}),
        bars=bars,
        screened=screened,
        confirmed=confirmed,
        memory=Remembered(scratch(G.spec.id)),
        say=say or log.info,
        faces=faces,
    )
    places = _Places(work.wide, count, samples)
    passed: list[Bundled] = []
    try:
        for more in (_supervised, _further, _filled):
            short = wanted - sum(one.passes for one in passed)
            passed += more(work, places, passed, short, leave_out)
    finally:
        work.memory.keep()
    if not any(one.passes for one in passed):
        raise DirectionError(
            f"no direction of {G.spec.name!r} moves a score by {bars.effect} standard deviations within the bars; "
            "train the generator longer, or allow more leakage"
        )
    _write(G, [bundled.direction for bundled in passed], root)
    bank.save(root / f"{G.spec.id[:12]}{BUNDLED_SUFFIX}", dtype=torch.float16)
    work.memory.forget()
    return tuple(passed)


class _Places:
    """Candidates in w+ and in s with their effects on every score of ``wide`` and their lengths, each made once."""

    def __init__(self, wide: Work, components: int, samples: int) -> None:
        """``components`` of W to combine as well, from so many ``samples``."""
        self.wide, self._components, self._samples = wide, components, samples
        self._made: dict[str, tuple[list[Direction], Tensor, Tensor] | None] = {}

    def combined(self, work: Work, target: str, *, misses: bool = False) -> Bundled | None:
        """The best for ``target`` by the scores of ``work``: in w+, or in s where it goes further, or misses less.

        ``misses`` as for ``Work.settled``.
        """
        best: Bundled | None = None
        for space in ("w+", "s"):
            if best is not None and best.passes and best.units >= _WIDE:
                break
            if space not in self._made:
                self._made[space] = self._make(space)
            made = self._made[space]
            if made is None:
                continue
            candidates, effects, gram = made
            names = list(self.wide.against.deviation)
            rows = [names.index(name) for name in work.wide.against.deviation]
            one = work.combined(candidates, effects[rows], gram, target, misses=misses)
            if one is not None and (best is None or one.rank > best.rank):
                best = one
        return best

    def _make(self, space: str) -> tuple[list[Direction], Tensor, Tensor] | None:
        G, wide, deviation = self.wide.G, self.wide, 1.0
        scorers = [one for one in wide.scorers if one.name in wide.against.deviation]
        if space == "s":
            try:
                candidates = gradient_candidates(G, scorers)
            except DirectionError as problem:
                wide.say(f"nothing in s: {problem}")
                return None
        else:
            deviation = _deviation(G, wide.bank)
            candidates = boundary_candidates(G, wide.bank, scorers)
            if self._components:
                samples = max(self._samples, 2 * G.spec.w_dim)
                found = components(G, samples=samples, count=min(self._components, G.spec.w_dim))
                candidates += component_candidates(G, found)
        if not candidates:
            return None
        return candidates, wide.effect_matrix(candidates), gram_matrix(G, candidates, deviation)


def _supervised(
    work: Work, places: _Places, passed: Sequence[Bundled], count: int, leave_out: Sequence[str]
) -> list[Bundled]:
    """A direction for every score that directions are judged by and that allows one, whatever ``count`` is.

    A near miss is kept too, hidden: people ask for these by name.
    """
    targets = [name for name in work.against.deviation if name not in leave_out]
    return [one for target in targets if (one := places.combined(work, target, misses=True)) is not None]


def _further(
    work: Work, places: _Places, passed: Sequence[Bundled], count: int, leave_out: Sequence[str]
) -> list[Bundled]:
    """At most ``count`` that pass of the scores that are not judged by as a rule, each of which leaks onto none."""
    looks = _Looks(work, passed)
    made: list[Bundled] = []
    for scorer in work.further:
        if sum(one.passes for one in made) >= count:
            break
        if scorer.name not in places.wide.against.deviation or scorer.name in leave_out:
            continue
        one = places.combined(work.with_scores(scorer), scorer.name)
        if one is not None and looks.new(one.direction):
            made.append(one)
    return made


def _filled(
    work: Work, places: _Places, passed: Sequence[Bundled], count: int, leave_out: Sequence[str]
) -> list[Bundled]:
    """At most ``count`` directions that were found without a score, pass the bars and look like none of ``passed``."""
    if count <= 0:
        return []
    held = {one.judgement.target for one in passed}
    missing = [one for one in work.scorers if one.name in work.against.deviation and one.name not in held]
    looks = _Looks(work, passed)
    taken = [one.direction.name for one in passed]
    made: list[Bundled] = []
    found = fillings(work.G, missing, lambda one: work.moved(one, one.strength), say=work.say)
    for one in found:
        if len(made) >= count or one.leakage > _HOPELESS:
            break
        name = free_name(one.direction.name, taken)
        settled = None if name in leave_out else work.settled(replace(one.direction, name=name), one.target)
        if settled is None or not settled.passes or not looks.new(settled.direction):
            continue
        taken.append(name)
        made.append(settled)
    return made


class _Looks:
    """What directions do to a few pictures, so that none is taken twice."""

    def __init__(self, work: Work, there: Sequence[Bundled]) -> None:
        self._work, self._changes = work, [change(work.G, one.direction) for one in there]

    def new(self, one: Direction) -> bool:
        """Whether ``one`` makes other pictures than those before it, among which it is from now on."""
        step = change(self._work.G, one)
        if alike(step, self._changes):
            self._work.say(f"{one.name}: left out, makes the pictures of another")
            return False
        self._changes.append(step)
        return True


def _deviation(G: Generator, bank: SampleBank) -> float:
    """Root mean square distance of w from its mean."""
    return math.sqrt(float(bank.latents(G, count=min(len(bank), 2000)).tensor[:, 0].double().var(0).sum()))


def _write(G: Generator, made: Sequence[Direction], root: Path) -> None:
    written = {save(G, one, folder=root) for one in made}
    for path in folder_of(G.spec.id, root).glob("*.safetensors"):
        if path not in written:
            path.unlink()

"""The rebuild step of a generator's bundled directions: from nothing to files named for what they do.

1. A sample bank (``directions.bank``) is labelled, and kept beside the directions: seeds and scores.
2. Candidates in w+: the boundary of every score (``directions.boundary``) and, if asked for, principal components of W
   (``directions.ganspace``), each limited to an early, a middle and a late range of rows. Row 0 stays out: it drives
   the learned placement, which an edit of a photo should not move. Where a score needs them, candidates in s: the
   gradients of all scores.
3. Each is measured against every scorer, and for each score the combination is taken that moves it alone
   (``directions.combining``), corrected by what is measured of it: in w+, and where that misses the bars or keeps them
   over a short range only, in s.
   What is found in s is carried to w+ where that is exact, as in StyleGAN3: then it goes with latents of either.
4. Of faces, each range ends where pictures leave what samples look like (``directions.likeness``). Each is judged on
   other seeds (``directions.judging``), over a shorter range where the ends of the whole one miss the bars; those that
   pass are kept, a unit being one standard deviation of their score.
5. Where fewer than wanted pass, components of a layer, factors and channels fill up (``directions.filling``), and then
   combinations in s for the scores that are not judged by as a rule, such as ``face_length``.

Whatever stops it, the next call goes on: labels and measurements are kept (``directions.remembered``).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

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

WANTED = 10
"""How many directions are enough: what fills up is weaker, or a second one for its score."""
_WIDE = 2.0  # units from which on a range is not looked for in another space
_HOPELESS = 0.6  # leakage as screened beyond which a candidate is not judged


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
        wanted: directions from which on none is filled up with; every score's own is kept whatever their number.
        root: where the folder of the generator goes; the package's own bundle by default.
        say: called with a line for each direction that was tried.
        on_progress: called with (done, total) samples labelled.

    Raises:
        DirectionError: nothing keeps the bars, or a scorer fails.
        OutputError: nothing can be written.
    """
    faces = "face" in (G.spec.domain or "")
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
    candidates = boundary_candidates(G, bank, scorers)
    if count:
        found = components(G, samples=max(samples, 2 * G.spec.w_dim), count=min(count, G.spec.w_dim))
        candidates += component_candidates(G, found)
    try:
        passed = _supervised(work, candidates, _deviation(G, bank))
        for more in (_filled, _further):
            if len(passed) < wanted:
                passed += more(work, passed, wanted - len(passed))
    finally:
        work.memory.keep()
    if not passed:
        raise DirectionError(
            f"no direction of {G.spec.name!r} moves a score by {bars.effect} standard deviations within the bars; "
            "train the generator longer, or allow more leakage"
        )
    _write(G, [bundled.direction for bundled in passed], root)
    bank.save(root / f"{G.spec.id[:12]}{BUNDLED_SUFFIX}", dtype=torch.float16)
    work.memory.forget()
    return tuple(passed)


def _supervised(work: Work, candidates: list[Direction], deviation: float) -> list[Bundled]:
    """A direction for every score that allows one: of ``candidates`` in w+, or of gradients in s if it goes further."""
    targets = list(work.against.deviation)
    passed: dict[str, Bundled] = {}
    for space in ("w+", "s"):
        left = [target for target in targets if target not in passed or passed[target].units < _WIDE]
        if space == "s" and left:
            try:
                candidates = gradient_candidates(work.G, [one for one in work.scorers if one.name in targets])
            except DirectionError as problem:
                work.say(f"nothing in s: {problem}")
                break
        if not left or not candidates:
            continue
        gram = gram_matrix(work.G, candidates, deviation)
        effects = work.effect_matrix(candidates)
        for target in left:
            one = work.combined(candidates, effects, gram, target)
            if one is not None and (target not in passed or one.units > passed[target].units):
                passed[target] = one
    return [passed[target] for target in targets if target in passed]


def _filled(work: Work, passed: Sequence[Bundled], count: int) -> list[Bundled]:
    """At most ``count`` directions that were found without a score, pass the bars and look like none of ``passed``."""
    held = {one.judgement.target for one in passed}
    missing = [one for one in work.scorers if one.name in work.against.deviation and one.name not in held]
    changes = [change(work.G, one.direction) for one in passed]
    taken = [one.direction.name for one in passed]
    made: list[Bundled] = []
    found = fillings(work.G, missing, lambda one: work.moved(one, one.strength), say=work.say)
    for one in found:
        if len(made) == count or one.leakage > _HOPELESS:
            break
        named = replace(one.direction, name=free_name(one.direction.name, taken))
        settled = work.settled(named, one.target)
        if settled is None:
            continue
        step = change(work.G, settled.direction)
        if alike(step, changes):
            work.say(f"{named.name}: left out, makes the pictures of another")
            continue
        changes.append(step)
        taken.append(named.name)
        made.append(settled)
    return made


def _further(work: Work, passed: Sequence[Bundled], count: int) -> list[Bundled]:
    """At most ``count`` directions of the scores that are not judged by as a rule, each of which leaks onto none."""
    if not work.further:
        return []
    wide = work.with_scores(*work.further)
    try:
        candidates = gradient_candidates(work.G, wide.scorers)
    except DirectionError as problem:
        work.say(f"nothing in s: {problem}")
        return []
    gram, effects = gram_matrix(work.G, candidates, 1.0), wide.effect_matrix(candidates)
    changes = [change(work.G, one.direction) for one in passed]
    made: list[Bundled] = []
    for scorer in work.further:
        if len(made) == count or scorer.name not in wide.against.deviation:
            continue
        own = work.with_scores(scorer)
        rows = [list(wide.against.deviation).index(name) for name in own.against.deviation]
        one = own.combined(candidates, effects[rows], gram, scorer.name)
        step = None if one is None else change(work.G, one.direction)
        if one is None or step is None:
            continue
        if alike(step, changes):
            work.say(f"{scorer.name}: left out, makes the pictures of another")
            continue
        changes.append(step)
        made.append(one)
    return made


def _deviation(G: Generator, bank: SampleBank) -> float:
    """Root mean square distance of w from its mean."""
    return math.sqrt(float(bank.latents(G, count=min(len(bank), 2000)).tensor[:, 0].double().var(0).sum()))


def _write(G: Generator, made: Sequence[Direction], root: Path) -> None:
    written = {save(G, one, folder=root) for one in made}
    for path in folder_of(G.spec.id, root).glob("*.safetensors"):
        if path not in written:
            path.unlink()

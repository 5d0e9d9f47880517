"""Judging a direction: how much a unit does, to what else, how surely, and how much of the picture is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from directions import score
from directions.attributes import Scorer
from directions.bank import known
from directions.bars import Bars, intended, is_judged
from directions.boundary import LinearSVM, fit
from directions.calibration import known_baseline
from directions.labels import Labelled
from directions.methods import Progress
from directions.score import Baseline, Measurement, measure, sample_latents
from directions.spaces import Space, Where, features, in_space
from editkit.direction import Direction
from editkit.edits import Edit, apply_edits
from editkit.errors import DirectionError
from editkit.labels import Classes
from editkit.latent import Latent
from editkit.perceptual import Bundled, bundled_weights
from editkit.rendering import render

if TYPE_CHECKING:
    from editkit.generator import Generator

ACCEPTANCE_SEED, REPORT_SEED, SAMPLES = 100_000, 900_000, 96
"""Directions are accepted on SAMPLES seeds from the first on and reported on as many from the second on, so that
figures are of samples that nothing was chosen by; both are apart from those that directions are found on.
"""
KEPT_SAMPLES = 16
_LEAST_KNOWN = 1000  # samples in the bank from which separability is told


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Judgement:
    """What was measured of a direction.

    Attributes:
        target: the score that it is meant to move: the direction's own, that of its name, or the one it moves most.
        measurement: effects and monotonicity on every score, in both halves of the range.
        kept: how much of the rest is kept at one unit: 1 less the perceptual distance between a sample and its edit, in
            distances between two samples. 1 is untouched, 0 as different as another sample. None without the network.
        separability: of the target in the direction's space, see ``accuracy.separability``: 1 is perfectly linear, 2
            not at all. None where the sample bank knows too few samples.
        failures: bars that it misses, in words.
        beside: by score that is not counted, the stronger half's slope as a share of the target's; empty where none was
            asked for.
    """

    target: str
    measurement: Measurement
    kept: float | None
    separability: float | None
    failures: tuple[str, ...]
    beside: Mapping[str, float] = field(default_factory=dict)

    def figures(self) -> dict[str, float]:
        """Flat figures for ``Direction.scores``."""
        found = self.measurement.as_scores(self.target)
        if self.kept is not None:
            found["kept"] = round(self.kept, 4)
        if self.separability is not None:
            found["separability"] = round(self.separability, 4)
        return found

    def applied(self, direction: Direction) -> Direction:
        """``direction`` with these figures among its scores, and what it was judged by."""
        old = {name: value for name, value in direction.scores.items() if not is_judged(name)}
        return replace(direction, scores={**old, **self.figures()}, target=self.target)


def judge(
    G: Generator,
    direction: Direction,
    *,
    scorers: Sequence[Scorer] | None = None,
    against: Baseline | None = None,
    target: str | None = None,
    bars: Bars | None = None,
    samples: int = SAMPLES,
    seed: int = REPORT_SEED,
    classes: Classes | None = None,
    latents: Latent | None = None,
    measured: Measurement | None = None,
    beside: Sequence[Scorer] = (),
    on_progress: Progress | None = None,
) -> Judgement:
    """Edit samples, over both halves of the direction's range, and score them.

    Args:
        scorers: ``default_scorers()`` by default, for a generator of faces those of faces too, and the built-in one
            that is the target.
        against: deviations of these scores; from the sample bank by default, which is labelled where it lacks them.
        target: the score that it should move; by default ``direction.target``, that of its name, or the one that it
            moves most.
        bars: what to hold it against.
        samples, seed: of the seeds ``seed`` and up.
        classes: of a conditional generator, see ``editkit.labels``.
        latents: codes to edit in place of samples, such as those of photos; deviations are those of samples all the
            same.
        measured: by these scorers on these samples already.
        beside: scorers whose scores are told and do not count: no leakage. Those that ``against`` lacks are left out.
        on_progress: called with (done, total) strengths.

    Raises:
        GeneratorMismatchError: the direction belongs to another generator.
        DirectionError: no such score, or one that gives NaN.
    """
    direction.check(G.spec)
    others: dict[str, Scorer] = {}
    if scorers is None:
        faces = "face" in (G.spec.domain or "")
        scorers = score.default_scorers(faces=faces)
        others = {one.name: one for one in score.all_scorers(faces=faces)}
        named = target or intended(direction, others)
        if named in others and named not in {one.name for one in scorers}:
            scorers = (*scorers, others[named])
    if target is not None and target not in {each.name for each in scorers}:
        there = ", ".join({each.name: each for each in scorers} | others)
        raise DirectionError(f"no score {target!r} is measured; there are {there}")
    more = tuple(one for one in beside if one.name not in {each.name for each in scorers})
    against = against or known_baseline(G, (*scorers, *more), classes=classes)
    everything = measured or measure(
        G,
        direction,
        (*scorers, *more),
        against=against,
        samples=samples,
        seed=seed,
        classes=classes,
        latents=latents,
        on_progress=on_progress,
    )
    seen = everything.without({one.name for one in more}) if more else everything
    target = target or intended(direction, seen.effects) or seen.target
    if target not in seen.effects:
        raise DirectionError(f"{target} does not vary over the samples of {G.spec.name!r}; judge by another score")
    return Judgement(
        target=target,
        measurement=seen,
        kept=kept(G, direction, samples=min(samples, KEPT_SAMPLES), seed=seed, classes=classes, latents=latents),
        separability=_separability(G, direction, [s for s in scorers if s.name == target], classes=classes),
        failures=(bars or Bars()).failures(seen.as_scores(target), target),
        beside={n: share for n, share in everything.leakage(target).items() if n not in seen.effects},
    )


def kept(
    G: Generator,
    direction: Direction,
    *,
    samples: int = KEPT_SAMPLES,
    seed: int = REPORT_SEED,
    classes: Classes | None = None,
    latents: Latent | None = None,
) -> float | None:
    """How much of a picture is kept at one unit, see ``Judgement.kept``; ``latents``: as for ``judge``."""
    given = sample_latents(G, samples=samples, seed=seed, classes=classes) if latents is None else latents
    if not bundled_weights().is_file() or len(given) < 2 or G.spec.channels != 3:
        return None
    latents = in_space(G, given, direction)
    before, after = render(G, latents), render(G, apply_edits(latents, Edit(direction, 1.0)))
    distance = Bundled().distance
    apart = float(distance(before, before.roll(1, 0)).mean())
    return 1 - float(distance(before, after).mean()) / apart if apart > 0 else None


def _separability(
    G: Generator, direction: Direction, scorers: Sequence[Scorer], *, classes: Classes | None
) -> float | None:
    bank = known(G, scorers)
    if classes is not None or len(bank) < _LEAST_KNOWN:
        return None
    space: Space = "s" if direction.space == "s" else "w"
    labels = Labelled.from_bank(G, bank, scorers[0].name)
    fitted = fit(features(G, labels.latents, Where(space=space)), labels, LinearSVM(labels=labels, space=space))
    return fitted.scores["separability"]

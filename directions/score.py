"""How much a direction does, to what, and what else it does.

Every effect is in standard deviations of the score over the generator's own samples, per unit of strength, so that
effects on different scores compare.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from directions import attributes, image_statistics
from directions.attributes import Scorer
from directions.methods import Progress
from directions.spaces import in_space
from editkit.direction import Direction
from editkit.edits import Edit, apply_edits
from editkit.errors import DirectionError
from editkit.labels import Classes
from editkit.latent import Latent
from editkit.perceptual import bundled_weights
from editkit.rendering import render
from editkit.sampling import sample_w

if TYPE_CHECKING:
    from editkit.generator import Generator


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Baseline:
    """Scores of a generator's unedited samples: what effects are measured against.

    Attributes:
        generator: its id.
        mean: by score.
        deviation: standard deviation by score; a score that hardly varies is left out.
        samples: how many there were.
    """

    generator: str
    mean: Mapping[str, float]
    deviation: Mapping[str, float]
    samples: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Measurement:
    """What a direction does to each score.

    Attributes:
        effects: mean slope of the score over strength, in standard deviations of the score per unit, by score.
        monotonicity: share of samples whose score goes the effect's way at every step, by score.
        strengths: at which pictures were scored, ascending.
        samples: how many latents were edited.
    """

    effects: Mapping[str, float]
    monotonicity: Mapping[str, float]
    strengths: tuple[float, ...]
    samples: int

    @property
    def target(self) -> str:
        """The score that it moves most: what to name it for."""
        return max(self.effects, key=lambda name: abs(self.effects[name]))

    def scaled(self, factor: float) -> Measurement:
        """What ``factor`` times the vector does over the range divided by ``factor``: the same pictures."""
        effects = {name: factor * effect for name, effect in self.effects.items()}
        return replace(self, effects=effects, strengths=tuple(strength / factor for strength in self.strengths))

    def leakage(self, target: str | None = None) -> dict[str, float]:
        """Effect on every other score, as a share of the effect on ``target`` (by default, the strongest)."""
        target = self.target if target is None else target
        if target not in self.effects:
            raise DirectionError(f"no score {target!r} was measured; there are {', '.join(sorted(self.effects))}")
        main = abs(self.effects[target])
        return {
            name: abs(effect) / main if main else math.inf for name, effect in self.effects.items() if name != target
        }

    def worst_leakage(self, target: str | None = None) -> float:
        """The largest of ``leakage``; 0 where nothing else was measured."""
        return max(self.leakage(target).values(), default=0.0)

    def as_scores(self, target: str | None = None) -> dict[str, float]:
        """Flat figures for ``Direction.scores``: effect:<score> for all, monotonicity and leakage of ``target``."""
        target = self.target if target is None else target
        figures = {f"effect:{name}": round(effect, 4) for name, effect in self.effects.items()}
        figures["monotonicity"] = round(self.monotonicity[target], 4)
        leaked = self.worst_leakage(target)
        if math.isfinite(leaked):
            figures["leakage"] = round(leaked, 4)
        return figures


def default_scorers(*, faces: bool = True) -> tuple[Scorer, ...]:
    """The scores that directions are judged by: image statistics and, for faces, what the network reads.

    Where the feature network's weights are not at hand, the statistics alone.
    """
    statistics = (image_statistics.brightness, image_statistics.contrast, image_statistics.sharpness)
    colours = (image_statistics.warmth, image_statistics.tint, image_statistics.saturation, image_statistics.background)
    face = (attributes.age, attributes.gender_presentation, attributes.yaw, attributes.smile_width)
    return tuple(make() for make in (*statistics, *colours, *(face if _read_faces(faces) else ())))


def all_scorers(*, faces: bool = True) -> tuple[Scorer, ...]:
    """Those of ``default_scorers`` and every other built-in one: what a shipped sample bank knows."""
    first = default_scorers(faces=faces)
    made = {**image_statistics.BUILT_IN, **(attributes.BUILT_IN if _read_faces(faces) else {})}
    return first + tuple(make() for name, make in made.items() if name not in {each.name for each in first})


def sample_latents(G: Generator, *, samples: int, seed: int = 0, classes: Classes | None = None) -> Latent:
    """W codes of the seeds ``seed`` to ``seed + samples - 1``, untruncated.

    ``classes``: of a conditional generator, see ``editkit.labels``; each seed draws its own by default.
    """
    return sample_w(G, range(seed, seed + samples), classes=classes)


def baseline(
    G: Generator,
    scorers: Sequence[Scorer],
    *,
    samples: int = 256,
    seed: int = 0,
    classes: Classes | None = None,
    batch: int = 16,
) -> Baseline:
    """Score unedited samples; ``classes`` as for ``sample_latents``.

    Raises DirectionError for too few samples, or where no score varies.
    """
    if samples < 2:
        raise DirectionError(f"a standard deviation needs at least 2 samples, got {samples}")
    return baseline_of(G, _scored(G, sample_latents(G, samples=samples, seed=seed, classes=classes), scorers, batch))


def baseline_of(G: Generator, scores: Mapping[str, Tensor]) -> Baseline:
    """The baseline of scores [N] of unedited samples of ``G``, by name. Raises DirectionError where none varies."""
    samples = min(len(values) for values in scores.values())
    doubles = {name: values.double() for name, values in scores.items()}
    mean = {name: float(values.mean()) for name, values in doubles.items()}
    deviation = {name: float(values.std()) for name, values in doubles.items()}
    # Below a millionth of its size a score is constant up to rounding, and dividing by that would call noise an effect.
    kept = [name for name in scores if deviation[name] > 1e-6 * max(1.0, abs(mean[name]))]
    if not kept:
        raise DirectionError(f"no score varies over {samples} samples of {G.spec.name!r}: {', '.join(scores)}")
    return Baseline(
        generator=G.spec.id,
        mean={name: mean[name] for name in kept},
        deviation={name: deviation[name] for name in kept},
        samples=samples,
    )


def measure(
    G: Generator,
    direction: Direction,
    scorers: Sequence[Scorer],
    *,
    against: Baseline,
    samples: int = 32,
    seed: int = 100_000,
    classes: Classes | None = None,
    strengths: Sequence[float] | None = None,
    latents: Latent | None = None,
    batch: int = 16,
    on_progress: Progress | None = None,
) -> Measurement:
    """Edit samples along ``direction`` at several strengths and score the pictures.

    Args:
        G: the generator.
        direction: of that generator.
        scorers: see ``directions.attributes`` and ``default_scorers``.
        against: standard deviations, from ``baseline`` with the same scorers.
        samples: latents, of the seeds ``seed`` and up; classes: as for ``sample_latents``.
        strengths: two or more; by default five over the direction's range.
        latents: codes to edit in place of samples, such as those of photos; in w, w+ or s.
        on_progress: called with (done, total) strengths.

    Raises:
        GeneratorMismatchError: the direction belongs to another generator.
        DirectionError: bad numbers, or a baseline of another generator.
    """
    direction.check(G.spec)
    if against.generator != G.spec.id:
        raise DirectionError("the baseline was measured on another generator; measure it on this one")
    low, high = direction.strength
    steps = sorted(set(torch.linspace(low, high, 5).tolist() if strengths is None else map(float, strengths)))
    if len(steps) < 2 or samples < 1:
        raise DirectionError(f"measuring needs two strengths and a sample, got {len(steps)} and {samples}")
    given = sample_latents(G, samples=samples, seed=seed, classes=classes) if latents is None else latents
    latents = in_space(G, given, direction)
    rows: list[dict[str, Tensor]] = []
    for done, strength in enumerate(steps, start=1):
        rows.append(_scored(G, apply_edits(latents, Edit(direction, strength)), scorers, batch))
        if on_progress is not None:
            on_progress(done, len(steps))
    missing = set(against.deviation) - set(rows[0])
    if missing:
        raise DirectionError(f"the baseline knows scores that no scorer gives: {', '.join(sorted(missing))}")
    x = torch.tensor(steps, dtype=torch.float64)
    x = x - x.mean()
    effects, monotonicity = {}, {}
    for name, deviation in against.deviation.items():
        y = torch.stack([row[name] for row in rows])  # [strengths, samples]
        effects[name] = float((x @ y).mean() / x.square().sum()) / deviation  # least-squares slope
        monotonicity[name] = float((y.diff(dim=0) * math.copysign(1, effects[name]) > 0).all(dim=0).double().mean())
    return Measurement(effects=effects, monotonicity=monotonicity, strengths=tuple(steps), samples=len(latents))


def _read_faces(faces: bool) -> bool:
    return faces and bundled_weights().is_file()


def _scored(G: Generator, latents: Latent, scorers: Sequence[Scorer], batch: int) -> dict[str, Tensor]:
    found = attributes.label(render(G, latents, batch=batch), scorers)
    for name, values in found.items():
        if not bool(torch.isfinite(values).all()):
            raise DirectionError(f"the scorer {name!r} gives NaN or infinite values on some pictures; mend it")
    return found

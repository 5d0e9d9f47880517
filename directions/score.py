"""How much a direction does, to what, and what else it does.

Every effect is in standard deviations of the score over the generator's own samples, per unit of strength, so that
effects on different scores compare. What counts of what was measured, ``directions.measurement`` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from directions import attributes, image_statistics
from directions.attributes import Scorer
from directions.measurement import Measurement
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


MEASURED_SEED = 150_000
"""Of the first sample that is edited where nobody says: apart from those of acceptance and report (judging.py)."""


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
    made = attributes.built_in(faces=faces, network=_read_faces(faces))
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
    return baseline_of(G, scores_of(G, sample_latents(G, samples=samples, seed=seed, classes=classes), scorers, batch))


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
    seed: int = MEASURED_SEED,
    classes: Classes | None = None,
    strengths: Sequence[float] | None = None,
    latents: Latent | None = None,
    unedited: Mapping[str, Tensor] | None = None,
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
        strengths: one that is not 0, or more; by default each end of the direction's range, half of it, and 0, which
            is always among them.
        latents: codes to edit in place of samples, such as those of photos; in w, w+ or s.
        unedited: scores of these latents as they are, where they are known, from ``scores_of``.
        on_progress: called with (done, total) strengths.

    Raises:
        GeneratorMismatchError: the direction belongs to another generator.
        DirectionError: bad numbers, no strength but 0, or a baseline of another generator.
    """
    direction.check(G.spec)
    if against.generator != G.spec.id:
        raise DirectionError("the baseline was measured on another generator; measure it on this one")
    low, high = direction.strength
    asked = (low, low / 2, high / 2, high) if strengths is None else strengths
    steps = sorted({0.0, *map(float, asked)})
    if len(steps) < 2 or samples < 1:
        raise DirectionError(f"measuring needs a strength other than 0 and a sample, got {steps} and {samples}")
    given = sample_latents(G, samples=samples, seed=seed, classes=classes) if latents is None else latents
    latents = in_space(G, given, direction)
    rows: list[Mapping[str, Tensor]] = []
    for done, strength in enumerate(steps, start=1):
        edited = latents if strength == 0 else apply_edits(latents, Edit(direction, strength))
        rows.append(scores_of(G, edited, scorers, batch) if strength or unedited is None else unedited)
        if on_progress is not None:
            on_progress(done, len(steps))
    missing = set(against.deviation) - set(rows[0])
    if missing:
        raise DirectionError(f"the baseline knows scores that no scorer gives: {', '.join(sorted(missing))}")
    scores = {name: torch.stack([row[name] for row in rows]) for name in against.deviation}
    return Measurement.of(steps, scores, against.deviation)


def _read_faces(faces: bool) -> bool:
    return faces and bundled_weights().is_file()


def scores_of(G: Generator, latents: Latent, scorers: Sequence[Scorer], batch: int = 16) -> dict[str, Tensor]:
    """Scores [N] of the pictures of ``latents``, by name. Raises DirectionError for NaN."""
    found = attributes.label(render(G, latents, batch=batch), scorers)
    for name, values in found.items():
        if not bool(torch.isfinite(values).all()):
            raise DirectionError(f"the scorer {name!r} gives NaN or infinite values on some pictures; mend it")
    return found

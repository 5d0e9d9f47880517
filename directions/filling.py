"""What a rebuild adds to the directions of its scores: components of a layer, factors, channels of s, by what they do.

Candidates come from ``LayerGanSpace``, ``SeFa`` and ``StyleGradient`` (twenty channels). None has a name of its own:
one is called for the score that it moves most, as measured, and for how it was found: ``contrast-layer``. One that
makes the same pictures as a direction that is there already is not taken.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor

from directions.activations import LayerGanSpace
from directions.attributes import Scorer
from directions.calibration import times
from directions.channels import ranged
from directions.measurement import Measurement
from directions.methods import Method
from directions.score import sample_latents
from directions.sefa import SeFa
from directions.spaces import in_space
from directions.style_gradient import StyleGradient
from editkit.direction import Direction
from editkit.edits import Edit, apply_edits
from editkit.errors import DirectionError
from editkit.rendering import render

if TYPE_CHECKING:
    from editkit.generator import Generator

log = logging.getLogger(__name__)

CHANNELS = 20
_COUNT = 8  # of components, and of factors
_SAMPLES = 800  # of a layer's activations; three times w_dim where that is more
_ALIKE = 0.7  # cosine between two changes of the same pictures, from which on they are one direction
_SEED, _FACES = 500_000, 8


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Filling:
    """A candidate: ``direction`` under its name, more being more, and the score it is for; ``leakage`` as screened."""

    direction: Direction
    target: str
    leakage: float


def fillings(
    G: Generator,
    missing: Sequence[Scorer],
    screened: Callable[[Direction], Measurement],
    *,
    say: Callable[[str], None] | None = None,
) -> list[Filling]:
    """Candidates, those that leak least first; ``screened`` measures one over its range.

    ``missing``: scores without a direction yet, whose channels of s are looked for.
    A method that this generator does not serve (no StyleSpace, no activations) gives none.
    """
    made: list[Filling] = []
    for word, one in _found(G, missing):
        seen = screened(one)
        sign = 1.0 if seen.means[seen.target] >= 0 else -1.0
        name = f"{seen.target}-{word}"
        made.append(
            Filling(
                direction=replace(times(one, sign), name=name, unit=f"one standard deviation of {seen.target}"),
                target=seen.target,
                leakage=seen.worst_leakage(),
            )
        )
        if say is not None:
            say(f"{one.name} moves {seen.target}, leakage {made[-1].leakage:.2f}")
    return sorted(made, key=lambda one: one.leakage)


def change(G: Generator, direction: Direction) -> Tensor:
    """What a unit does to some pictures nobody has seen: float64 [N x 3 x R x R], of length 1."""
    latents = in_space(G, sample_latents(G, samples=_FACES, seed=_SEED), direction)
    step = render(G, apply_edits(latents, Edit(direction, 1.0))) - render(G, latents)
    flat = step.double().cpu().flatten()
    return flat / flat.norm().clamp(min=1e-300)


def alike(first: Tensor, others: Sequence[Tensor]) -> bool:
    """Whether a change is one of the ``others``, in either sense."""
    return any(abs(float(first @ other)) >= _ALIKE for other in others)


def _found(G: Generator, missing: Sequence[Scorer]) -> Iterator[tuple[str, Direction]]:
    rows = tuple(range(min(1, G.spec.num_ws - 1), G.spec.num_ws))  # all but the placement's
    count, samples = min(_COUNT, G.spec.w_dim), max(_SAMPLES, 3 * G.spec.w_dim)
    methods: list[tuple[str, Method]] = [
        ("layer", LayerGanSpace(layer=2, count=count, samples=samples, layers=rows, batch=64)),
        ("factor", SeFa(count=count, samples=samples)),
        *(("channels", StyleGradient(scorer=one, channels=CHANNELS)) for one in missing),
    ]
    for word, method in methods:
        try:
            found = method.find(G)
        except DirectionError as problem:
            log.info("%s: %s", type(method).__name__, problem)
            continue
        for one in found:
            yield word, ranged(G, replace(one, scores={}), None)


def free_name(name: str, taken: Sequence[str]) -> str:
    """``name``, or ``name-2`` and so on where it is taken."""
    number, free = 2, name
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    return free

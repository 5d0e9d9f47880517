"""Channels of s along which a score rises fastest: the score's gradient, averaged over samples.

Wu et al. 2021 (see ``directions.stylespace``) look for channels by gradients of the picture, section 4. Here the
gradient is that of any differentiable scorer. In coordinates x = s / deviation, so that channels of different scale
compare, the direction is g = E[d score / d x], limited to its largest entries. Scores to be kept are projected out: g
less its part in the span of their gradients (Shen et al. 2020, section 2.3, over gradients instead of boundaries).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from directions.attributes import Scorer
from directions.calibration import known_baseline
from directions.channels import Channels, check_counts, grouped, in_units, places
from directions.methods import Progress
from directions.spaces import styles
from editkit.direction import Direction
from editkit.errors import DirectionError
from editkit.labels import Classes
from editkit.latent import Latent
from editkit.sampling import sample_w

if TYPE_CHECKING:
    from editkit.generator import Generator

_BATCH = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class StyleGradient:
    """The method for ``directions.find``: channels of s along which a score rises.

    Attributes:
        scorer: what to look for; differentiable, as the bundled ones are. It also gives the unit.
        keep: scorers that should stay as they are, differentiable as well.
        channels: in one direction; 1 is a single channel.
        count: how many directions, of different channels, the best first.
        layers: names of layers of s; None for all but the placement.
        samples: whose gradients are averaged; ``seed``: of the first.
        classes: of a conditional generator, see ``editkit.labels``.
    """

    scorer: Scorer
    keep: tuple[Scorer, ...] = ()
    channels: int = 20
    count: int = 1
    layers: tuple[str, ...] | None = None
    samples: int = 64
    seed: int = 0
    classes: Classes | None = None

    def __post_init__(self) -> None:
        check_counts(self.channels, self.count)
        object.__setattr__(self, "keep", tuple(self.keep))
        if self.samples < 1 or len({one.name for one in (self.scorer, *self.keep)}) < 1 + len(self.keep):
            raise DirectionError("StyleGradient needs a sample, and scorers with different names")

    def find(self, G: Generator, *, on_progress: Progress | None = None) -> tuple[Direction, ...]:
        """Named as by ``StyleCorrelation``. Raises DirectionError for a scorer without a gradient."""
        latents = sample_w(G, range(self.seed, self.seed + max(self.samples, 256)), classes=self.classes)
        where = places(G, self.layers)
        names = list(dict.fromkeys(layer for layer, _ in where))
        codes = styles(G, latents)
        deviations = torch.cat([codes.styles[name].detach().double().cpu().std(0) for name in names])
        scorers = (self.scorer, *self.keep)
        means = mean_gradients(G, codes[: self.samples], scorers, names, on_progress=on_progress) * deviations
        size, g = self.channels, without(means[0], means[1:])
        ranked = g.abs().argsort(descending=True, stable=True).tolist()[: size * self.count]
        found: list[Direction] = []
        for start in range(0, len(ranked), size):
            chosen = ranked[start : start + size]
            weights = means[0, chosen]
            if len(chosen) > len(self.keep):  # among these channels alone the others' gradients are no longer removed
                weights = without(weights, means[1:, chosen])
            part = Channels(
                places=tuple(where[i] for i in chosen),
                weights=weights / weights.norm().clamp(min=1e-300),
                deviations=deviations[chosen],
            )
            label = self.scorer.name if not start or size == 1 else f"{self.scorer.name}-{start // size}"
            found += grouped(G, part, label, size, "style gradient")
        against = known_baseline(G, [self.scorer], classes=self.classes)
        return in_units(G, found, self.scorer, against=against, classes=self.classes)


def mean_gradients(
    G: Generator,
    codes: Latent,
    scorers: tuple[Scorer, ...],
    names: list[str],
    *,
    on_progress: Progress | None = None,
) -> Tensor:
    """d score / d s, mean over ``codes`` in s, for the layers ``names``: float64 [scorers, D].

    Raises DirectionError: a scorer without a gradient, or NaN.
    """
    total = torch.zeros(len(scorers), sum(codes.styles[name].shape[1] for name in names), dtype=torch.float64)
    for start in range(0, len(codes), _BATCH):
        part = codes[start : start + _BATCH].detach()
        free = {name: part.styles[name].clone().requires_grad_() for name in names}
        images = G.synthesize(Latent(space="s", codes={**part.styles, **free}, generator=G.spec.id))
        for row, scorer in enumerate(scorers):
            value = scorer(images).sum()
            if not value.requires_grad:
                raise DirectionError(f"the scorer {scorer.name!r} has no gradient; search with StyleCorrelation")
            parts = torch.autograd.grad(
                value, list(free.values()), retain_graph=row + 1 < len(scorers), materialize_grads=True
            )
            total[row] += torch.cat([one.sum(0) for one in parts]).double().cpu()
        if on_progress is not None:
            on_progress(start + len(part), len(codes))
    if not bool(torch.isfinite(total).all()):
        raise DirectionError("gradients of the scorers hold NaN or infinite values; mend the scorer")
    return total / len(codes)


def without(vector: Tensor, others: Tensor) -> Tensor:
    """``vector`` [D] less its part in the span of the rows of ``others`` [K, D].

    Raises DirectionError where nothing is left.
    """
    if not len(others):
        return vector
    _, values, rows = torch.linalg.svd(others.double(), full_matrices=False)
    basis = rows[values > 1e-9 * float(values.max())] if float(values.max()) > 0 else rows[:0]
    left = vector.double() - (vector.double() @ basis.T) @ basis
    if float(left.norm()) <= 1e-9 * float(vector.norm()):
        raise DirectionError("nothing of this direction is left without the others; keep fewer of them")
    return left.to(vector)

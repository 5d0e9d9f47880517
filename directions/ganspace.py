"""GANSpace: principal components of W.

Härkönen et al., "GANSpace: Discovering Interpretable GAN Controls" (NeurIPS 2020), section 3.1: sample z, map to w,
take the principal components of w; an edit moves w along a component, or only some rows of W+ (section 3.3). The
covariance is exact and summed batch by batch in float64, so memory does not grow with the number of samples.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from directions.covariance import leading_eigenvectors, spread_of_w
from directions.methods import Progress
from editkit.direction import Direction
from editkit.errors import DirectionError, GeneratorMismatchError
from editkit.labels import Classes

if TYPE_CHECKING:
    from editkit.generator import Generator

RANGE = 2.0
"""Strengths within which results look right as a rule, in standard deviations: what the paper's figures show."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Components:
    """Principal components of a generator's W, largest first.

    Attributes:
        mean: [w_dim], the mean of w over the samples.
        vectors: [K, w_dim], orthonormal rows; the largest entry of each is positive. float64.
        deviations: [K], standard deviation of w along each.
        total_variance: of w, over all of its w_dim components.
        generator: id of the generator.
        samples: how many w there were.
        seed: of the first; sample i has seed + i.
    """

    mean: Tensor
    vectors: Tensor
    deviations: Tensor
    total_variance: float
    generator: str
    samples: int
    seed: int

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def explained(self) -> Tensor:
        """[K], the share of the variance of w along each component."""
        return self.deviations.square() / self.total_variance


@dataclass(frozen=True, kw_only=True, slots=True)
class GanSpace:
    """The method for ``directions.find``: the first components of W.

    Attributes:
        count: how many directions.
        samples: from which the components are computed.
        seed: of the first sample.
        layers: rows of W+ to which the directions are limited; None for all.
        classes: of a conditional generator, see ``editkit.labels``; drawn for each seed by default.
    """

    count: int = 10
    samples: int = 20_000
    seed: int = 0
    layers: tuple[int, ...] | None = None
    classes: Classes | None = None

    def __post_init__(self) -> None:
        if self.layers is not None:
            object.__setattr__(self, "layers", tuple(self.layers))

    def find(self, G: Generator, *, on_progress: Progress | None = None) -> tuple[Direction, ...]:
        """``pca-0``, ``pca-1`` ... Raises DirectionError."""
        found = components(
            G,
            samples=self.samples,
            count=self.count,
            seed=self.seed,
            classes=self.classes,
            on_progress=on_progress,
        )
        return tuple(direction(G, found, index, layers=self.layers) for index in range(self.count))


def components(
    G: Generator,
    *,
    samples: int = 20_000,
    count: int | None = None,
    seed: int = 0,
    classes: Classes | None = None,
    batch: int = 1000,
    on_progress: Progress | None = None,
) -> Components:
    """Principal components of w for the seeds ``seed`` to ``seed + samples - 1``. The result is the same for any batch.

    Args:
        G: the generator; only its mapping runs.
        samples: more than w_dim of them; 20,000 give the first 20 of 512 to a percent or so.
        count: how many to keep; all w_dim by default.
        classes: of a conditional generator: one for all samples, or dense values [c_dim]; by default each seed draws
            its class, so that components are those of all classes together.
        on_progress: called with (done, total) after each batch.

    Raises:
        DirectionError: too few samples, a count that is not 1 to w_dim, or NaN in W.
    """
    width = G.spec.w_dim
    count = width if count is None else count
    if not 1 <= count <= width:
        raise DirectionError(f"count is 1 to {width}, got {count}")
    spread = spread_of_w(G, samples=samples, seed=seed, classes=classes, batch=batch, on_progress=on_progress)
    values, vectors = leading_eigenvectors(spread.covariance, count)
    return Components(
        mean=spread.mean,
        vectors=vectors,
        deviations=values.clamp(min=0).sqrt(),
        total_variance=float(spread.covariance.diagonal().sum()),
        generator=G.spec.id,
        samples=samples,
        seed=seed,
    )


def direction(
    G: Generator, found: Components, index: int, *, layers: Iterable[int] | None = None, name: str | None = None
) -> Direction:
    """Component ``index`` as a direction whose unit is one standard deviation along it.

    Args:
        layers: rows of W+ to which it is limited; without, it is in w and moves all of them, the placement included.
        name: ``pca-<index>`` by default.

    Raises:
        DirectionError: no such component or layer, or a component along which w does not vary.
        GeneratorMismatchError: ``found`` belongs to another generator.
    """
    if found.generator not in (G.spec.id, G.spec.parent_id):
        raise GeneratorMismatchError(
            f"these components are of generator {found.generator[:12]}, not of {G.spec.id[:12]}; compute them for it"
        )
    if not 0 <= index < len(found):
        raise DirectionError(f"component {index} is not among 0 to {len(found) - 1}")
    if float(found.deviations[index]) <= 1e-6 * float(found.deviations[0]):
        raise DirectionError(f"w does not vary along component {index}; take one before it")
    whole = Direction(
        name=name or f"pca-{index}",
        vector=(found.deviations[index] * found.vectors[index]).float(),
        space="w",
        generator=found.generator,
        strength=(-RANGE, RANGE),
        unit="one standard deviation along the component",
        method="ganspace",
        reference=f"PCA of W, {found.samples} samples from seed {found.seed}; Härkönen et al. 2020, section 3.1",
        scores={"explained": float(found.explained[index])},
    )
    return whole if layers is None else whole.on_layers(layers, num_ws=G.spec.num_ws)

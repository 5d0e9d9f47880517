"""SeFa: the directions of w that change styles most, read off the weights.

Shen, Zhou, "Closed-Form Factorization of Latent Semantics in GANs" (CVPR 2021), section 3.2, equations 2 to 6: the
unit vectors n that maximise |A n|^2 are the eigenvectors of A^T A with the largest eigenvalues, where A stacks the
affine maps from w to the styles of the chosen layers. No samples decide a direction; they only give its unit.

Departures: rows of W+ are chosen, each with all the layers it drives; StyleGAN3's learned placement stays out unless it
is asked for, and directions leave its row alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from directions.affine import content_rows, style_matrices, style_rows
from directions.covariance import leading_eigenvectors, spread_of_w
from directions.methods import Progress
from editkit.direction import Direction
from editkit.errors import DirectionError
from editkit.labels import Classes

if TYPE_CHECKING:
    from editkit.generator import Generator

RANGE = 3.0
"""Strengths within which results look right as a rule, in standard deviations of w along the direction."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Factors:
    """Eigenvectors of the stacked style maps, most change first.

    Attributes:
        vectors: [K, w_dim], orthonormal rows, float64.
        gains: [K], how far the stacked styles move for a step of length 1: square roots of the eigenvalues.
        shares: [K], of each eigenvalue in their sum.
        rows: of W+, whose layers were stacked.
    """

    vectors: Tensor
    gains: Tensor
    shares: Tensor
    rows: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class SeFa:
    """The method for ``directions.find``: closed-form factorisation.

    Attributes:
        count: how many directions.
        layers: rows of W+ whose styles are factorised and to which directions are limited; None for all but the
            placement's.
        samples: of w, from which the unit comes: one standard deviation of w along the direction.
        seed: of the first of them.
        classes: of a conditional generator, see ``editkit.labels``; drawn for each seed by default.
    """

    count: int = 10
    layers: tuple[int, ...] | None = None
    samples: int = 20_000
    seed: int = 0
    classes: Classes | None = None

    def __post_init__(self) -> None:
        if self.layers is not None:
            object.__setattr__(self, "layers", tuple(self.layers))

    def find(self, G: Generator, *, on_progress: Progress | None = None) -> tuple[Direction, ...]:
        """``sefa-0``, ``sefa-1`` ... Raises DirectionError."""
        found = factorise(G, count=self.count, rows=self.layers)
        spread = spread_of_w(G, samples=self.samples, seed=self.seed, classes=self.classes, on_progress=on_progress)
        most = float(spread.covariance.diagonal().sum()) ** 0.5
        made = []
        for index, vector in enumerate(found.vectors):
            deviation = spread.deviation(vector)
            if deviation <= 1e-6 * most:
                raise DirectionError(
                    f"w does not vary along factor {index} of {G.spec.name!r}; ask for {index} or less"
                )
            made.append(_direction(G, found, index, deviation))
        return tuple(made)


def factorise(G: Generator, *, count: int, rows: Sequence[int] | None = None) -> Factors:
    """The first ``count`` eigenvectors for the layers that ``rows`` of W+ drive (all but the placement's by default).

    Raises DirectionError: a generator without styles, bad rows or count, or styles that do not depend on w.
    """
    if not 1 <= count <= G.spec.w_dim:
        raise DirectionError(f"count is 1 to {G.spec.w_dim}, got {count}")
    chosen = content_rows(G, rows)
    matrices = style_matrices(G)
    stacked = torch.cat([matrices[name] for name, row in style_rows(G).items() if row in chosen])  # [sum C, w_dim]
    gram = stacked.T @ stacked
    total = float(gram.diagonal().sum())
    if not total > 0:
        raise DirectionError(f"the styles of layers {chosen} of {G.spec.name!r} do not depend on w; choose others")
    values, vectors = leading_eigenvectors(gram, count)
    values = values.clamp(min=0)
    return Factors(vectors=vectors, gains=values.sqrt(), shares=values / total, rows=tuple(chosen))


def _direction(G: Generator, found: Factors, index: int, deviation: float) -> Direction:
    whole = Direction(
        name=f"sefa-{index}",
        vector=(deviation * found.vectors[index]).float(),
        space="w",
        generator=G.spec.id,
        strength=(-RANGE, RANGE),
        unit="one standard deviation of w along the direction",
        method="sefa",
        reference=f"styles of rows {_span(found.rows)}; Shen and Zhou 2021, section 3.2",
        scores={"share": float(found.shares[index])},
    )
    return whole if len(found.rows) == G.spec.num_ws else whole.on_layers(found.rows, num_ws=G.spec.num_ws)


def _span(rows: Sequence[int]) -> str:
    """(1, 2, 3, 5) -> "1-3,5"."""
    parts: list[list[int]] = []
    for row in rows:
        if parts and row == parts[-1][1] + 1:
            parts[-1][1] = row
        else:
            parts.append([row, row])
    return ",".join(f"{a}-{b}" if b > a else str(a) for a, b in parts)

"""Combinations of directions that move one score and leave the others: by measured effects, corrected by measurement.

Candidates are directions in w+ with measured effects E [scores, candidates], in standard deviations a unit. In the
linear approximation the combination c with E c = e_target moves one score only; |c| is how far it goes from a sample:
minimise |E c - e_target|^2 + ridge c^T Q c, where Q is the candidates' Gram matrix in standard deviations of W.
What is measured of the combination is then fed back: c + (E^T E + ridge Q)^-1 E^T (e_target - measured).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from directions.attributes import Scorer
from directions.bank import SampleBank
from directions.bars import Bars
from directions.boundary import LinearSVM, fit
from directions.ganspace import Components, direction
from directions.labels import Labelled
from directions.spaces import Where, assembled, features
from editkit.direction import Direction
from editkit.errors import DirectionError

if TYPE_CHECKING:
    from editkit.generator import Generator

_RIDGES = (1.0, 0.3, 0.1, 0.03, 0.01)
_CORRECTIONS = 6


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Combination:
    """Weights of candidates.

    Attributes:
        weights: c [candidates], so that the target moves by one standard deviation a unit, as predicted.
        length: of one unit, in standard deviations of W.
        ridge: with which it was found.
    """

    weights: Tensor
    length: float
    ridge: float


def combine(effects: Tensor, gram: Tensor, target: int, *, bars: Bars, ridge: float) -> Combination | None:
    """The combination for one score, from E [scores, candidates] and Q [candidates, candidates].

    None where a unit is out of reach.
    """
    wanted = torch.zeros(len(effects), dtype=torch.float64)
    wanted[target] = 1.0
    c = _solved(effects, gram, ridge, wanted)
    effect = float(effects[target] @ c)
    if effect <= 0:
        return None
    length = float((c @ gram @ c).clamp(min=0).sqrt()) / effect
    return Combination(weights=c / effect, length=length, ridge=ridge) if length * bars.effect <= bars.reach else None


def search(
    effects: Tensor, gram: Tensor, target: int, measured: Callable[[Combination], Tensor], *, bars: Bars
) -> Combination | None:
    """The combination that leaks least as measured, over ridges from the strongest and corrections of each.

    ``measured`` gives the effects [scores] of a combination's unit. The search ends where leakage is below half of the
    bar: what is measured on other samples will differ. None where a unit is out of reach.
    """
    best: tuple[float, Combination] | None = None
    for ridge in _RIDGES:
        found = combine(effects, gram, target, bars=bars, ridge=ridge)
        for _ in range(1 + _CORRECTIONS):
            if found is None or found.length * bars.effect > bars.reach:
                break
            seen = measured(found)
            leakage = _leakage(seen, target)
            if best is not None and leakage >= best[0]:
                break
            best = leakage, found
            if leakage <= bars.leakage / 2:
                return found
            found = corrected(found, effects, gram, target, seen)
    return None if best is None else best[1]


def corrected(found: Combination, effects: Tensor, gram: Tensor, target: int, measured: Tensor) -> Combination:
    """The combination after one correction by ``measured`` [scores], the effects of its unit."""
    error = -measured.double()
    error[target] += 1.0
    weights = found.weights + _solved(effects, gram, found.ridge, error)
    return Combination(weights=weights, length=float((weights @ gram @ weights).clamp(min=0).sqrt()), ridge=found.ridge)


def gram_matrix(G: Generator, candidates: Sequence[Direction], deviation: float) -> Tensor:
    """Q [candidates, candidates]: inner products over the edited rows' number times the squared deviation of w."""
    stacked = stack(candidates).double()  # [candidates, rows, w_dim]
    edited = max(1, int((stacked != 0).any(2).any(0).sum()))
    flat = stacked.flatten(1) / deviation
    return flat @ flat.T / edited


def stack(candidates: Sequence[Direction]) -> Tensor:
    """Vectors of directions in w+ [candidates, num_ws, w_dim]."""
    return torch.stack([candidate.named_tensors()["w+"] for candidate in candidates])


def row_ranges(G: Generator) -> list[list[int]]:
    """Early, middle and late rows. Row 0, which drives the learned placement, stays out where there are others."""
    rows = torch.arange(min(1, G.spec.num_ws - 1), G.spec.num_ws)
    return [part.tolist() for part in rows.tensor_split(3) if len(part)]


def component_candidates(G: Generator, found: Components) -> list[Direction]:
    """Every principal component along which w varies, on each range of rows."""
    usable = [index for index in range(len(found)) if float(found.deviations[index] / found.deviations[0]) > 1e-6]
    return [direction(G, found, index, layers=layers) for index in usable for layers in row_ranges(G)]


def boundary_candidates(G: Generator, bank: SampleBank, scorers: Sequence[Scorer]) -> list[Direction]:
    """The boundary of every score that varies in the bank, on each range of rows."""
    where = Where(space="w")
    x = features(G, bank.latents(G), where)
    made: list[Direction] = []
    for scorer in scorers:
        try:
            labels = Labelled.from_bank(G, bank, scorer.name)
            fitted = fit(x, labels, LinearSVM(labels=labels))
        except DirectionError:  # a score that is constant, or has nothing to do with w
            continue
        whole = assembled(G, fitted.vector, where, name=scorer.name, method="linear svm")
        made += [whole.on_layers(layers, num_ws=G.spec.num_ws) for layers in row_ranges(G)]
    return made


def assemble(candidates: Sequence[Direction], found: Combination, *, name: str, bars: Bars, most: float) -> Direction:
    """The combination as a direction whose range is what is within reach, at most ``most`` units."""
    high = max(0.1, min(most, int(10 * bars.reach / max(found.length, 1e-9)) / 10))
    return replace(
        candidates[0],
        name=name,
        vector=torch.einsum("c,crd->rd", found.weights.float(), stack(candidates)),
        strength=(-high, high),
        unit=f"one standard deviation of {name} over the generator's samples",
        method=f"{' and '.join(sorted({one.method for one in candidates}, reverse=True))}, combined by measured effect",
        reference="Shen et al. 2020, section 2.2; combined: directions/combining.py",
        scores={},
    )


def _leakage(seen: Tensor, target: int) -> float:
    """Largest other effect over that on the target; infinite where the target goes the wrong way."""
    others = seen[torch.arange(len(seen)) != target].abs()
    main = float(seen[target])
    return (float(others.max()) if len(others) else 0.0) / main if main > 0 else math.inf


def _solved(effects: Tensor, gram: Tensor, ridge: float, wanted: Tensor) -> Tensor:
    """(E^T E + ridge Q)^-1 E^T wanted; where candidates repeat each other, the shortest weights."""
    return torch.linalg.pinv(effects.T @ effects + ridge * gram, rtol=1e-10, hermitian=True) @ (effects.T @ wanted)

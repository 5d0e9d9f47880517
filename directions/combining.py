"""Combinations of directions that move one score and leave the others: by measured effects, corrected by measurement.

Candidates are directions in w+, or in s (``directions.candidates``), with measured effects E [scores, candidates], in
standard deviations a unit. In the linear approximation the combination c with E c = e_target moves one score only; |c|
is how far it goes from a sample: minimise |E c - e_target|^2 + ridge c^T Q c, where Q is the candidates' Gram matrix in
standard deviations of W. What is measured of the combination is then fed back:
c + (E^T E + ridge Q)^-1 E^T (e_target - measured).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from directions.bars import Bars
from editkit.direction import Direction

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

    ``measured`` gives the effects of a combination's unit in both halves of its range, [2, scores]: the worse one
    counts, and corrections go by their mean. The search ends where leakage is below half of the
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
            if float(seen[:, target].min()) * bars.reach >= found.length * bars.effect:  # as measured, not as predicted
                if best is not None and leakage >= best[0]:
                    break
                best = leakage, found
                if leakage <= bars.leakage / 2:
                    return found
            found = corrected(found, effects, gram, target, seen.mean(0))
    return None if best is None else best[1]


def corrected(found: Combination, effects: Tensor, gram: Tensor, target: int, measured: Tensor) -> Combination:
    """The combination after one correction by ``measured`` [scores], the effects of its unit."""
    error = -measured.double()
    error[target] += 1.0
    weights = found.weights + _solved(effects, gram, found.ridge, error)
    return Combination(weights=weights, length=float((weights @ gram @ weights).clamp(min=0).sqrt()), ridge=found.ridge)


def assemble(candidates: Sequence[Direction], found: Combination, *, name: str, bars: Bars, most: float) -> Direction:
    """The combination as a direction whose range is what is within reach, at most ``most`` units.

    Candidates are all in w+ or all in s.
    """
    high = max(0.1, min(most, int(10 * bars.reach / max(found.length, 1e-9)) / 10))
    styled = candidates[0].space == "s"
    return replace(
        candidates[0],
        name=name,
        vector=_summed_styles(candidates, found.weights) if styled else _summed_rows(candidates, found.weights),
        strength=(-high, high),
        unit=f"one standard deviation of {name} over the generator's samples",
        method=f"{' and '.join(sorted({one.method for one in candidates}, reverse=True))}, combined by measured effect",
        reference=f"{'Wu et al. 2021, section 4' if styled else 'Shen et al. 2020, section 2.2'}; combined: "
        "directions/combining.py",
        scores={},
    )


def _summed_rows(candidates: Sequence[Direction], weights: Tensor) -> Tensor:
    stacked = torch.stack([one.named_tensors()["w+"] for one in candidates])
    return torch.einsum("c,crd->rd", weights.float(), stacked)


def _summed_styles(candidates: Sequence[Direction], weights: Tensor) -> dict[str, Tensor]:
    total: dict[str, Tensor] = {}
    for one, weight in zip(candidates, weights.tolist(), strict=True):
        for name, part in one.named_tensors().items():
            layer = name.removeprefix("s.")
            total[layer] = total.get(layer, torch.zeros_like(part)) + weight * part
    return total


def _leakage(seen: Tensor, target: int) -> float:
    """Largest other effect of both halves over the weaker one on the target; infinite where that goes the wrong way."""
    others = seen[:, torch.arange(seen.shape[1]) != target].abs().flatten()
    main = float(seen[:, target].min())
    return (float(others.max()) if len(others) else 0.0) / main if main > 0 else math.inf


def _solved(effects: Tensor, gram: Tensor, ridge: float, wanted: Tensor) -> Tensor:
    """(E^T E + ridge Q)^-1 E^T wanted; where candidates repeat each other, the shortest weights."""
    return torch.linalg.pinv(effects.T @ effects + ridge * gram, rtol=1e-10, hermitian=True) @ (effects.T @ wanted)

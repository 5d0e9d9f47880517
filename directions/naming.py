"""Names for directions that were found without one, proposed by what goes with them.

A sample's coordinate along a direction, and each of its scores in a bank, are correlated over the samples. Correlation
says what varies together among samples; ``directions.score.measure`` says what an edit does, and the two may differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from directions.bank import SampleBank
from directions.bars import target_of
from directions.measurement import EFFECT, HIGH, LOW
from directions.spaces import styles
from directions.stylespace import correlations
from editkit.direction import Direction
from editkit.errors import DirectionError
from editkit.labels import Classes

if TYPE_CHECKING:
    from editkit.generator import Generator

ENOUGH = 0.3
"""Correlation from which on a score gives a direction its name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """A name for a direction.

    Attributes:
        direction: the name it has.
        name: the score that goes with it most, or the old name where none does by ``ENOUGH``.
        fits: whether one does; sign: -1 where more of it means less of that score.
        correlations: of every score, from -1 to 1.
    """

    direction: str
    name: str
    fits: bool
    sign: int
    correlations: Mapping[str, float]

    @property
    def line(self) -> str:
        """For people: "pca-0: brightness (+0.81), then contrast (+0.30)"."""
        ranked = sorted(self.correlations.items(), key=lambda item: -abs(item[1]))[:2]
        said = ", then ".join(f"{name} ({value:+.2f})" for name, value in ranked)
        return f"{self.direction}: {said}" if self.fits else f"{self.direction}: no name; {said}"


def proposals(
    G: Generator,
    directions: Iterable[Direction],
    bank: SampleBank,
    *,
    classes: Classes | None = None,
    enough: float = ENOUGH,
) -> tuple[Proposal, ...]:
    """A name for each of ``directions``, by the scores of ``bank``.

    Raises:
        DirectionError: a bank without scores, or of fewer than 3 samples.
        GeneratorMismatchError: directions or a bank of another generator.
    """
    if len(bank) < 3:
        raise DirectionError(f"names need a bank of at least 3 samples with scores, this one has {len(bank)}")
    latents = bank.latents(G, classes=classes)
    made = []
    for one in directions:
        along = _coordinates(G, one.check(G.spec), latents)[:, None]
        found = {name: float(correlations(along, values[: len(bank)].double())) for name, values in bank.scores.items()}
        best = max(found, key=lambda name: abs(found[name]))
        fits = abs(found[best]) >= enough
        made.append(
            Proposal(
                direction=one.name,
                name=best if fits else one.name,
                fits=fits,
                sign=-1 if fits and found[best] < 0 else 1,
                correlations=found,
            )
        )
    return tuple(made)


def renamed(
    directions: Iterable[Direction], proposed: Iterable[Proposal], *, taken: Iterable[str] = ()
) -> tuple[Direction, ...]:
    """``directions`` under their proposed names, turned so that more is more; a name's second holder gets "-2", and so
    does the first of a name that is ``taken``.

    What one is judged by stays, unless its new name is that of another score: then it has to be judged anew.
    """
    made, held = [], dict.fromkeys(taken, 1)
    for one, proposal in zip(directions, proposed, strict=True):
        held[proposal.name] = held.get(proposal.name, 0) + 1
        name = proposal.name if held[proposal.name] == 1 else f"{proposal.name}-{held[proposal.name]}"
        scores = {f"correlation:{score}": round(value, 4) for score, value in proposal.correlations.items()}
        low, high = one.strength
        target = target_of(one) or one.target
        vector, measured = one.vector, dict(one.scores)
        if proposal.sign < 0:
            measured = {_turned(key): -v if key.startswith((EFFECT, LOW, HIGH)) else v for key, v in measured.items()}
            vector = {k: -v for k, v in vector.items()} if isinstance(vector, Mapping) else -vector
            low, high = -high, -low
        if f"{EFFECT}{name}" in measured and target != name:  # leakage and so on are those of another score
            target = name
            measured = {key: v for key, v in measured.items() if key not in ("leakage", "monotonicity", "separability")}
        reference = one.reference if name == one.name else f"{one.name}; {one.reference}"
        made.append(
            replace(
                one,
                name=name,
                vector=vector,
                strength=(low, high),
                reference=reference,
                scores={**measured, **scores},
                target=target,
            )
        )
    return tuple(made)


def _turned(figure: str) -> str:
    """The name of a figure once its direction is turned: its low half is the high one then."""
    word, colon, score = figure.partition(":")
    return {LOW: HIGH, HIGH: LOW}.get(word + colon, word + colon) + score


def _coordinates(G: Generator, one: Direction, latents: object) -> Tensor:
    """[N], the dot product of each sample with the direction, up to scale: in s over deviations."""
    tensors = {name: part.detach().cpu().double() for name, part in one.named_tensors().items()}
    if one.space == "s":
        codes = styles(G, latents).styles  # type: ignore[arg-type]
        total = torch.zeros(1, dtype=torch.float64)
        for name, vector in tensors.items():
            x = codes[name.removeprefix("s.")].detach().cpu().double()
            total = total + x @ (vector / x.var(0).clamp(min=1e-12))
        return total
    vector = tensors[one.space]
    return latents.tensor[:, 0].detach().cpu().double() @ (vector if one.space == "w" else vector.sum(0))  # type: ignore[attr-defined]

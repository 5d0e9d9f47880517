"""Directions that leave each other's scores alone: orthogonalised, limited to layers, and judged by a matrix.

Shen et al. 2020, "Interpreting the Latent Space of GANs for Semantic Face Editing", section 2.3: a direction n1 is
conditioned on another, n2, by n1 - (n1 . n2) n2; on several, by taking out its part in the plane that they span. Here
each of N directions is conditioned on all the others at once. Departure: in units in which the space varies equally
along every channel of s; in w and w+ in the plain dot product of the paper.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from directions.attributes import Scorer
from directions.bars import intended
from directions.calibration import layer_ranges
from directions.channels import in_units, ranged
from directions.measurement import Measurement
from directions.methods import Progress
from directions.score import Baseline, measure
from directions.spaces import styles
from directions.style_gradient import without
from editkit.direction import Direction
from editkit.errors import DirectionError
from editkit.labels import Classes
from editkit.sampling import sample_w

if TYPE_CHECKING:
    from editkit.generator import Generator

_REMAINING = 0.1  # share of a direction's length below which it was made of the others


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LeakageMatrix:
    """What each direction does to each score.

    Attributes:
        directions: names, a row each.
        scores: names, a column each.
        effects: [directions, scores], standard deviations of the score a unit: of a row's own score in the weaker half
            of its range, of others in the stronger one.
        targets: the score that each direction is for, a column's number.
    """

    directions: tuple[str, ...]
    scores: tuple[str, ...]
    effects: Tensor
    targets: tuple[int, ...]

    @property
    def leakage(self) -> Tensor:
        """[directions, scores], effects as shares of that on the row's own target: 1 or -1 there."""
        own = self.effects[torch.arange(len(self.directions)), list(self.targets)].abs()
        return self.effects / own.clamp(min=1e-12)[:, None]

    @property
    def worst(self) -> float:
        """The largest share by which any direction moves a score that is not its own; 0 where there is none."""
        others = self.leakage.abs()
        others[torch.arange(len(self.directions)), list(self.targets)] = 0
        return float(others.max())

    def table(self) -> str:
        """For people: a row a direction, its own score in brackets."""
        wide = max(map(len, self.directions))
        columns = [max(8, len(name) + 2) for name in self.scores]
        lines = [" " * wide + "".join(f"{name:>{c}}" for name, c in zip(self.scores, columns, strict=True))]
        for row, name in enumerate(self.directions):
            cells = [f"{value:+.2f}" for value in self.leakage[row].tolist()]
            cells[self.targets[row]] = f"[{cells[self.targets[row]]}]"
            lines.append(f"{name:<{wide}}" + "".join(f"{cell:>{c}}" for cell, c in zip(cells, columns, strict=True)))
        return "\n".join(lines)


def leakage_matrix(
    G: Generator,
    directions: Sequence[Direction],
    scorers: Sequence[Scorer],
    *,
    against: Baseline,
    targets: Mapping[str, str] | None = None,
    samples: int = 32,
    classes: Classes | None = None,
    on_progress: Progress | None = None,
) -> LeakageMatrix:
    """Measure every direction by every scorer.

    ``targets``: direction's name -> score; by default the one that it is for (``bars.intended``), or moves most.
    Raises DirectionError: no directions, or an unknown score.
    """
    if not directions:
        raise DirectionError("a leakage matrix needs directions")
    seen: list[Measurement] = []
    for done, one in enumerate(directions, start=1):
        seen.append(measure(G, one, scorers, against=against, samples=samples, classes=classes))
        if on_progress is not None:
            on_progress(done, len(directions))
    names = tuple(seen[0].effects)
    chosen = []
    for one, measured in zip(directions, seen, strict=True):
        target = (targets or {}).get(one.name) or intended(one, names) or measured.target
        if target not in names:
            raise DirectionError(f"no score {target!r} was measured; there are {', '.join(names)}")
        chosen.append(names.index(target))
    counted = [one.judged(names[target]) for one, target in zip(seen, chosen, strict=True)]
    effects = torch.tensor([[row[name] for name in names] for row in counted], dtype=torch.float64)
    return LeakageMatrix(
        directions=tuple(one.name for one in directions), scores=names, effects=effects, targets=tuple(chosen)
    )


def orthogonalised(
    G: Generator, directions: Sequence[Direction], *, samples: int = 1000, classes: Classes | None = None
) -> tuple[Direction, ...]:
    """Each direction less its part in the span of all the others: N-way, whatever the order.

    All in s, or all in w and w+ (the result is in w+ unless all are in w). Units go: calibrate them again
    (``directions.calibration``). Ranges are what the space allows.

    Raises:
        DirectionError: fewer than two, spaces that do not go together, or one that is made of the others.
        GeneratorMismatchError: one of another generator.
    """
    if len(directions) < 2:
        raise DirectionError(f"orthogonalising needs at least two directions, got {len(directions)}")
    for one in directions:
        one.check(G.spec)
    spaces = {one.space for one in directions}
    if "s" in spaces and len(spaces) > 1:
        raise DirectionError("directions in s and in w do not go together; orthogonalise those of one space")
    scale = _deviations(G, samples, classes) if "s" in spaces else {}
    rows = torch.stack([_flat(G, one, scale, whole=spaces == {"w"}) for one in directions])
    made = []
    for index, one in enumerate(directions):
        others = rows[torch.arange(len(rows)) != index]
        try:
            left = without(rows[index], others)
        except DirectionError:
            left = torch.zeros_like(rows[index])
        if float(left.norm()) < _REMAINING * float(rows[index].norm()):
            raise DirectionError(f"hardly anything of {one.name!r} is left without the others; leave some of them out")
        names = ", ".join(other.name for other in directions if other is not one)
        vector, space = _shaped(G, left, one, scale, whole=spaces == {"w"})
        changed = replace(
            one,
            vector=vector,
            space=space,
            method=f"{one.method}, orthogonalised".strip(", "),
            reference=f"{one.reference}; without {names}".strip("; ")[:1000],
            unit=f"{one.unit}, before the others were taken out" if one.unit else "",
            scores={},
        )
        made.append(ranged(G, changed, classes))
    return tuple(made)


def within(
    G: Generator, made: Direction, old: Direction, *, samples: int = 1000, classes: Classes | None = None
) -> Direction:
    """``made``, from ``old``, over a range that ends no farther from a sample than the range of ``old`` does.

    A range that was cut where pictures fall apart would be lost otherwise. Both in s, or neither.
    """
    scale = _deviations(G, samples, classes) if made.space == "s" else {}
    new, before = (_flat(G, one, scale, whole=False) for one in (made, old))
    factor = float(before.norm() / new.norm().clamp(min=1e-30))
    ends = sorted(math.copysign(factor, float(new @ before)) * end for end in old.strength)
    low, high = made.strength
    return replace(made, strength=(max(low, ends[0]), min(high, ends[1])))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Narrowed:
    """A direction on fewer layers.

    Attributes:
        direction: in standard deviations of its score.
        layers: rows of W+, or layers of s.
        effect: what it reaches within its range, in standard deviations; ``leakage``: the worst on another score.
        tried: for every range that was tried, its effect and leakage.
    """

    direction: Direction
    layers: tuple[int, ...] | tuple[str, ...]
    effect: float
    leakage: float
    tried: Mapping[tuple[int, ...] | tuple[str, ...], tuple[float, float]]


def narrowed(
    G: Generator,
    direction: Direction,
    scorers: Sequence[Scorer],
    *,
    target: str,
    against: Baseline,
    kept: float = 0.8,
    samples: int = 24,
    classes: Classes | None = None,
    on_progress: Progress | None = None,
) -> Narrowed:
    """The range of layers on which ``direction`` leaks least while it still reaches ``kept`` of the whole's effect.

    What counts as reached is the effect at the end of the safe range (``directions.calibration.REACH``, in s also
    ``directions.channels.channel_reach``). The ranges are those of ``layer_ranges``: all but the placement, halves and
    thirds.

    Raises DirectionError: no scorer is called ``target``, or no range moves it.
    """
    scorer = next((one for one in scorers if one.name == target), None)
    if scorer is None or not 0 < kept <= 1:
        raise DirectionError(f"narrowing needs a scorer called {target!r}, and kept above 0 and at most 1, got {kept}")
    ranges = layer_ranges(G, space="s" if direction.space == "s" else "w")
    if target not in against.deviation:
        raise DirectionError(f"the baseline has no score {target!r}; measure it with this scorer")
    own = replace(against, mean={target: against.mean[target]}, deviation={target: against.deviation[target]})
    found: dict[tuple, tuple[Direction, float, float]] = {}
    problem: DirectionError | None = None
    for done, layers in enumerate(ranges, start=1):
        try:
            (part,) = in_units(G, [_limited(G, direction, layers)], scorer, against=own, classes=classes)
            seen = measure(G, part, scorers, against=against, samples=samples, classes=classes)
            found[tuple(layers)] = part, seen.effects[target] * part.strength[1], seen.worst_leakage(target)
        except DirectionError as failure:  # nothing of it there, or nothing that moves the score
            problem = failure
        if on_progress is not None:
            on_progress(done, len(ranges))
    if not found:
        raise DirectionError(f"no range of layers of {direction.name!r} moves {target}: {problem}")
    most = max(effect for _, effect, _ in found.values())
    whole = found.get(tuple(ranges[0]), (None, most, 0.0))[1]
    good = {layers: one for layers, one in found.items() if one[1] >= kept * whole} or found
    layers, (best, effect, leakage) = min(good.items(), key=lambda item: item[1][2])
    tried = {key: (one[1], one[2]) for key, one in found.items()}
    scores = {**best.scores, "leakage": round(leakage, 4)}
    return Narrowed(direction=replace(best, scores=scores), layers=layers, effect=effect, leakage=leakage, tried=tried)


def _limited(G: Generator, direction: Direction, layers: Sequence[int] | Sequence[str]) -> Direction:
    if direction.space != "s":
        return direction.on_layers(layers, num_ws=G.spec.num_ws)
    there = [str(name) for name in layers if f"s.{name}" in direction.named_tensors()]
    if not there:
        raise DirectionError(f"{direction.name!r} has nothing in these layers")
    return direction.on_layers(there)


def _deviations(G: Generator, samples: int, classes: Classes | None) -> dict[str, Tensor]:
    codes = styles(G, sample_w(G, range(samples), classes=classes)).styles
    found = {name: part.detach().double().cpu().std(0) for name, part in codes.items()}
    least = 1e-6 * max(float(part.max()) for part in found.values())
    return {name: part.clamp(min=least) for name, part in found.items()}


def _flat(G: Generator, one: Direction, scale: Mapping[str, Tensor], *, whole: bool) -> Tensor:
    """float64 [D]: of w itself where all directions are in w, else of all rows, or of all of s in deviations."""
    tensors = {name: part.detach().cpu().double() for name, part in one.named_tensors().items()}
    if one.space == "s":
        zero = {name: torch.zeros_like(part) for name, part in scale.items()}
        return torch.cat([tensors.get(f"s.{name}", zero[name]) / part for name, part in scale.items()])
    vector = tensors[one.space]
    return vector if whole else vector.expand(G.spec.num_ws, -1).flatten()


def _shaped(
    G: Generator, flat: Tensor, one: Direction, scale: Mapping[str, Tensor], *, whole: bool
) -> tuple[Tensor | dict[str, Tensor], Literal["w", "w+", "s"]]:
    """The vector that ``_flat`` made flat, and its space."""
    if one.space == "s":
        parts = flat.split([len(part) for part in scale.values()])
        named = {name: (p * scale[name]).float() for name, p in zip(scale, parts, strict=True)}
        return {name: part for name, part in named.items() if bool((part != 0).any())}, "s"
    if whole:
        return flat.float(), "w"
    return flat.float().reshape(G.spec.num_ws, -1), "w+"

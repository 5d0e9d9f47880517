"""Directions made of single channels of s: which, how much of each, in which units, and how far they hold up.

Wu et al. 2021, see ``directions.stylespace``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from directions import score
from directions.attributes import Scorer
from directions.calibration import calibrated, counted, reachable
from directions.spaces import style_widths, styles
from editkit.direction import PLACEMENT_LAYER, Direction
from editkit.errors import DirectionError, LatentError
from editkit.labels import Classes
from editkit.layers import checked_names
from editkit.sampling import sample_w

if TYPE_CHECKING:
    from editkit.generator import Generator

REFERENCE = "Wu et al. 2021, section 5"
_SHARE = 0.75
"""How far an edit of a few channels may go, as a share of the distance at which samples lie from their mean."""
_LEAST = 0.1  # standard deviations of the score within that reach


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Channels:
    """Channels of s and how much of each goes into a direction.

    Attributes:
        places: (layer, index) of each.
        weights: [K], in standard deviations of the channel for one unit.
        deviations: [K], of each channel over samples.
    """

    places: tuple[tuple[str, int], ...]
    weights: Tensor
    deviations: Tensor

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, part: slice) -> Channels:
        return Channels(places=self.places[part], weights=self.weights[part], deviations=self.deviations[part])

    def vector(self, widths: Mapping[str, int]) -> dict[str, Tensor]:
        """Layer -> [C], zero but for these channels."""
        found: dict[str, Tensor] = {}
        for (layer, index), step in zip(self.places, (self.weights * self.deviations).tolist(), strict=True):
            found.setdefault(layer, torch.zeros(widths[layer]))[index] = step
        return found


def channel_direction(
    G: Generator,
    channels: Mapping[str, Mapping[int, float]],
    *,
    name: str,
    samples: int = 1000,
    classes: Classes | None = None,
) -> Direction:
    """Channels chosen by hand: layer -> {channel: weight}, weights in the channel's standard deviations over samples.

    Raises DirectionError for a layer or channel that is not there.
    """
    widths = style_widths(G)
    chosen, weights = [], []
    for layer, parts in channels.items():
        for index, weight in parts.items():
            if not 0 <= index < widths.get(layer, 0):
                known = ", ".join(f"{layer} ({width})" for layer, width in widths.items())
                raise DirectionError(f"there is no channel {index} in layer {layer!r}; there are {known}")
            chosen.append((layer, index))
            weights.append(float(weight))
    if not chosen:
        raise DirectionError("no channels were chosen; give at least one")
    codes = styles(G, sample_w(G, range(samples), classes=classes)).styles
    deviations = torch.stack([codes[layer][:, index].double().std().cpu() for layer, index in chosen])
    made = Channels(places=tuple(chosen), weights=torch.tensor(weights, dtype=torch.float64), deviations=deviations)
    one = grouped(G, made, name, len(made), "channels by hand", single=False)[0]
    return ranged(G, one, classes)


def places(G: Generator, layers: Sequence[str] | None) -> list[tuple[str, int]]:
    """(layer, channel) of each column of ``features`` in s. Raises DirectionError for an unknown layer."""
    widths = style_widths(G)
    names = [name for name in widths if name != PLACEMENT_LAYER]
    if layers is not None:
        try:
            names = checked_names(layers, widths)
        except LatentError as problem:
            raise DirectionError(str(problem)) from problem
    return [(name, index) for name in names for index in range(widths[name])]


def grouped(
    G: Generator, ranked: Channels, name: str, size: int, method: str, *, single: bool = True
) -> list[Direction]:
    """Directions of ``size`` channels each, in the order of ``ranked``, not yet in units."""
    made, widths = [], style_widths(G)
    for start in range(0, len(ranked), size):
        part = ranked[start : start + size]
        alone = single and size == 1
        label = (
            f"{name}.{part.places[0][0]}.{part.places[0][1]}"
            if alone
            else name
            if not start
            else f"{name}-{start // size}"
        )
        made.append(
            Direction(
                name=label,
                vector=part.vector(widths),
                space="s",
                generator=G.spec.id,
                unit="standard deviations of the channels",
                method=method,
                reference=f"channels {', '.join(f'{layer}:{index}' for layer, index in part.places[:8])}"
                f"{', ...' if len(part) > 8 else ''}; {REFERENCE}",
                scores={"channels": float(len(part))},
            )
        )
    return made


def in_units(
    G: Generator,
    found: Sequence[Direction],
    scorer: Scorer,
    *,
    against: score.Baseline,
    classes: Classes | None = None,
) -> tuple[Direction, ...]:
    """Each in standard deviations of its score; those that do not move it are left out, unless all are.

    Ranges are those of ``calibrated``, in s also within ``channel_reach``. Raises DirectionError where none moves it.
    """
    made, problem = [], None
    for one in found:
        try:
            made.append(
                _shortened(G, calibrated(G, one, scorer, against=against, classes=classes), scorer, against, classes)
            )
        except DirectionError as failure:
            problem = failure
    if not made and problem is not None:
        raise problem
    return tuple(made)


def channel_reach(G: Generator, direction: Direction, *, samples: int = 512, classes: Classes | None = None) -> float:
    """The strength at which ``direction`` in s leaves what holds up, in its units.

    See ``channel_limit``.
    """
    found = style_deviations(G, samples=samples, classes=classes)
    steps = 0.0
    for name, part in direction.named_tensors().items():
        deviations = found[name.removeprefix("s.")]
        steps += float(
            (part.double().cpu() / deviations.clamp(min=1e-9 * float(deviations.max()) or 1e-9)).square().sum()
        )
    return channel_limit(G) / max(steps**0.5, 1e-300)


def channel_limit(G: Generator) -> float:
    """How far an edit in s may go, in deviations of its channels: square root over the sum of squares.

    Samples lie sqrt(D) from their mean in deviations of D independent channels; s has no more of those than w has
    dimensions. On the bundled generator single channels and groups of twenty held up to 0.8 of that and broke at 1.6.
    """
    return max(3.0, _SHARE * min(G.spec.w_dim, sum(style_widths(G).values())) ** 0.5)


def style_deviations(G: Generator, *, samples: int = 512, classes: Classes | None = None) -> dict[str, Tensor]:
    """Layer of s -> standard deviation of each channel over samples [C], float64 on the CPU."""
    codes = styles(G, sample_w(G, range(samples), classes=classes)).styles
    return {name: part.detach().double().cpu().std(0) for name, part in codes.items()}


def _shortened(
    G: Generator, one: Direction, scorer: Scorer, against: score.Baseline, classes: Classes | None
) -> Direction:
    """``one`` within its channels' reach, in units over what is left. Raises DirectionError for next to nothing."""
    limit = channel_reach(G, one, classes=classes) if one.space == "s" else math.inf
    if limit >= one.strength[1]:
        return one
    options = {"against": against, "samples": 32, "seed": 400_000, "classes": classes, "strengths": (-limit, limit)}
    # Its sign counts as well: what rises within reach may fall beyond, where a unit was measured.
    effect = counted(score.measure(G, one, [scorer], **options), scorer.name)  # type: ignore[arg-type]
    high = math.floor(10 * limit * abs(effect) + 1e-6) / 10
    if high < _LEAST:
        raise DirectionError(
            f"{one.name!r} moves {scorer.name} by less than {_LEAST} standard deviations before pictures break; "
            "take more channels, or another layer"
        )
    vector = {name.removeprefix("s."): part / effect for name, part in one.named_tensors().items()}
    return replace(one, vector=vector, strength=(-high, high))


def check_counts(channels: int, count: int) -> None:
    """Raises DirectionError below 1."""
    if channels < 1 or count < 1:
        raise DirectionError(f"channels and count are at least 1, got {channels} and {count}")


def ranged(G: Generator, direction: Direction, classes: Classes | None) -> Direction:
    """With the range that the space and, in s, the channels allow, in the units it has."""
    high = reachable(G, direction, classes=classes)
    if direction.space == "s":
        high = min(high, channel_reach(G, direction, classes=classes))
    return replace(direction, strength=(-high, high))

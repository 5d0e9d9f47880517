"""What a rebuild combines: boundaries and components in w+, gradients in s, each on early, middle and late layers.

Every candidate comes with its length in Q, the Gram matrix of ``directions.combining``: 1 is a standard deviation of
what it moves, and ``Bars.reach`` is how far an edit may go, in w+ and in s alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from directions.attributes import Scorer
from directions.bank import SampleBank
from directions.bars import Bars
from directions.boundary import LinearSVM, fit
from directions.channels import channel_limit, style_deviations
from directions.ganspace import Components, direction
from directions.labels import Labelled
from directions.spaces import Where, assembled, features, styles
from directions.style_gradient import mean_gradients
from editkit.direction import PLACEMENT_LAYER, Direction
from editkit.errors import DirectionError
from editkit.sampling import sample_w

if TYPE_CHECKING:
    from editkit.generator import Generator


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


def gradient_candidates(G: Generator, scorers: Sequence[Scorer], *, samples: int = 64) -> list[Direction]:
    """Every score's mean gradient over s in deviations, on an early, a middle and a late range of layers.

    All have the length 1. Raises DirectionError: a generator without StyleSpace, or a scorer without a gradient.
    """
    codes = styles(G, sample_w(G, range(samples)))
    scale = {name: part for name, part in style_deviations(G).items() if name != PLACEMENT_LAYER}
    names = list(scale)
    gradients = mean_gradients(G, codes, tuple(scorers), names)  # [scorers, D]
    unit = channel_limit(G) / Bars().reach  # deviations over all channels
    made: list[Direction] = []
    for scorer, row in zip(scorers, gradients, strict=True):
        parts = dict(zip(names, row.split([len(scale[name]) for name in names]), strict=True))
        for layers in torch.arange(len(names)).tensor_split(3):
            steps = {names[i]: parts[names[i]] * scale[names[i]] for i in layers.tolist()}  # in deviations
            length = float(sum((part.square().sum() for part in steps.values()), torch.zeros(()))) ** 0.5
            if length > 0:
                vector = {name: (unit / length * part * scale[name]).float() for name, part in steps.items()}
                made.append(
                    Direction(name=scorer.name, vector=vector, space="s", generator=G.spec.id, method="style gradient")
                )
    return made


def gram_matrix(G: Generator, candidates: Sequence[Direction], deviation: float) -> Tensor:
    """Q [candidates, candidates].

    In w+: inner products over the edited rows' number times ``deviation`` of w squared. In s: inner products in
    deviations of the channels, over the square of how many of those go as far as one standard deviation of w.
    """
    if candidates[0].space == "s":
        scale = style_deviations(G)
        least = 1e-9 * max(float(part.max()) for part in scale.values())
        flat = torch.stack([_steps(one, scale, least) for one in candidates]) * (Bars().reach / channel_limit(G))
        return flat @ flat.T
    stacked = torch.stack([one.named_tensors()["w+"] for one in candidates]).double()  # [candidates, rows, w_dim]
    edited = max(1, int((stacked != 0).any(2).any(0).sum()))
    flat = stacked.flatten(1) / deviation
    return flat @ flat.T / edited


def _steps(one: Direction, scale: dict[str, Tensor], least: float) -> Tensor:
    """A direction in s as deviations of all channels [D]."""
    parts = one.named_tensors()
    found = {name: parts.get(f"s.{name}", torch.zeros_like(part)).double().cpu() for name, part in scale.items()}
    return torch.cat([found[name] / part.clamp(min=least) for name, part in scale.items()])

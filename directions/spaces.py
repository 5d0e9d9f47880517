"""Latents as rows of numbers for statistics, and vectors of numbers as directions: one place for w, w+ and s.

Convention: features are float64 [N, D] on the CPU. ``w`` takes a sample's one row, ``w+`` the chosen rows one after
the other, ``s`` the chosen layers one after the other (by default all but the placement).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from editkit.direction import PLACEMENT_LAYER, Direction
from editkit.errors import DirectionError, LatentError
from editkit.latent import Latent
from editkit.layers import checked_names, checked_rows

if TYPE_CHECKING:
    from editkit.generator import Generator

Space = Literal["w", "w+", "s"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Where:
    """A space and the part of it that is looked at.

    Attributes:
        space: "w", "w+" or "s".
        layers: rows of W+ (in s: names of layers); None for all, in s for all but the placement. In w they limit the
            direction, not what is looked at.
    """

    space: Space = "w"
    layers: tuple[int, ...] | tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.space not in ("w", "w+", "s"):
            raise DirectionError(f"directions are found in w, w+ or s, got {self.space!r}")
        if self.layers is not None:
            object.__setattr__(self, "layers", tuple(self.layers))
            if not self.layers:
                raise DirectionError("no layers were chosen; leave them out for all")


def features(G: Generator, latents: Latent, where: Where) -> Tensor:
    """Latents in w or w+ (s goes with s) -> [N, D]. Raises DirectionError for rows that differ in w, or bad layers."""
    if where.space == "s":
        codes = styles(G, latents)
        return torch.cat([codes.styles[name].detach().cpu().double() for name in _names(codes, where)], dim=1)
    rows = latents.require("w", "w+").check(G.spec).tensor.detach().cpu().double()
    if where.space == "w":
        if latents.space == "w+" and not bool((rows == rows[:, :1]).all()):
            raise DirectionError("these latents are in w+, with rows of their own; look for a direction in w+ or s")
        return rows[:, 0]
    return rows[:, _rows(G, where)].flatten(1)


def assembled(G: Generator, vector: Tensor, where: Where, **options: Any) -> Direction:
    """The direction whose features are ``vector`` [D]; ``options`` are those of ``Direction``."""
    made: Any = {"generator": G.spec.id, **options}
    if where.space == "w":
        whole = Direction(vector=vector.float(), space="w", **made)
        return whole if where.layers is None else whole.on_layers(where.layers, num_ws=G.spec.num_ws)
    if where.space == "w+":
        chosen = _rows(G, where)
        rows = torch.zeros(G.spec.num_ws, G.spec.w_dim)
        rows[chosen] = vector.float().reshape(len(chosen), G.spec.w_dim)
        return Direction(vector=rows, space="w+", **made)
    widths = style_widths(G)
    names = list(widths) if where.layers is None else checked_names(where.layers, widths)
    names = [name for name in names if where.layers is not None or name != PLACEMENT_LAYER]
    parts = dict(zip(names, vector.float().split([widths[name] for name in names]), strict=True))
    return Direction(vector={name: part for name, part in parts.items() if bool((part != 0).any())}, space="s", **made)


def styles(G: Generator, latents: Latent) -> Latent:
    """Latents in s. Raises DirectionError for a generator that has no such space."""
    if latents.space == "s":
        return latents.check(G.spec)
    make = getattr(G, "styles", None)
    if make is None:
        raise DirectionError(f"{G.spec.name!r} has no StyleSpace; look in w or w+")
    with torch.no_grad():
        found: Latent = make(latents)
    return found


def style_widths(G: Generator) -> dict[str, int]:
    """Channels of each layer of s, in order."""
    centre = G.w_avg.expand(1, G.spec.num_ws, -1)
    codes = styles(G, Latent(space="w", codes=centre, generator=G.spec.id, parent=G.spec.parent_id))
    return {name: part.shape[1] for name, part in codes.styles.items()}


def in_space(G: Generator, latents: Latent, direction: Direction) -> Latent:
    """``latents`` as an edit along ``direction`` needs them: in s for one in s."""
    return styles(G, latents) if direction.space == "s" and latents.space != "s" else latents


def _rows(G: Generator, where: Where) -> list[int]:
    try:
        return checked_rows(where.layers, G.spec.num_ws) if where.layers is not None else list(range(G.spec.num_ws))
    except LatentError as problem:
        raise DirectionError(str(problem)) from problem


def _names(codes: Latent, where: Where) -> Sequence[str]:
    if where.layers is None:
        return [name for name in codes.styles if name != PLACEMENT_LAYER]
    try:
        return checked_names(where.layers, codes.styles)
    except LatentError as problem:
        raise DirectionError(str(problem)) from problem

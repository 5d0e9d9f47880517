"""How styles follow from w: one affine map a layer, s = A w + b, of which the matrices A are read here.

They are read off the generator's own styles, as differences from those of w = 0, so any generator that has styles will
do, whatever its layers are called.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from editkit.direction import PLACEMENT_LAYER, Direction
from editkit.edits import as_styles
from editkit.errors import DirectionError, LatentError
from editkit.latent import Latent
from editkit.layers import checked_rows

if TYPE_CHECKING:
    from editkit.generator import Generator


_EXACT = 1e-4  # share of a step in s that may be missing


def style_matrices(G: Generator) -> dict[str, Tensor]:
    """Layer -> A [C, w_dim], float64 on the CPU, in the generator's order.

    Raises DirectionError where it has no StyleSpace, or a matrix holds NaN.
    """
    units = torch.cat([torch.zeros(1, G.spec.w_dim), torch.eye(G.spec.w_dim)])
    codes = units.to(G.device)[:, None].expand(-1, G.spec.num_ws, -1)  # [1 + w_dim, num_ws, w_dim]
    try:
        with torch.no_grad():
            found = as_styles(Latent(space="w", codes=codes, generator=G.spec.id), G).styles
    except LatentError as problem:
        raise DirectionError(str(problem)) from problem
    matrices = {name: (s[1:] - s[:1]).T.double().cpu() for name, s in found.items()}
    for name, matrix in matrices.items():
        if not bool(torch.isfinite(matrix).all()):
            raise DirectionError(f"the styles of layer {name!r} of {G.spec.name!r} are NaN; its weights are damaged")
    return matrices


def style_rows(G: Generator) -> dict[str, int]:
    """Layer of s -> the row of W+ that drives it. Raises DirectionError where the generator has no StyleSpace."""
    rows: dict[str, int] | None = getattr(G, "style_rows", None)
    if rows is None:
        raise DirectionError(f"{G.spec.name!r} has no StyleSpace; look in w or w+")
    return rows


def content_rows(G: Generator, rows: Sequence[int] | None) -> list[int]:
    """``rows`` checked; by default all but the one that drives a learned placement. Raises DirectionError."""
    if rows is None:
        placement = style_rows(G).get(PLACEMENT_LAYER)
        return [row for row in range(G.spec.num_ws) if row != placement]
    try:
        found = sorted(set(checked_rows(rows, G.spec.num_ws)))
    except LatentError as problem:
        raise DirectionError(str(problem)) from problem
    if not found:
        raise DirectionError("no layers were chosen; leave them out for all")
    return found


def in_rows(G: Generator, direction: Direction) -> Direction | None:
    """A direction in s as the one in w+ that changes styles in the same way; None where no step of w+ does so exactly.

    A row of W+ reaches every style of the layers it drives as long as these have no more channels, taken together, than
    w has dimensions; of those steps the shortest is taken (pseudo-inverse). Edits and pictures are the same, and a
    latent in w+ stays there.

    Raises DirectionError: a generator without StyleSpace.
    """
    matrices, rows = style_matrices(G), style_rows(G)
    steps = {name.removeprefix("s."): part.detach().double().cpu() for name, part in direction.named_tensors().items()}
    vector = torch.zeros(G.spec.num_ws, G.spec.w_dim, dtype=torch.float64)
    for row in sorted({rows[name] for name in steps}):
        driven = [name for name, by in rows.items() if by == row]
        matrix = torch.cat([matrices[name] for name in driven])  # [sum C, w_dim]
        wanted = torch.cat([steps.get(name, torch.zeros(len(matrices[name]), dtype=torch.float64)) for name in driven])
        vector[row] = torch.linalg.lstsq(matrix, wanted[:, None], driver="gelsd").solution[:, 0]
        if float((matrix @ vector[row] - wanted).norm()) > _EXACT * float(wanted.norm()):
            return None
    return replace(direction, vector=vector.float(), space="w+")

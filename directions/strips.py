"""Strips: what a direction does, as a picture. A row a sample, a column a strength."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from editkit.direction import Direction
from editkit.edits import Edit, apply_edits
from editkit.latent import Latent
from editkit.rendering import image_grid, render

if TYPE_CHECKING:
    from editkit.generator import Generator


def strip(G: Generator, direction: Direction, latents: Latent, *, steps: int | Sequence[float] = 5) -> Tensor:
    """Pictures of ``latents`` along ``direction`` -> [3, N R + padding, steps R + padding] in [-1, 1].

    ``steps`` strengths over the direction's range, or the strengths themselves. Raises what ``render`` raises.
    """
    strengths = torch.linspace(*direction.strength, steps).tolist() if isinstance(steps, int) else list(steps)
    columns = [render(G, apply_edits(latents, Edit(direction, strength), generator=G)) for strength in strengths]
    pictures = torch.stack(columns, dim=1).flatten(0, 1)  # [N * steps, 3, R, R], a row a sample
    return image_grid(pictures, columns=len(strengths), padding=2)

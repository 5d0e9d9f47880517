"""Latents to pictures.

Convention: images are float32 [N, 3, R, R] RGB in [-1, 1]; a grid is [3, H, W], filled row by row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from editkit.errors import UsageError
from editkit.latent import Latent
from editkit.transform import Transform

if TYPE_CHECKING:
    from editkit.generator import Generator


def render(
    G: Generator,
    latent: Latent,
    *,
    transform: Transform | None = None,
    batch: int = 8,
    alpha: bool = False,
    on_progress: Callable[[int, int], object] | None = None,
) -> Tensor:
    """Pictures of ``latent`` in batches, without gradients: float32 [N, 3, R, R] on the CPU.

    One latent goes with several transforms and the other way round. ``on_progress(done, total)`` is called after each
    batch. The result does not depend on ``batch``. ``alpha``: of a generator that makes it, pictures keep it,
    [N, 4, R, R] (see ``editkit.colour``); otherwise they stand on white.

    Raises:
        GeneratorMismatchError: the latent belongs to another generator.
        LatentError: a Z latent (map it first), or one with NaN values.
        UsageError: ``batch`` below 1, or as many latents as transforms is not the case.
    """
    if batch < 1:
        raise UsageError(f"batch is at least 1, got {batch}")
    latent.require("w", "w+", "s").check(G.spec).check_finite()
    total = len(latent) if transform is None else max(len(latent), len(transform))
    if len(latent) not in (1, total):
        raise UsageError(f"{len(latent)} latents do not go with {total} transforms; give one, or as many of each")
    placed = None if transform is None else transform.expand(total)
    pictures = []
    synthesize = getattr(G, "synthesize_channels", G.synthesize) if alpha and G.spec.channels == 4 else G.synthesize
    with torch.no_grad():
        for start in range(0, total, batch):
            stop = min(start + batch, total)
            part = latent[start:stop] if len(latent) == total else latent[[0] * (stop - start)]
            where = None if placed is None else placed[start:stop]
            pictures.append(synthesize(part.to(G.device), transform=where).float().cpu())
            if on_progress is not None:
                on_progress(stop, total)
    return torch.cat(pictures)


def image_grid(images: Tensor, *, columns: int | None = None, padding: int = 0, background: float = 1.0) -> Tensor:
    """Pictures [N, C, H, W] side by side -> [C, rows (H + padding) + padding, columns (W + padding) + padding].

    ``columns`` defaults to a square grid; ``padding`` in pixels is around every picture, filled with ``background``,
    as are empty places (1 is white). Raises UsageError.
    """
    if images.ndim != 4 or not images.numel():
        raise UsageError(f"a grid needs images [N, C, H, W], got {list(images.shape)}")
    count, channels, height, width = images.shape
    columns = math.ceil(math.sqrt(count)) if columns is None else columns
    if columns < 1 or padding < 0:
        raise UsageError(f"a grid needs columns >= 1 and padding >= 0, got {columns} and {padding}")
    rows, step_y, step_x = math.ceil(count / columns), height + padding, width + padding
    grid = images.new_full((channels, rows * step_y + padding, columns * step_x + padding), background)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        y, x = padding + row * step_y, padding + column * step_x
        grid[:, y : y + height, x : x + width] = image
    return grid

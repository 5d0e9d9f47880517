"""Augmentation at full strength that leaves the generator's pictures as they are: colour, translation and cutout.

Source: Zhao et al. 2020, "Differentiable Augmentation for Data-Efficient GAN Training", section 3.2 and appendix: all
that the discriminator sees goes through it, always, so there is no strength to adapt. Projected GANs use it (Sauer et
al. 2021, section 4). With ``train.augment`` the picture may be turned and stretched too; the frozen features of a
projected discriminator were made for upright pictures, so this is the default there.

Convention: images are [N, C, H, W] in [-1, 1], C of 1, 3 or more; further channels take part in all but colour.
"""

from __future__ import annotations

import torch
from torch import Tensor

from editkit.errors import UsageError
from train.streams import Source

SHIFT = 1 / 8  # of the side, at most; what comes in is grey
CUT = 1 / 2  # of the side


def diff_augment(images: Tensor, source: Source) -> Tensor:
    """Images [N, C, H, W] to augmented ones of the same shape; differentiable, twice.

    source: of random numbers, see ``train.streams``; draws for N samples. Raises UsageError for another shape.
    """
    if images.ndim != 4 or not images.is_floating_point() or images.shape[1] == 2 or min(images.shape[2:]) < 2:
        raise UsageError(
            "augmentation takes floating images [N, C, H, W] of 1, 3 or more channels and 2 pixels a side or more, "
            f"got {images.dtype} {tuple(images.shape)}"
        )
    return _cut(_shifted(_coloured(images, source), source), source)


def _coloured(images: Tensor, source: Source) -> Tensor:
    """Brightness by up to 0.5 either way, saturation from 0 to 2, contrast from 0.5 to 1.5."""
    count = len(images)
    drawn = [source.uniform(f"diff/{name}", count).to(images)[:, :, None, None] for name in ("b", "s", "c")]
    colour, rest = images[:, :3], images[:, 3:]
    colour = colour + (drawn[0] - 0.5)
    grey = colour.mean(1, keepdim=True)
    colour = (colour - grey) * (2 * drawn[1]) + grey
    mean = colour.mean((1, 2, 3), keepdim=True)
    colour = (colour - mean) * (drawn[2] + 0.5) + mean
    return torch.cat([colour, rest], 1)


def _shifted(images: Tensor, source: Source) -> Tensor:
    """Moved by whole pixels, up to ``SHIFT`` of the side."""
    count, _, height, width = images.shape
    drawn = source.uniform("diff/shift", count, 2)
    rows, inside_rows = _moved(drawn[:, 0], height)
    columns, inside_columns = _moved(drawn[:, 1], width)
    places = (rows[:, :, None] * width + columns[:, None, :]).flatten(1).to(images.device)  # [N, H W]
    picked = images.flatten(2).gather(2, places[:, None].expand(-1, images.shape[1], -1)).view_as(images)
    return picked * (inside_rows[:, :, None] & inside_columns[:, None, :])[:, None].to(images)


def _moved(drawn: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """For every place [N, side] where its pixel comes from, and whether that lies in the picture."""
    most = int(side * SHIFT + 0.5)
    shift = (drawn * (2 * most + 1)).floor().long() - most
    came = torch.arange(side)[None] - shift[:, None]
    return came.clamp(0, side - 1), (came >= 0) & (came < side)


def _cut(images: Tensor, source: Source) -> Tensor:
    """A grey box of ``CUT`` of the sides, its centre anywhere in the picture."""
    count, _, height, width = images.shape
    drawn = source.uniform("diff/cut", count, 2)
    kept = []
    for centre, side in ((drawn[:, 0], height), (drawn[:, 1], width)):
        size = max(int(side * CUT + 0.5), 1)
        first = (centre * side).floor().long()[:, None] - size // 2
        place = torch.arange(side)[None]
        kept.append((place < first) | (place >= first + size))  # [N, side]
    return images * (kept[0][:, :, None] | kept[1][:, None, :])[:, None].to(images)

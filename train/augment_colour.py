"""Colour augmentation: one affine map of the RGB cube a sample.

Source: Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", appendix B.3.

Convention: matrices [N, 4, 4] float64 map (r, g, b, 1), from the left. Luma is the grey diagonal of the cube.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from train.streams import Source

if TYPE_CHECKING:
    from train.augment import AugmentOptions

_LUMA = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64) / math.sqrt(3)


def colour_matrices(o: AugmentOptions, shape: torch.Size, *, strength: float, source: Source) -> Tensor | None:
    """[N, 4, 4]; None where all colour transformations are off. Grey pictures have neither hue nor saturation."""
    count, grey = shape[0], shape[1] == 1
    matrix = torch.eye(4, dtype=torch.float64).expand(count, 4, 4)
    along = torch.outer(_LUMA, _LUMA)  # the part of a colour that is luma
    eye = torch.eye(4, dtype=torch.float64)

    def chosen(name: str, multiplier: float, value: Tensor, neutral: float) -> Tensor:
        happens = source.uniform(f"{name}?", count)[:, 0] < strength * multiplier
        return torch.where(happens, value[:, 0].double(), neutral)

    if o.brightness > 0:
        added = chosen("brightness", o.brightness, source.normal("brightness", count) * o.brightness_std, 0)
        shift = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
        shift[:, :3, 3] = added[:, None]
        matrix = shift @ matrix
    if o.contrast > 0:
        factor = chosen("contrast", o.contrast, torch.exp2(source.normal("contrast", count) * o.contrast_std), 1)
        matrix = torch.diag_embed(torch.stack([factor, factor, factor, torch.ones_like(factor)], 1)) @ matrix
    if o.lumaflip > 0:
        flip = chosen("lumaflip", o.lumaflip, (source.uniform("lumaflip", count) * 2).floor(), 0)
        matrix = (eye - 2 * flip[:, None, None] * along) @ matrix
    if o.hue > 0 and not grey:
        angle = chosen("hue", o.hue, (source.uniform("hue", count) * 2 - 1) * math.pi * o.hue_max, 0)
        matrix = _about_luma(angle) @ matrix
    if o.saturation > 0 and not grey:
        factor = torch.exp2(source.normal("saturation", count) * o.saturation_std)
        factor = chosen("saturation", o.saturation, factor, 1)
        matrix = (along + (eye - along) * factor[:, None, None]) @ matrix
    off = max(o.brightness, o.contrast, o.lumaflip, *((0.0,) if grey else (o.hue, o.saturation))) == 0
    return None if off else matrix


def transform_colours(images: Tensor, matrix: Tensor) -> Tensor:
    """[N, C, H, W] by ``matrix`` [N, 4, 4]. Of grey pictures the mean of the channels; those beyond RGB stay."""
    matrix = matrix.to(images.device, images.dtype)
    n, channels, height, width = images.shape
    if channels == 1:
        row = matrix[:, :3].mean(1)  # [N, 4]
        return images * row[:, :3].sum(1).view(n, 1, 1, 1) + row[:, 3].view(n, 1, 1, 1)
    colours = matrix[:, :3, :3] @ images[:, :3].reshape(n, 3, -1) + matrix[:, :3, 3:]
    colours = colours.view(n, 3, height, width)
    return colours if channels == 3 else torch.cat([colours, images[:, 3:]], 1)


def _about_luma(angle: Tensor) -> Tensor:
    """Rotations about the grey axis, [N, 4, 4] (Rodrigues)."""
    x, y, z = _LUMA[:3].tolist()
    cross = torch.zeros(4, 4, dtype=torch.float64)
    cross[:3, :3] = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=torch.float64)
    along = torch.outer(_LUMA, _LUMA)
    space = torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64))
    last = torch.eye(4, dtype=torch.float64) - space
    c, s = angle.cos().view(-1, 1, 1), angle.sin().view(-1, 1, 1)
    return c * space + (1 - c) * along + s * cross + last

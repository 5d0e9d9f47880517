"""Pixel blitting and geometric augmentation: one resampling for all of them.

Source: Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", appendix B.1 and B.2. The
picture is upsampled twofold with the orthogonal low-pass filter of the symlet sym6 (Daubechies 1992, section 8.1),
sampled bilinearly and downsampled with the same filter mirrored: an unmoved picture comes back exactly.

Convention: matrices [N, 3, 3] float64 map centred OUTPUT pixels to centred INPUT pixels; columns are (x, y, 1).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from editkit.ops.filters import setup_filter
from editkit.ops.upfirdn2d import downsample2d, upsample2d
from train.resampling import sample_bilinear
from train.streams import Source

if TYPE_CHECKING:
    from train.augment import AugmentOptions

SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633, 0.4910559419267466,
    0.787641141030194, 0.3379294217276218, -0.07263752278646252, -0.021060292512300564, 0.04472490177066578,
    0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
_REACH = len(SYM6) // 4  # pixels of the picture that half the filter covers at the double rate


def placement_matrices(o: AugmentOptions, shape: torch.Size, *, strength: float, source: Source) -> Tensor | None:
    """Where every output pixel takes its content from, [N, 3, 3]; None where all these transformations are off."""
    count, height, width = shape[0], shape[2], shape[3]
    matrix = torch.eye(3, dtype=torch.float64).expand(count, 3, 3)
    size = torch.tensor([width, height], dtype=torch.float64)

    def happens(name: str, probability: float) -> Tensor:
        return source.uniform(f"{name}?", count)[:, 0] < probability

    def chosen(name: str, probability: float, value: Tensor, neutral: float) -> Tensor:
        mask = happens(name, probability)
        return torch.where(mask.view(-1, *[1] * (value.ndim - 1)), value.double(), neutral)

    if o.xflip > 0:
        flip = (source.uniform("xflip", count)[:, 0] * 2).floor()
        matrix = matrix @ _scale(1 - 2 * chosen("xflip", strength * o.xflip, flip, 0), torch.ones(count))
    if o.rotate90 > 0:
        quarters = (source.uniform("rotate90", count)[:, 0] * 4).floor()
        matrix = matrix @ _rotate(chosen("rotate90", strength * o.rotate90, quarters, 0) * (math.pi / 2))
    if o.xint > 0:
        shift = (source.uniform("xint", count, 2) * 2 - 1) * o.xint_max
        matrix = matrix @ _translate(-(chosen("xint", strength * o.xint, shift, 0) * size).round())
    if o.scale > 0:
        factor = torch.exp2(source.normal("scale", count)[:, 0] * o.scale_std)
        factor = chosen("scale", strength * o.scale, factor, 1)
        matrix = matrix @ _scale(1 / factor, 1 / factor)
    # Turned before and after the stretch, each with a probability that makes either happen with that of the option.
    once = 1 - math.sqrt(max(1 - strength * o.rotate, 0))
    if o.rotate > 0:
        matrix = matrix @ _rotate(chosen("rotate", once, _angle(o, source, "rotate", count), 0))
    if o.aniso > 0:
        factor = torch.exp2(source.normal("aniso", count)[:, 0] * o.aniso_std)
        factor = chosen("aniso", strength * o.aniso, factor, 1)
        matrix = matrix @ _scale(1 / factor, factor)
    if o.rotate > 0:
        matrix = matrix @ _rotate(chosen("rotate_after", once, _angle(o, source, "rotate_after", count), 0))
    if o.xfrac > 0:
        shift = source.normal("xfrac", count, 2) * o.xfrac_std
        matrix = matrix @ _translate(-chosen("xfrac", strength * o.xfrac, shift, 0) * size)
    off = max(o.xflip, o.rotate90, o.xint, o.scale, o.rotate, o.aniso, o.xfrac) == 0
    return None if off else matrix


def place(images: Tensor, matrix: Tensor) -> Tensor:
    """[N, C, H, W] resampled by ``matrix`` [N, 3, 3]; beyond its edge the picture is mirrored."""
    height, width = images.shape[2:]
    left, top, right, bottom = _margins(matrix, width, height)
    images = functional.pad(images, (left, right, top, bottom), mode="reflect")
    taps = setup_filter(SYM6).to(images.device)
    images = upsample2d(images, taps, up=2)
    # The padded picture's own centre, and the double rate.
    matrix = _translate(torch.tensor([[(left - right) / 2, (top - bottom) / 2]], dtype=torch.float64)) @ matrix
    # sym6 is not symmetric: it leaves the picture half a sample of the double rate off.
    half = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    two = torch.full((1,), 2.0)
    matrix = _translate(-half) @ _scale(two, two) @ matrix @ _scale(1 / two, 1 / two) @ _translate(half)
    out = torch.tensor([2.0 * (width + 2 * _REACH), 2.0 * (height + 2 * _REACH)], dtype=torch.float64)
    into = torch.tensor([images.shape[3], images.shape[2]], dtype=torch.float64)
    matrix = _scale(*(2 / into).view(2, 1)) @ matrix @ _scale(*(out / 2).view(2, 1))  # to the coordinates of a grid
    grid = functional.affine_grid(
        matrix[:, :2].to(images.device, images.dtype),
        [len(images), images.shape[1], int(out[1]), int(out[0])],
        align_corners=False,
    )
    images = sample_bilinear(images, grid)
    return downsample2d(images, taps, down=2, padding=-2 * _REACH, flip_filter=True)


def _margins(matrix: Tensor, width: int, height: int) -> tuple[int, int, int, int]:
    """Pixels (left, top, right, bottom) beyond the picture that the batch reaches; mirrors end at its size less one."""
    x, y = (width - 1) / 2, (height - 1) / 2
    corners = torch.tensor([[-x, x, x, -x], [-y, -y, y, y], [1, 1, 1, 1]], dtype=torch.float64)
    reached = (matrix @ corners)[:, :2].transpose(0, 1).flatten(1)  # [2, 4 N]
    half = torch.tensor([x, y], dtype=torch.float64)
    beyond = torch.cat([-reached.amin(1), reached.amax(1)]) - half.repeat(2) + 2 * _REACH
    limit = torch.tensor([width - 1, height - 1] * 2, dtype=torch.float64)
    left, top, right, bottom = (int(v) for v in torch.minimum(beyond.clamp_min(0), limit).ceil().tolist())
    return left, top, right, bottom


def _angle(o: AugmentOptions, source: Source, name: str, count: int) -> Tensor:
    return (source.uniform(name, count)[:, 0] * 2 - 1) * math.pi * o.rotate_max


def _rotate(angle: Tensor) -> Tensor:
    c, s, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    return torch.stack([c, -s, zero, s, c, zero, zero, zero, one], 1).view(-1, 3, 3)


def _scale(x: Tensor, y: Tensor) -> Tensor:
    return torch.diag_embed(torch.stack([x.double(), y.double(), torch.ones(len(x), dtype=torch.float64)], 1))


def _translate(shift: Tensor) -> Tensor:
    matrix = torch.eye(3, dtype=torch.float64).repeat(len(shift), 1, 1)
    matrix[:, :2, 2] = shift
    return matrix

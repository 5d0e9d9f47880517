"""The operators that equivariance is measured with: moving and turning pictures without aliasing.

Source: Karras et al. 2021, "Alias-Free Generative Adversarial Networks", appendix E.1 (integer and fractional
translation), E.3 (rotation R and pseudo-rotation R*; the filter that keeps what both pictures can hold: two oriented
sinc responses convolved, windowed by two oriented Lanczos windows convolved).

Convention: pictures are [N, C, H, W]. Content moves by +t, in fractions of its width and height; angles are radians,
counter-clockwise as seen. Every operator gives the picture and a mask [N, C, H, W] of 0 and 1: where it is valid.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from editkit.ops.upfirdn2d import upfirdn2d


def lanczos_window(x: Tensor, a: float) -> Tensor:
    """sinc(x / a) within |x| < a, else 0."""
    return torch.where(x.abs() < a, torch.sinc(x / a), torch.zeros_like(x))


def translate_integer(x: Tensor, tx: float, ty: float) -> tuple[Tensor, Tensor]:
    """Moved by whole pixels, the nearest to (tx, ty); what comes in is 0."""
    height, width = x.shape[2:]
    dx, dy = round(tx * width), round(ty * height)
    moved, mask = torch.zeros_like(x), torch.zeros_like(x)
    if abs(dx) < width and abs(dy) < height:
        into = (..., slice(max(dy, 0), height + min(dy, 0)), slice(max(dx, 0), width + min(dx, 0)))
        out_of = (..., slice(max(-dy, 0), height + min(-dy, 0)), slice(max(-dx, 0), width + min(-dx, 0)))
        moved[into] = x[out_of]
        mask[into] = 1
    return moved, mask


def translate_fractional(x: Tensor, tx: float, ty: float, *, a: int = 3) -> tuple[Tensor, Tensor]:
    """Moved by any distance with Lanczos filters of ``a`` lobes; outside the picture is 0 and not valid."""
    height, width = x.shape[2:]
    rows, rows_valid = _interpolation(height, ty * height, a, x)
    columns, columns_valid = _interpolation(width, tx * width, a, x)
    moved = rows @ x @ columns.T
    mask = (rows_valid[:, None] * columns_valid[None]).expand_as(x)
    return moved, mask


def _interpolation(size: int, shift: float, a: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """The matrix [size, size] that moves a signal by ``shift`` samples, and where all its taps lie on the signal."""
    position = torch.arange(size, dtype=torch.float64)
    distance = position[:, None] - shift - position[None]  # from the place that is looked up to each sample
    whole = math.floor(shift)
    lobes = torch.arange(-a, a + 1, dtype=torch.float64) + (shift - whole)
    gain = (torch.sinc(lobes) * lanczos_window(lobes, a)).sum()  # a constant stays a constant
    taps = torch.sinc(distance) * lanczos_window(distance, a) / gain
    first = position - whole - a  # the first of the 2 a samples that a fractional shift takes
    valid = (first >= 0) & (first + 2 * a <= size)
    return taps.to(like), valid.to(like)


def rotation_matrix(angle: float) -> Tensor:
    """[3, 3] float32, a turn by ``angle``, counter-clockwise as seen: y points down."""
    matrix = torch.eye(3)
    matrix[0, 0] = matrix[1, 1] = math.cos(angle)
    matrix[0, 1], matrix[1, 0] = math.sin(angle), -math.sin(angle)
    return matrix


def bandlimit_filter(
    matrix: Tensor, *, a: int = 3, reach: int = 16, support: int = 64, up: int = 4, cutoff_in: float = 1.0,
    cutoff_out: float = 1.0,
) -> Tensor:  # fmt: skip
    """Taps [T, T], T = 2 reach up - 1, of a low-pass filter for ``matrix`` [3, 3], at ``up`` times the rate.

    Its response is 1 where both the input's grid and the output's can hold a frequency.

    Args:
        a: lobes of each window; reach: half the filter's width in pixels, from 2 a; support: half the width of the
            plane on which the responses are convolved, above reach.
        cutoff_in, cutoff_out: of the two responses, relative to their Nyquist frequencies.
    """
    # Around 0, which is the first sample, so that a product of transforms is a convolution about it.
    count = 2 * support * up - 1
    positions = (torch.arange(count) + 1).div(up).sub(support).roll(1 - support * up)
    y, x = torch.meshgrid(positions, positions, indexing="ij")
    x_out, y_out = (torch.stack([x, y], 2) @ matrix[:2, :2].float().T).unbind(2)

    def convolved(first: Tensor, second: Tensor) -> Tensor:
        return torch.fft.ifftn(torch.fft.fftn(first) * torch.fft.fftn(second)).real

    response = convolved(
        torch.sinc(x * cutoff_in) * torch.sinc(y * cutoff_in),
        torch.sinc(x_out * cutoff_out) * torch.sinc(y_out * cutoff_out),
    )
    window = convolved(lanczos_window(x, a) * lanczos_window(y, a), lanczos_window(x_out, a) * lanczos_window(y_out, a))
    taps = (response * window).roll([support * up - 1] * 2, dims=[0, 1])
    edge = (support - reach) * up
    taps = taps[edge:-edge, edge:-edge]
    # Every phase adds up to the same: a constant stays a constant.
    phases = functional.pad(taps, [0, 1, 0, 1]).reshape(2 * reach, up, 2 * reach, up)
    phases = phases / phases.sum([0, 2], keepdim=True) / up**2
    return phases.reshape(2 * reach * up, 2 * reach * up)[:-1, :-1]


def transform_affine(
    x: Tensor, matrix: Tensor, *, a: int = 3, reach: int = 16, support: int = 64, up: int = 4
) -> tuple[Tensor, Tensor]:
    """Content moved by ``matrix`` [3, 3] in fractions of the picture about its centre: R of appendix E.3.

    The picture is filtered at ``up`` times its rate by ``bandlimit_filter`` and looked up bilinearly there.
    """
    height, width = x.shape[2:]
    taps = bandlimit_filter(matrix, a=a, reach=reach, support=support, up=up)
    half = len(taps) // 2
    low, high = 2 * half + up // 2, 2 * half - up // 2  # half the filter, and as much again to look up beyond the edge
    plane = upfirdn2d(x, taps.to(x.device), up=up, padding=[low, high, low, high], gain=up**2)
    back = matrix.double().inverse()
    u = (torch.arange(width, dtype=torch.float64) + 0.5) / width - 0.5
    v = (torch.arange(height, dtype=torch.float64) + 0.5) / height - 0.5
    v, u = torch.meshgrid(v, u, indexing="ij")
    found = torch.stack([u, v, torch.ones_like(u)], 2) @ back.T
    sides = torch.tensor([width, height], dtype=torch.float64)
    first = half + up // 2  # where the first pixel lies in the plane
    index = (found[..., :2] * sides + (sides - 1) / 2) * up + first  # [H, W, 2]
    planes = torch.tensor([plane.shape[3], plane.shape[2]], dtype=torch.float64)
    grid = ((index + 0.5) * 2 / planes - 1).to(x).expand(len(x), -1, -1, -1)
    moved = functional.grid_sample(plane, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    nearest = index.round()
    valid = ((nearest > 2 * half) & (nearest < planes - 2 * half - 1)).all(2)
    return moved, valid.to(x).expand_as(x)


def rotate_fractional(x: Tensor, angle: float, *, a: int = 3, support: int = 64, up: int = 4) -> tuple[Tensor, Tensor]:
    """Content turned by ``angle`` radians, counter-clockwise as seen."""
    return transform_affine(x, rotation_matrix(angle), a=a, reach=2 * a, support=support, up=up)


def pseudo_rotate_fractional(x: Tensor, angle: float, *, a: int = 3, support: int = 64) -> tuple[Tensor, Tensor]:
    """R* of appendix E.3: not turned, but filtered as a picture that was turned by ``angle`` on its way here."""
    taps = bandlimit_filter(rotation_matrix(-angle), a=a, reach=2 * a, support=support, up=1)
    half = len(taps) // 2
    mask = torch.zeros_like(x)
    mask[..., half : x.shape[2] - half, half : x.shape[3] - half] = 1
    return upfirdn2d(x, taps.to(x.device), padding=half), mask

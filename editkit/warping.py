"""Resampling a picture under a similarity, once, with a proper low-pass filter.

Convention:
    matrices map OUTPUT pixel coordinates to INPUT pixel coordinates, [3, 3] float64, pixel centres at +0.5. Where the
    picture is only scaled and shifted, this is Lanczos-3 with fractional boxes, the filter the face data set was made
    with. Where it is also rotated, a copy rotated at twice the resolution is Lanczos-reduced.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

_TAPS = 3  # half-width of Lanczos-3, in pixels of the coarser of input and output
# Rows of the photo are padded around the crop by ``pad(image, left, top, right, bottom)``.
Pad = Callable[[Tensor, int, int, int, int], Tensor]


def warp(image: Tensor, out_to_in: Tensor, size: tuple[int, int], *, pad: Pad) -> Tensor:
    """Resample image [1, C, H, W] to [1, C, height, width], ``size`` = (width, height).

    pad fills what lies outside the image; it gets the four margins that the output reaches.
    """
    step = float(torch.linalg.det(out_to_in[:2, :2]).abs().sqrt())  # input pixels an output pixel
    image, out_to_in = _cut(image, out_to_in, size, margin=2 * _TAPS * max(step, 1.0) + 2, pad=pad)
    if float(out_to_in[:2, :2].diagonal().min()) > 0 and abs(float(out_to_in[1, 0])) < 1e-6 * step:
        left, top = out_to_in[:2, 2].tolist()
        return _lanczos(image, size, (left, top, left + size[0] * step, top + size[1] * step))
    if step > 2:  # first to twice the output's resolution, so that the rotation need not filter
        shrunk = (math.ceil(image.shape[3] * 2 / step), math.ceil(image.shape[2] * 2 / step))
        scale = [shrunk[0] / image.shape[3], shrunk[1] / image.shape[2], 1.0]
        image = _lanczos(image, shrunk, (0, 0, image.shape[3], image.shape[2]))
        out_to_in = torch.diag(torch.tensor(scale, dtype=torch.float64)) @ out_to_in
    if step < 0.75:
        return _bicubic(image, out_to_in, size)
    edge = 2 * _TAPS
    finer = torch.tensor([[0.5, 0, -edge / 2], [0, 0.5, -edge / 2], [0, 0, 1]], dtype=torch.float64)
    doubled = _bicubic(image, out_to_in @ finer, (2 * size[0] + 2 * edge, 2 * size[1] + 2 * edge))
    return _lanczos(doubled, size, (edge, edge, edge + 2 * size[0], edge + 2 * size[1]))


def corners(size: tuple[int, int]) -> Tensor:
    """The corners of a (width, height) picture, homogeneous, [3, 4]: top-left, top-right, bottom-right, bottom-left."""
    width, height = size
    return torch.tensor([[0, width, width, 0], [0, 0, height, height], [1, 1, 1, 1]], dtype=torch.float64)


def _cut(image: Tensor, out_to_in: Tensor, size: tuple[int, int], *, margin: float, pad: Pad) -> tuple[Tensor, Tensor]:
    """The part of the image that the output and its filter reach, padded; and the matrix into that part."""
    reached = (out_to_in @ corners(size))[:2]
    left, top = (int(v) for v in (reached.amin(1) - margin).floor().tolist())
    right, bottom = (int(v) for v in (reached.amax(1) + margin).ceil().tolist())
    height, width = image.shape[2:]
    margins = (max(0, -left), max(0, -top), max(0, right - width), max(0, bottom - height))
    if any(margins):
        image = pad(image, *margins)
    left, top, right, bottom = left + margins[0], top + margins[1], right + margins[0], bottom + margins[1]
    shifted = out_to_in.clone()
    shifted[:2, 2] -= torch.tensor([left - margins[0], top - margins[1]], dtype=torch.float64)
    return image[:, :, top:bottom, left:right], shifted


def _lanczos(image: Tensor, size: tuple[int, int], box: tuple[float, float, float, float]) -> Tensor:
    planes = [Image.fromarray(np.ascontiguousarray(plane.numpy())) for plane in image[0].float()]
    resized = [np.asarray(plane.resize(size, Image.Resampling.LANCZOS, box=box)) for plane in planes]
    return torch.from_numpy(np.stack(resized))[None]


def _bicubic(image: Tensor, out_to_in: Tensor, size: tuple[int, int]) -> Tensor:
    height, width = image.shape[2:]
    x = torch.arange(size[0], dtype=torch.float64) + 0.5
    y = torch.arange(size[1], dtype=torch.float64) + 0.5
    m = out_to_in
    columns = m[0, 0] * x[None] + (m[0, 1] * y + m[0, 2])[:, None]
    rows = m[1, 0] * x[None] + (m[1, 1] * y + m[1, 2])[:, None]
    grid = torch.stack((columns / width * 2 - 1, rows / height * 2 - 1), 2).float()[None]
    return functional.grid_sample(image, grid, mode="bicubic", padding_mode="border", align_corners=False)


def pad_edge(image: Tensor, left: int, top: int, right: int, bottom: int) -> Tensor:
    """Repeat the edge pixels outwards."""
    return functional.pad(image, (left, right, top, bottom), mode="replicate")


def pad_faded(image: Tensor, left: int, top: int, right: int, bottom: int) -> Tensor:
    """Mirror the image outwards, ever more blurred: outside are the colours of the photo, but no second face."""
    height, width = image.shape[2:]
    padded = torch.from_numpy(
        np.pad(
            image[0].numpy(),
            ((0, 0), (top, bottom), (left, right)),
            mode="reflect" if min(height, width) > 1 else "edge",
        )
    )[None]
    x = torch.arange(padded.shape[3]) - left
    y = torch.arange(padded.shape[2]) - top
    outside = torch.maximum(
        torch.maximum(-x, x - width + 1).clamp_min(0)[None], torch.maximum(-y, y - height + 1).clamp_min(0)[:, None]
    )
    reach = 0.08 * max(height, width)
    coarse = (
        max(2, padded.shape[2] * 24 // max(padded.shape[2:])),
        max(2, padded.shape[3] * 24 // max(padded.shape[2:])),
    )
    blurred = functional.interpolate(padded, coarse, mode="bilinear", antialias=True, align_corners=False)
    blurred = functional.interpolate(blurred, padded.shape[2:], mode="bicubic", align_corners=False).clamp(-1, 1)
    return padded.lerp(blurred, (outside / reach).clamp(0, 1)[None, None])

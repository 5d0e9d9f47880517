"""Pad, upsample, FIR-filter and downsample a batch of pictures.

Convention: ``x`` is ``[N, C, H, W]``; zeros are inserted (``up``), then the picture is padded (negative: cropped), then
convolved, then every ``down``-th sample is kept. Lists are ``[x, y]``; padding of four is ``[x0, x1, y0, y1]``.
The names follow MATLAB's ``upfirdn``; source of its use here: Karras et al. 2021, section 3.2.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from editkit.ops import polyphase, triton_backend
from editkit.ops.backends import current_backend

Factor = int | Sequence[int]


def parse_factor(value: Factor) -> tuple[int, int]:
    """``n`` or ``[x, y]`` to ``(x, y)``; factors are at least 1."""
    x, y = (value, value) if isinstance(value, int) else value
    if x < 1 or y < 1:
        raise ValueError(f"sampling factors must be at least 1, got {value}")
    return int(x), int(y)


def parse_padding(value: Factor) -> tuple[int, int, int, int]:
    """``p``, ``[x, y]`` or ``[x0, x1, y0, y1]`` to ``(x0, x1, y0, y1)``."""
    values = [value] * 4 if isinstance(value, int) else list(value)
    if len(values) == 2:
        values = [values[0], values[0], values[1], values[1]]
    if len(values) != 4:
        raise ValueError(f"padding must have one, two or four entries, got {value}")
    x0, x1, y0, y1 = (int(v) for v in values)
    return x0, x1, y0, y1


def filter_size(f: Tensor | None) -> tuple[int, int]:
    """(width, height) of a filter in taps; the identity counts as one tap."""
    if f is None:
        return 1, 1
    return f.shape[-1], f.shape[0]


def upfirdn2d(
    x: Tensor,
    f: Tensor | None,
    *,
    up: Factor = 1,
    down: Factor = 1,
    padding: Factor = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
) -> Tensor:
    """Resamples ``x`` with the FIR filter ``f``; differentiable any number of times.

    Args:
        x: ``[N, C, H, W]``, floating.
        f: separable ``[taps]``, two-dimensional ``[height, width]``, or None for the identity.
        up, down: integer factors, ``n`` or ``[x, y]``.
        padding: with respect to the upsampled picture; negative values crop.
        flip_filter: False convolves, True correlates.
        gain: overall 2-D magnitude.

    Raises:
        ValueError: x, the filter or a factor is not as above, or nothing is left of the picture.
    """
    if x.ndim != 4 or not x.is_floating_point():
        raise ValueError(f"upfirdn2d takes floating [N, C, H, W], got {x.dtype} {tuple(x.shape)}")
    up_xy, down_xy, pad = parse_factor(up), parse_factor(down), parse_padding(padding)
    if f is not None and f.ndim not in (1, 2):
        raise ValueError(f"filter must have one or two dimensions, got shape {tuple(f.shape)}")
    taps = filter_size(f)
    for size, axis, low, high in ((x.shape[3], 0, pad[0], pad[1]), (x.shape[2], 1, pad[2], pad[3])):
        if size * up_xy[axis] + low + high < taps[axis]:
            raise ValueError(f"{size} samples, padding {low} and {high}: too small for a filter of {taps[axis]} taps")
    if triton_backend.wanted(x):
        from editkit.ops import triton_upfirdn2d as on_gpu

        return on_gpu.upfirdn2d(x, f, up_xy, down_xy, pad, flip_filter=flip_filter, gain=gain)
    if f is None:
        x = x * torch.tensor(gain, dtype=torch.float32).item() if gain != 1 else x  # rounded as the filters are
    else:
        f = f * gain ** (f.ndim / 2)  # in the filter's own precision, as published checkpoints were trained
        f = f if flip_filter else f.flip(list(range(f.ndim)))
    run = _reference if current_backend() == "reference" else polyphase.upfirdn2d
    return run(x, f, up_xy, down_xy, pad)


def _reference(
    x: Tensor, f: Tensor | None, up: tuple[int, int], down: tuple[int, int], pad: tuple[int, int, int, int]
) -> Tensor:
    """The definition, step by step, zeros and all; ``f`` is in the order in which it meets the samples."""
    n, c, h, w = x.shape
    x = x.reshape(n, c, h, 1, w, 1)
    x = F.pad(x, [0, up[0] - 1, 0, 0, 0, up[1] - 1]).reshape(n, c, h * up[1], w * up[0])
    x = F.pad(x, list(pad))
    if f is not None:
        f = f.to(x.dtype)
        for kernel in [f[None, :], f[:, None]] if f.ndim == 1 else [f]:
            x = F.conv2d(x, kernel.expand(c, 1, *kernel.shape), groups=c)
    return x[:, :, :: down[1], :: down[0]]


def filter2d(x: Tensor, f: Tensor, *, padding: Factor = 0, flip_filter: bool = False, gain: float = 1.0) -> Tensor:
    """Filters without a change of size (``padding`` is added to what keeps the size)."""
    x0, x1, y0, y1 = parse_padding(padding)
    fw, fh = filter_size(f)
    pad = [x0 + fw // 2, x1 + (fw - 1) // 2, y0 + fh // 2, y1 + (fh - 1) // 2]
    return upfirdn2d(x, f, padding=pad, flip_filter=flip_filter, gain=gain)


def upsample2d(
    x: Tensor, f: Tensor, *, up: Factor = 2, padding: Factor = 0, flip_filter: bool = False, gain: float = 1.0
) -> Tensor:
    """Upsamples to ``up`` times the size, keeping the mean."""
    ux, uy = parse_factor(up)
    x0, x1, y0, y1 = parse_padding(padding)
    fw, fh = filter_size(f)
    pad = [x0 + (fw + ux - 1) // 2, x1 + (fw - ux) // 2, y0 + (fh + uy - 1) // 2, y1 + (fh - uy) // 2]
    return upfirdn2d(x, f, up=up, padding=pad, flip_filter=flip_filter, gain=gain * ux * uy)


def downsample2d(
    x: Tensor, f: Tensor, *, down: Factor = 2, padding: Factor = 0, flip_filter: bool = False, gain: float = 1.0
) -> Tensor:
    """Downsamples to ``1 / down`` of the size."""
    dx, dy = parse_factor(down)
    x0, x1, y0, y1 = parse_padding(padding)
    fw, fh = filter_size(f)
    pad = [x0 + (fw - dx + 1) // 2, x1 + (fw - dx) // 2, y0 + (fh - dy + 1) // 2, y1 + (fh - dy) // 2]
    return upfirdn2d(x, f, down=down, padding=pad, flip_filter=flip_filter, gain=gain)

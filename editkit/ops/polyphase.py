"""Resampling without inserted zeros: each axis is one banded matrix.

A one-dimensional pad-upsample-filter-downsample is linear, y = A x, and row o of A holds the taps that meet real
samples: exactly the polyphase branches (Vaidyanathan 1993, section 4.3). Multiplying by A in tiles along the band
skips the inserted zeros, and runs on the matrix units of any device, in any precision, with derivatives of any order.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

TILE = 64  # outputs a tile


def upfirdn2d(
    x: Tensor, f: Tensor | None, up: tuple[int, int], down: tuple[int, int], pad: tuple[int, int, int, int]
) -> Tensor:
    """Same contract as ``upfirdn2d._reference``."""
    if f is not None and f.ndim == 2:
        return _two_dimensional(x, f, up, down, pad)
    taps = (1.0,) if f is None else tuple(f.tolist())
    x = _along(x, 3, _Axis(x.shape[3], taps, up[0], down[0], pad[0], pad[1]))
    return _along(x, 2, _Axis(x.shape[2], taps, up[1], down[1], pad[2], pad[3]))


def _two_dimensional(
    x: Tensor, f: Tensor, up: tuple[int, int], down: tuple[int, int], pad: tuple[int, int, int, int]
) -> Tensor:
    """A filter that does not separate (radial, or StyleGAN2's short ones): one strided depthwise convolution."""
    n, c, h, w = x.shape
    if up != (1, 1):
        x = F.pad(x.reshape(n, c, h, 1, w, 1), [0, up[0] - 1, 0, 0, 0, up[1] - 1]).reshape(n, c, h * up[1], w * up[0])
    x = F.pad(x, list(pad)) if any(pad) else x
    kernel = f.to(device=x.device, dtype=x.dtype)
    return F.conv2d(x, kernel.expand(c, 1, *kernel.shape), stride=(down[1], down[0]), groups=c)


class _Axis(NamedTuple):
    """An axis of ``size`` samples, upsampled, padded by ``lo`` and ``hi``, filtered, every ``down``-th kept."""

    size: int
    taps: tuple[float, ...]
    up: int
    down: int
    lo: int
    hi: int

    @property
    def out(self) -> int:
        return (self.size * self.up + self.lo + self.hi - len(self.taps)) // self.down + 1

    def support(self, first: int, last: int) -> tuple[int, int]:
        """Samples [begin, end) that outputs [first, last) read; at least one, so that a product exists."""
        begin = max(0, min(self.size - 1, (first * self.down - self.lo + self.up - 1) // self.up))
        reach = ((last - 1) * self.down + len(self.taps) - 1 - self.lo) // self.up + 1
        return begin, min(self.size, max(begin + 1, reach))


@lru_cache(maxsize=512)
def _matrix(axis: _Axis, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The band ``[out, size]``."""
    length = len(axis.taps)
    # output o, tap k reads the upsampled, padded position o * down + k, i.e. sample (o * down + k - lo) / up
    position = torch.arange(axis.out)[:, None] * axis.down + torch.arange(length)[None, :] - axis.lo
    sample = position.div(axis.up, rounding_mode="floor")
    real = (position % axis.up == 0) & (sample >= 0) & (sample < axis.size)
    rows = torch.arange(axis.out)[:, None].expand(axis.out, length)
    taps = torch.tensor(axis.taps, dtype=torch.float64).expand(axis.out, length)
    band = torch.zeros(axis.out, axis.size, dtype=torch.float64)
    band[rows[real], sample[real]] = taps[real]
    return band.to(device=device, dtype=dtype)


def _along(x: Tensor, dim: int, axis: _Axis) -> Tensor:
    """Applies the band along dimension 2 or 3, tile by tile."""
    if axis.up == axis.down == 1 and axis.taps == (1.0,):
        return F.pad(x, [axis.lo, axis.hi, 0, 0] if dim == 3 else [0, 0, axis.lo, axis.hi])
    band = _matrix(axis, x.dtype, x.device)
    tile = axis.out if axis.out <= 2 * TILE else TILE
    parts = []
    for first in range(0, axis.out, tile):
        last = min(first + tile, axis.out)
        begin, end = axis.support(first, last)
        block = band[first:last, begin:end]
        source = x.narrow(dim, begin, end - begin)
        parts.append(source @ block.T if dim == 3 else block @ source)
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)

"""Resampling on GPUs, in Triton: one output a lane, no inserted zeros, derivatives of any order.

Outputs that meet the filter at the same phase are one set of programs, so that the taps of a program are scalars
(polyphase branches, Vaidyanathan 1993, section 4.3). Neighbouring lanes are neighbours in memory, channels-last or not.
A separable filter is two passes.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from editkit.ops.triton_backend import on_device_of, taps_of

BLOCK = 256


@triton.jit(
    do_not_specialize=[
        "lanes", "channels", "rows", "columns", "height", "width", "out_height", "out_width", "pad_x", "pad_y",
        "xs_n", "xs_c", "xs_h", "xs_w", "ys_n", "ys_c", "ys_h", "ys_w",
    ]
)  # fmt: skip
def upfirdn2d_kernel(
    x, f, y,  # f: [TAPS_Y * UY, TAPS_X * UX] float32, zeros after the last tap
    lanes,  # samples * channels * rows * columns
    channels,
    rows, columns,  # outputs of one phase
    height, width, out_height, out_width,
    pad_x, pad_y,
    xs_n, xs_c, xs_h, xs_w,
    ys_n, ys_c, ys_h, ys_w,
    UX: tl.constexpr, UY: tl.constexpr,
    DX: tl.constexpr, DY: tl.constexpr,
    PHASES_X: tl.constexpr, PHASES_Y: tl.constexpr,
    TAPS_X: tl.constexpr, TAPS_Y: tl.constexpr,  # taps of a phase
    CHANNELS_FAST: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """One output a lane, of one phase a program."""
    lane = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    phase_x, phase_y = tl.program_id(1) % PHASES_X, tl.program_id(1) // PHASES_X
    if CHANNELS_FAST:
        c, rest = lane % channels, lane // channels
        qx, rest = rest % columns, rest // columns
        qy, n = rest % rows, rest // rows
    else:
        qx, rest = lane % columns, lane // columns
        qy, rest = rest % rows, rest // rows
        c, n = rest % channels, rest // channels
    ox, oy = qx * PHASES_X + phase_x, qy * PHASES_Y + phase_y
    # output o, tap k meets the padded position o * D + k: sample (o * D + k - pad) / U where that divides
    late_x, late_y = phase_x * DX - pad_x, phase_y * DY - pad_y
    first_x, first_y = ((-late_x) % UX + UX) % UX, ((-late_y) % UY + UY) % UY
    ix = qx * (PHASES_X * DX // UX) + (late_x + first_x) // UX
    iy = qy * (PHASES_Y * DY // UY) + (late_y + first_y) // UY
    base = x + n.to(tl.int64) * xs_n + c.to(tl.int64) * xs_c + iy.to(tl.int64) * xs_h + ix.to(tl.int64) * xs_w
    good = (lane < lanes) & (ox < out_width) & (oy < out_height)
    total = tl.zeros([BLOCK], tl.float32)
    for jy in tl.static_range(TAPS_Y):
        row = good & (iy + jy >= 0) & (iy + jy < height)
        for jx in tl.static_range(TAPS_X):
            tap = tl.load(f + (first_y + jy * UY) * (TAPS_X * UX) + first_x + jx * UX)
            value = tl.load(base + jy * xs_h + jx * xs_w, mask=row & (ix + jx >= 0) & (ix + jx < width), other=0.0)
            total += value.to(tl.float32) * tap
    at = y + n.to(tl.int64) * ys_n + c.to(tl.int64) * ys_c + oy.to(tl.int64) * ys_h + ox.to(tl.int64) * ys_w
    tl.store(at, total.to(y.dtype.element_ty), mask=good)


@dataclass(frozen=True, kw_only=True, slots=True)
class Geometry:
    """One pass; pairs are (x, y). ``transpose`` is its adjoint."""

    taps: tuple[float, ...]  # in the order in which they meet the samples, row by row
    kernel: tuple[int, int]
    up: tuple[int, int]
    down: tuple[int, int]
    pad: tuple[int, int]  # before the first sample
    size: tuple[int, int]
    out: tuple[int, int]

    @property
    def transpose(self) -> "Geometry":
        """Upsamples what this downsamples."""
        return Geometry(
            taps=self.taps[::-1],
            kernel=self.kernel,
            up=self.down,
            down=self.up,
            pad=(self.kernel[0] - 1 - self.pad[0], self.kernel[1] - 1 - self.pad[1]),
            size=self.out,
            out=self.size,
        )


@lru_cache(maxsize=256)
def _table(taps: tuple[float, ...], kernel: tuple[int, int], up: tuple[int, int], device: torch.device) -> Tensor:
    """The filter with zeros after it, so that every phase has the same number of taps."""
    with torch.inference_mode(False):
        f = torch.tensor(taps, dtype=torch.float32).reshape(kernel[1], kernel[0])
        return torch.nn.functional.pad(f, [0, -kernel[0] % up[0], 0, -kernel[1] % up[1]]).to(device)


class _Pass(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, g: Geometry) -> Tensor:  # type: ignore[no-untyped-def, override]
        ctx.g = g
        n, c = x.shape[:2]
        channels_fast = c > 1 and x.stride(1) == 1
        order = torch.channels_last if channels_fast else torch.contiguous_format
        y = torch.empty((n, c, g.out[1], g.out[0]), dtype=x.dtype, device=x.device, memory_format=order)
        phases = (g.up[0] // math.gcd(g.up[0], g.down[0]), g.up[1] // math.gcd(g.up[1], g.down[1]))
        columns, rows = math.ceil(g.out[0] / phases[0]), math.ceil(g.out[1] / phases[1])
        lanes = n * c * rows * columns
        f = _table(g.taps, g.kernel, g.up, x.device)
        with on_device_of(x):
            upfirdn2d_kernel[(math.ceil(lanes / BLOCK), phases[0] * phases[1])](
                x, f, y, lanes, c, rows, columns, *x.shape[2:], *y.shape[2:], *g.pad, *x.stride(), *y.stride(),
                UX=g.up[0], UY=g.up[1], DX=g.down[0], DY=g.down[1], PHASES_X=phases[0], PHASES_Y=phases[1],
                TAPS_X=f.shape[1] // g.up[0], TAPS_Y=f.shape[0] // g.up[1], CHANNELS_FAST=channels_fast, BLOCK=BLOCK,
            )  # fmt: skip
        return y

    @staticmethod
    def backward(ctx, gy: Tensor):  # type: ignore[no-untyped-def, override]
        return _Pass.apply(gy, ctx.g.transpose), None


def upfirdn2d(
    x: Tensor,
    f: Tensor | None,
    up: tuple[int, int],
    down: tuple[int, int],
    pad: tuple[int, int, int, int],
    *,
    flip_filter: bool,
    gain: float,
) -> Tensor:
    """Same contract as ``upfirdn2d`` after its checks; for tensors that ``triton_backend.wanted``."""
    taps: tuple[float, ...] = (1.0,)
    if f is not None:
        scale = gain ** (f.ndim / 2)
        taps = tuple(t * scale for t in (taps_of(f) if flip_filter else taps_of(f)[::-1]))
    elif gain != 1:
        x = x * gain
    if f is not None and f.ndim == 2:
        return _apply(x, taps, (f.shape[1], f.shape[0]), up, down, pad)
    x = _apply(x, taps, (len(taps), 1), (up[0], 1), (down[0], 1), (pad[0], pad[1], 0, 0))
    return _apply(x, taps, (1, len(taps)), (1, up[1]), (1, down[1]), (0, 0, pad[2], pad[3]))


def _apply(
    x: Tensor,
    taps: tuple[float, ...],
    kernel: tuple[int, int],
    up: tuple[int, int],
    down: tuple[int, int],
    pad: tuple[int, int, int, int],
) -> Tensor:
    size = (x.shape[3], x.shape[2])
    out = (
        (size[0] * up[0] + pad[0] + pad[1] - kernel[0]) // down[0] + 1,
        (size[1] * up[1] + pad[2] + pad[3] - kernel[1]) // down[1] + 1,
    )
    if taps == (1.0,) and out == size and up == down == (1, 1) and not any(pad):
        return x
    g = Geometry(taps=taps, kernel=kernel, up=up, down=down, pad=(pad[0], pad[2]), size=size, out=out)
    return _Pass.apply(x, g)

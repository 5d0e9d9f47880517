"""Geometry, launches and derivatives of the filtered non-linearity on GPUs (kernel: ``triton_lrelu_kernel``)."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from editkit.ops.triton_backend import interpreted, on_device_of, processors, taps_of, warn_once
from editkit.ops.triton_tuning import Launch, choose

WORD = 8  # mask samples in 16 bits, as in the kernel
FACTORS = (1, 2, 4, 8)
MOST_TAPS, MOST_TAPS_2D = 64, 256  # of a separable and of a two-dimensional filter: unrolled, in 4 KiB of parameters


@dataclass(frozen=True, kw_only=True, slots=True)
class Fir:
    """A filter in the order in which it meets the samples; ``[ky * width + kx]`` if two-dimensional."""

    taps: tuple[float, ...]
    width: int
    two_dimensional: bool = False

    @property
    def height(self) -> int:
        """Taps along y."""
        return len(self.taps) // self.width if self.two_dimensional else self.width

    @property
    def reversed(self) -> "Fir":
        """That of the adjoint."""
        return replace(self, taps=self.taps[::-1])

    @property
    def folds(self) -> bool:
        """Whether every row is its own mirror image, so that pairs of samples are added before they are weighted."""
        rows = [self.taps[i : i + self.width] for i in range(0, len(self.taps), self.width)]
        return self.two_dimensional and self.width % 2 == 0 and all(row == row[::-1] for row in rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class Geometry:
    """One direction of the operation; ``transpose`` gives the other (forward <-> backward). Pairs are (y, x)."""

    up_fir: Fir
    down_fir: Fir
    up: int
    down: int
    size: tuple[int, int]  # of the source
    tmp: tuple[int, int]
    out: tuple[int, int]
    pad: tuple[int, int]  # zeros before the upsampled source
    shift: tuple[int, int] = (0, 0)  # output o reads tmp[o * down + k + shift]

    @property
    def transpose(self) -> "Geometry":
        """The adjoint: upsamples what this downsamples."""
        up, down = self.up_fir, self.down_fir
        return Geometry(
            up_fir=down.reversed,
            down_fir=up.reversed,
            up=self.down,
            down=self.up,
            size=self.out,
            tmp=self.tmp,
            out=self.size,
            pad=(down.height - 1 + self.shift[0], down.width - 1 + self.shift[1]),
            shift=(self.pad[0] - up.height + 1, self.pad[1] - up.width + 1),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Activation:
    """Slope, gain (above 0) and clamp (or None) between the filters."""

    slope: float
    gain: float
    clamp: float | None


def default_launch(g: Geometry, *, read: bool) -> Launch:
    """Strips as wide as 255 registers hold without spilling much (read off the compiled kernels, see docs/gpu.md)."""
    flat = not g.up_fir.two_dimensional and not g.down_fir.two_dimensional
    wide = flat and max(g.up, g.down) <= 2 and not read and not interpreted()
    return Launch(strip=max(16 if wide else 8, g.up, g.down))


def _channels_fast(x: Tensor) -> bool:
    return x.shape[1] > 1 and x.stride(1) == 1


def _kind(x: Tensor, g: Geometry, mode: str) -> str:
    """What the best launch depends on: the GPU, dtype, filters and about how large the picture is."""
    name = torch.cuda.get_device_name(x.device) if x.device.type == "cuda" else x.device.type
    firs = "-".join(f"{fir.width}{'r' if fir.two_dimensional else ''}" for fir in (g.up_fir, g.down_fir))
    size = round(math.log2(x.shape[0] * x.shape[1] * g.out[0] * g.out[1]))
    return f"{name} {str(x.dtype)[6:]} up{g.up} down{g.down} taps{firs} {mode} 2^{size}"


def _run(x: Tensor, bias: Tensor | None, g: Geometry, mask: Tensor | None, *, read: bool, act: Activation) -> Tensor:
    """x [N, C, H, W] -> [N, C, OH, OW] in its dtype and order of memory."""

    def run(launch: Launch) -> Tensor:
        return _launch(x, bias, g, mask, read=read, act=act, launch=launch)

    mode = "plain" if mask is None else "read" if read else "write"
    return run(choose(_kind(x, g, mode), default_launch(g, read=read), run, multiple=max(g.up, g.down)))


def _launch(
    x: Tensor, bias: Tensor | None, g: Geometry, mask: Tensor | None, *, read: bool, act: Activation, launch: Launch
) -> Tensor:
    from editkit.ops import triton_lrelu_kernel as kernel

    n, c = x.shape[:2]
    order = torch.channels_last if _channels_fast(x) else torch.contiguous_format
    y = torch.empty((n, c, *g.out), dtype=x.dtype, device=x.device, memory_format=order)
    writes = mask is not None and not read  # then strips reach the end of the upsampled picture, whose codes they keep
    strips = math.ceil(max(g.out[1] * g.down, g.tmp[1] if writes else 0) / launch.strip)
    lanes = n * c * strips
    across = math.ceil(lanes / launch.block)
    step = max(g.up, g.down) // g.down  # output rows
    # enough programs to fill the GPU, but segments several times the rows that warm up a filter
    segments = max(1, min(processors(x) * launch.programs // across, g.out[0] // (2 * g.down_fir.height)))
    segment = math.ceil(math.ceil(g.out[0] / segments) / step) * step
    offset = (g.shift[0] - g.pad[0], g.shift[1] - g.pad[1])
    strides = mask.stride() if mask is not None else (0, 0, 0, 0)
    with on_device_of(x):
        kernel.filtered_lrelu_kernel[(across, math.ceil(g.out[0] / segment))](
            x, x if bias is None else bias, y, x if mask is None else mask,
            g.up_fir.taps, g.down_fir.taps,
            act.gain * act.slope, act.gain, math.inf if act.clamp is None else act.clamp,
            lanes, c, strips, *g.size, *g.out, g.tmp[0], 0 if mask is None else mask.shape[3], segment,
            offset[1] // g.up, offset[0] // g.up, g.shift[1] // WORD, g.shift[0],
            *x.stride(), *y.stride(), *strides,
            U=g.up, D=g.down, UP_TAPS=g.up_fir.width, UP_TAPS_Y=g.up_fir.height, DOWN_TAPS=g.down_fir.width,
            DOWN_TAPS_Y=g.down_fir.height,
            UP_2D=g.up_fir.two_dimensional, DOWN_2D=g.down_fir.two_dimensional, FOLD=g.down_fir.folds,
            PHASE_X=offset[1] % g.up, PHASE_Y=offset[0] % g.up, BIT_OFFSET=g.shift[1] % WORD if read else 0,
            MODE=0 if mask is None else 2 if read else 1,
            HAS_BIAS=bias is not None, HAS_CLAMP=act.clamp is not None and not read,
            CHANNELS_FAST=order == torch.channels_last, STRIP=launch.strip, BLOCK=launch.block,
            num_warps=launch.block // 32,
        )  # fmt: skip
    return y


def _empty_mask(x: Tensor, g: Geometry) -> Tensor:
    """[N, C, TH, words] int16, in the order of memory of ``x``; what no output depends on stays unwritten."""
    order = torch.channels_last if _channels_fast(x) else torch.contiguous_format
    shape = (*x.shape[:2], g.tmp[0], math.ceil(g.tmp[1] / WORD))
    return torch.empty(shape, dtype=torch.int16, device=x.device, memory_format=order)


class _Linear(torch.autograd.Function):
    """The operation at a fixed mask: linear in x, so that its derivative is its transpose, to any order."""

    @staticmethod
    def forward(ctx, x: Tensor, mask: Tensor, g: Geometry, act: Activation) -> Tensor:  # type: ignore[no-untyped-def, override]
        ctx.save_for_backward(mask)
        ctx.g, ctx.act = g, act
        return _run(x, None, g, mask, read=True, act=act)

    @staticmethod
    def backward(ctx, gy: Tensor):  # type: ignore[no-untyped-def, override]
        (mask,) = ctx.saved_tensors
        return _Linear.apply(gy, mask, ctx.g.transpose, ctx.act), None, None, None


class _FilteredLrelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, bias: Tensor | None, g: Geometry, act: Activation, keep: bool) -> Tensor:  # type: ignore[no-untyped-def, override]
        mask = _empty_mask(x, g) if keep else None
        y = _run(x, None if bias is None else bias.float(), g, mask, read=False, act=act)
        if mask is not None:
            ctx.save_for_backward(mask)
        ctx.g, ctx.act = g, act
        ctx.bias_dtype = None if bias is None else bias.dtype
        return y

    @staticmethod
    def backward(ctx, gy: Tensor):  # type: ignore[no-untyped-def, override]
        (mask,) = ctx.saved_tensors
        gx = _Linear.apply(gy, mask, ctx.g.transpose, ctx.act)
        gb = gx.sum([0, 2, 3], dtype=torch.float32).to(ctx.bias_dtype) if ctx.needs_input_grad[1] else None
        return gx, gb, None, None, None


def refusal(fu: Tensor | None, fd: Tensor | None, up: int, down: int, gain: float) -> str | None:
    """Why the kernel does not take these arguments, or None if it does."""
    if up not in FACTORS or down not in FACTORS:
        return f"filtered_lrelu with up {up} and down {down}"
    if not gain > 0:
        return f"filtered_lrelu with gain {gain}"
    for f in (fu, fd):
        if f is not None and (f.numel() > (MOST_TAPS if f.ndim == 1 else MOST_TAPS_2D)):
            return f"filtered_lrelu with a filter of {tuple(f.shape)} taps"
    return None


def supported(fu: Tensor | None, fd: Tensor | None, up: int, down: int, gain: float) -> bool:
    """Whether the kernel takes these arguments; says once why not. The tensor itself: ``triton_backend.wanted``."""
    reason = refusal(fu, fd, up, down, gain)
    if reason is not None:
        warn_once(reason)
    return reason is None


def filtered_lrelu(
    x: Tensor,
    fu: Tensor | None,
    fd: Tensor | None,
    b: Tensor | None,
    up: int,
    down: int,
    pad: tuple[int, int, int, int],
    gain: float,
    slope: float,
    clamp: float | None,
    flip_filter: bool,
) -> Tensor:
    """Same contract as ``filtered_lrelu``; only for what ``supported`` accepts."""

    def ordered(f: Tensor | None, f_gain: float) -> Fir:
        if f is None:
            return Fir(taps=(f_gain,), width=1)
        taps = taps_of(f)
        taps = taps if flip_filter else taps[::-1]
        scale = f_gain**f.ndim if f.ndim == 2 else f_gain
        return Fir(taps=tuple(t * scale for t in taps), width=f.shape[-1], two_dimensional=f.ndim == 2)

    up_fir, down_fir = ordered(fu, float(up)), ordered(fd, 1.0)  # the gain of up^2 is split over two axes
    height, width = x.shape[2:]
    tmp = (height * up + pad[2] + pad[3] - up_fir.height + 1, width * up + pad[0] + pad[1] - up_fir.width + 1)
    out = ((tmp[0] - down_fir.height) // down + 1, (tmp[1] - down_fir.width) // down + 1)
    if min(*tmp, *out) < 1:
        raise ValueError(f"a {height} x {width} picture is too small for these filters and this padding")
    g = Geometry(
        up_fir=up_fir, down_fir=down_fir, up=up, down=down, size=(height, width), tmp=tmp, out=out, pad=(pad[2], pad[0])
    )
    act = Activation(slope=float(slope), gain=float(gain), clamp=None if clamp is None else float(clamp))
    keep = torch.is_grad_enabled() and (x.requires_grad or (b is not None and b.requires_grad))
    return _FilteredLrelu.apply(x, b, g, act, keep)

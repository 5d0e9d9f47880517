"""Geometry, threads and derivatives of the fused filtered non-linearity for CPUs (kernel: ``fused_kernel``)."""

import logging
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from editkit.ops import arena
from editkit.ops.threads import spread

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Geometry:
    """One direction of the operation; ``transpose`` gives the other (forward <-> backward)."""

    up_taps: tuple[float, ...]  # in the order in which they meet the upsampled samples
    down_taps: tuple[float, ...]
    up: int
    down: int
    size: tuple[int, int]  # (height, width) of the source
    tmp: tuple[int, int]
    out: tuple[int, int]
    pad: tuple[int, int]  # (y, x) zeros before the upsampled source
    shift: tuple[int, int]  # (y, x): output o reads tmp[o * down + k + shift]

    @property
    def transpose(self) -> "Geometry":
        """The adjoint: upsamples what this downsamples."""
        up_last, down_last = len(self.up_taps) - 1, len(self.down_taps) - 1
        return Geometry(
            up_taps=self.down_taps[::-1],
            down_taps=self.up_taps[::-1],
            up=self.down,
            down=self.up,
            size=self.out,
            tmp=self.tmp,
            out=self.size,
            pad=(down_last + self.shift[0], down_last + self.shift[1]),
            shift=(self.pad[0] - up_last, self.pad[1] - up_last),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tables:
    planes: int
    columns: int
    margin: int
    src_planes: int
    src_columns: int
    src_margin: int
    up_offsets: np.ndarray
    up_weights: np.ndarray
    out_planes: int
    out_columns: int
    down_offsets: np.ndarray
    down_weights: np.ndarray


def _table(rows: list[list[tuple[int, float]]], group: int) -> tuple[np.ndarray, np.ndarray]:
    """Tap lists as rectangular arrays; filled up with zero taps at an offset that exists."""
    width = max(group, math.ceil(max(len(r) for r in rows) / group) * group)
    offsets = np.empty((len(rows), width), np.int64)
    weights = np.zeros((len(rows), width), np.float32)
    for i, row in enumerate(rows):
        offsets[i] = row[0][0]
        for j, (offset, weight) in enumerate(row):
            offsets[i, j], weights[i, j] = offset, weight
    return offsets, weights


@lru_cache(maxsize=256)
def _tables(g: Geometry) -> _Tables:
    from editkit.ops.fused_kernel import GROUP, LANES

    planes = math.lcm(g.up, g.down)
    columns = math.ceil(g.tmp[1] / planes)
    src_planes = planes // g.up
    # horizontal up: tmp sample q * planes + p meets source sample q * src_planes + m
    ups = [
        [((p + k - g.pad[1]) // g.up, w) for k, w in enumerate(g.up_taps) if (p + k - g.pad[1]) % g.up == 0]
        or [(0, 0.0)]
        for p in range(planes)
    ]
    ends = [m // src_planes for row in ups for m, _ in row]
    src_margin = max(0, -min(ends))
    src_columns = src_margin + max(max(ends) + columns, math.ceil(g.size[1] / src_planes))
    up_rows = [
        [(((m % src_planes) * src_columns + src_margin + m // src_planes) * LANES, w) for m, w in row] for row in ups
    ]
    # horizontal down: output v * out_planes + o reads tmp samples v * planes + t
    out_planes = planes // g.down
    out_columns = math.ceil(g.out[1] / out_planes)
    downs = [[(o * g.down + k + g.shift[1], w) for k, w in enumerate(g.down_taps)] for o in range(out_planes)]
    ends = [t // planes for row in downs for t, _ in row]
    margin = max(0, -min(ends), max(ends) + out_columns - columns)
    stride = columns + 2 * margin
    down_rows = [[(((t % planes) * stride + margin + t // planes) * LANES, w) for t, w in row] for row in downs]
    up_offsets, up_weights = _table(up_rows, GROUP)
    down_offsets, down_weights = _table(down_rows, GROUP)
    return _Tables(
        planes=planes,
        columns=columns,
        margin=margin,
        src_planes=src_planes,
        src_columns=src_columns,
        src_margin=src_margin,
        up_offsets=up_offsets,
        up_weights=up_weights,
        out_planes=out_planes,
        out_columns=out_columns,
        down_offsets=down_offsets,
        down_weights=down_weights,
    )


def _run(x: Tensor, bias: Tensor, g: Geometry, mask: np.ndarray, mode: int, act: tuple[float, float, float]) -> Tensor:
    """x: [N, C, H, W] float32 -> [N, C, OH, OW], channels last."""
    from editkit.ops import fused_kernel

    n, c = x.shape[:2]
    x_np = x.detach().permute(0, 2, 3, 1).contiguous().numpy()
    y = arena.empty((n, *g.out, c))
    t = _tables(g)
    tasks = n * math.ceil(c / fused_kernel.LANES)
    up_taps, down_taps = np.asarray(g.up_taps, np.float32), np.asarray(g.down_taps, np.float32)

    def part(first: int, last: int) -> None:
        fused_kernel.run_tasks(
            first, last, x_np, bias.detach().numpy(), y.numpy(), mask, mode,
            up_taps, g.up, g.pad[0], down_taps, g.down, g.shift[0], g.tmp[0], g.tmp[1],
            t.planes, t.columns, t.margin, t.src_planes, t.src_columns, t.src_margin, t.up_offsets, t.up_weights,
            t.out_planes, t.out_columns, t.down_offsets, t.down_weights, *act,
        )  # fmt: skip

    spread(part, tasks)
    return y.permute(0, 3, 1, 2)


def _mask_shape(x: Tensor, g: Geometry) -> tuple[int, int, int]:
    from editkit.ops.fused_kernel import LANES

    t = _tables(g)
    return x.shape[0] * math.ceil(x.shape[1] / LANES), g.tmp[0], t.planes * t.columns * LANES


class _Linear(torch.autograd.Function):
    """The operation at a fixed mask: linear in x, so that its derivative is its transpose."""

    @staticmethod
    def forward(ctx, x: Tensor, g: Geometry, mask: np.ndarray, act: tuple[float, float, float]) -> Tensor:  # type: ignore[no-untyped-def, override]
        from editkit.ops.fused_kernel import READ_MASK

        ctx.g, ctx.mask, ctx.act = g, mask, act
        return _run(x, torch.zeros(x.shape[1]), g, mask, READ_MASK, act)

    @staticmethod
    def backward(ctx, gy: Tensor):  # type: ignore[no-untyped-def, override]
        return _Linear.apply(gy, ctx.g.transpose, ctx.mask, ctx.act), None, None, None


class _FilteredLrelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, bias: Tensor, g: Geometry, act: tuple[float, float, float]) -> Tensor:  # type: ignore[no-untyped-def, override]
        from editkit.ops.fused_kernel import NO_MASK, WRITE_MASK

        wanted = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        mask = arena.array(_mask_shape(x, g) if wanted else (1, 1, 1), np.uint8)
        ctx.g, ctx.mask, ctx.act = g, mask, act
        return _run(x, bias, g, mask, WRITE_MASK if wanted else NO_MASK, act)

    @staticmethod
    def backward(ctx, gy: Tensor):  # type: ignore[no-untyped-def, override]
        gx = _Linear.apply(gy, ctx.g.transpose, ctx.mask, ctx.act)
        return gx, gx.sum([0, 2, 3]) if ctx.needs_input_grad[1] else None, None, None


@lru_cache(maxsize=1)
def available() -> bool:
    """Whether numba can be imported; says so once if not."""
    try:
        import editkit.ops.fused_kernel  # noqa: F401
    except ImportError as error:
        log.warning("numba is not usable (%s): filters run on the slower polyphase backend", error)
        return False
    return True


def supported(x: Tensor, fu: Tensor | None, fd: Tensor | None) -> bool:
    """float32 on the CPU with separable filters."""
    flat = all(f is None or f.ndim == 1 for f in (fu, fd))
    return x.device.type == "cpu" and x.dtype == torch.float32 and flat and x.numel() > 0 and available()


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

    def ordered(f: Tensor | None, f_gain: float) -> tuple[float, ...]:
        if f is None:
            return (f_gain,)
        taps = (f if flip_filter else f.flip(0)).double() * f_gain
        return tuple(taps.tolist())

    up_taps, down_taps = ordered(fu, float(up)), ordered(fd, 1.0)  # the gain of up^2 is split over two axes
    height, width = x.shape[2:]
    tmp = (
        height * up + pad[2] + pad[3] - len(up_taps) + 1,
        width * up + pad[0] + pad[1] - len(up_taps) + 1,
    )
    out = ((tmp[0] - len(down_taps)) // down + 1, (tmp[1] - len(down_taps)) // down + 1)
    if min(out) < 1:
        raise ValueError(f"a {height} x {width} picture is too small for these filters and this padding")
    g = Geometry(
        up_taps=up_taps,
        down_taps=down_taps,
        up=up,
        down=down,
        size=(height, width),
        tmp=tmp,
        out=out,
        pad=(pad[2], pad[0]),
        shift=(0, 0),
    )
    bias = torch.zeros(x.shape[1]) if b is None else b.float()
    act = (float(slope), float(gain), float("inf") if clamp is None else float(clamp))
    return _FilteredLrelu.apply(x, bias, g, act)

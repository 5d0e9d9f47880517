"""Geometry, threads and derivatives of the fused filtered non-linearity for CPUs (kernel: ``fused_kernel``)."""

import logging
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from editkit.ops import arena
from editkit.ops.threads import spread

log = logging.getLogger(__name__)


STRIP = 280  # columns of the result at a time: more leave the second-level cache, fewer repeat more of the margins


@dataclass(frozen=True, kw_only=True, slots=True)
class Geometry:
    """One direction of the operation; ``transpose`` gives the other (forward <-> backward)."""

    up_taps: np.ndarray  # [K] or [K, K], in the order in which they meet the upsampled samples
    down_taps: np.ndarray
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
            up_taps=np.flip(self.down_taps),
            down_taps=np.flip(self.up_taps),
            up=self.down,
            down=self.up,
            size=self.out,
            tmp=self.tmp,
            out=self.size,
            pad=(down_last + self.shift[0], down_last + self.shift[1]),
            shift=(self.pad[0] - up_last, self.pad[1] - up_last),
        )


def _run(x: Tensor, bias: Tensor, g: Geometry, mask: np.ndarray, mode: int, act: tuple[float, float, float]) -> Tensor:
    """x: [N, C, H, W] float32 -> [N, C, OH, OW], channels last."""
    from editkit.ops import fused_kernel

    n, c = x.shape[:2]
    source = x.detach().permute(0, 2, 3, 1).contiguous()
    y = arena.empty((n, *g.out, c))
    flat = [t.view(-1).numpy() for t in (source, bias.detach().contiguous(), y)]
    down = g.down_taps
    if down.ndim == 2:  # the same upside down: rows are added before they are weighted
        down = (down + down[::-1])[: len(down) // 2] / 2
    taps = [np.ascontiguousarray(f, np.float32).reshape(-1) for f in (g.up_taps, down)]
    strip = 8 * math.ceil(g.out[1] / math.ceil(g.out[1] / STRIP) / 8)  # the kernel makes eight at a time

    def part(first: int, last: int) -> None:
        fused_kernel.run_tasks(
            first, last, flat[0], (n, *g.size, c), flat[1], flat[2], (n, *g.out, c), mask.reshape(-1), mode,
            taps[0], len(g.up_taps), g.up, g.pad, taps[1], len(g.down_taps), g.down, g.shift, g.tmp, strip, *act,
        )  # fmt: skip

    spread(part, n * math.ceil(c / fused_kernel.BLOCK))
    return y.permute(0, 3, 1, 2)


def _mask(x: Tensor, g: Geometry) -> np.ndarray:
    """Room for two bits an upsampled sample."""
    from editkit.ops.simd import LANES

    return arena.array((x.shape[0], math.ceil(x.shape[1] / LANES), *g.tmp, 2), np.uint16 if LANES == 16 else np.uint8)


def _no_mask() -> np.ndarray:
    from editkit.ops.simd import LANES

    return np.empty(1, np.uint16 if LANES == 16 else np.uint8)


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
        mask = _mask(x, g) if wanted else _no_mask()
        ctx.g, ctx.mask, ctx.act = g, mask, act
        return _run(x, bias, g, mask, WRITE_MASK if wanted else NO_MASK, act)

    @staticmethod
    def backward(ctx, gy: Tensor):  # type: ignore[no-untyped-def, override]
        gx = _Linear.apply(gy, ctx.g.transpose, ctx.mask, ctx.act)
        return gx, gx.sum([0, 2, 3]) if ctx.needs_input_grad[1] else None, None, None


def _compiled() -> bool:
    """Whether numba kept the kernels of an earlier use."""
    from editkit.ops import fused_kernel

    folder = fused_kernel.run_tasks.stats.cache_path
    return bool(folder) and any(Path(folder).glob(f"fused_kernel.{fused_kernel.run_tasks.__name__}-*.nbi"))


@lru_cache(maxsize=1)
def available() -> bool:
    """Whether the kernels can be had; says once which way the operations go."""
    try:
        import editkit.ops.fused_kernel
        import editkit.ops.winograd_kernel  # noqa: F401
    except Exception as error:  # whatever is wrong with a compiler, plain torch still works
        log.warning("numba is not usable (%s): operations run on the slower polyphase backend", error)
        return False
    level, wait = (logging.DEBUG, "") if _compiled() else (logging.INFO, ", at first use: a wait, once")
    log.log(level, "operations on the processor run on kernels compiled by numba (backend cpu)%s", wait)
    return True


def supported(x: Tensor, fu: Tensor | None, fd: Tensor | None) -> bool:
    """float32 on the CPU; filters that are separable, or square, even and the same upside down (radial ones are)."""
    plain = x.device.type == "cpu" and x.dtype == torch.float32 and x.numel() > 0
    return plain and all(f is None or f.ndim == 1 or _folds(f) for f in (fu, fd)) and available()


def _folds(f: Tensor) -> bool:
    if f.ndim != 2 or f.shape[0] != f.shape[1] or f.shape[0] % 2:
        return False
    return bool((f - f.flip(0)).abs().max() <= 1e-6 * f.abs().max())


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

    def ordered(f: Tensor | None, f_gain: float) -> np.ndarray:
        if f is None:
            return np.array([f_gain])
        f = f if flip_filter else f.flip(list(range(f.ndim)))
        return f.double().numpy() * f_gain**f.ndim

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

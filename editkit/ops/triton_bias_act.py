"""Bias, piecewise linear activation, gain and clamp on GPUs, in Triton: one pass, derivatives of any order.

The derivative is read off the stored output, whose sign is that of the input and whose magnitude says whether it was
clamped; linear, relu and lrelu only, with a gain above 0. The other activations stay on plain torch.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from editkit.ops.triton_backend import on_device_of

BLOCK = 1024


@triton.jit(do_not_specialize=["count", "channels"])
def bias_act_kernel(
    x, bias, y, count, channels, run, low, high, clamp,
    HAS_BIAS: tl.constexpr, HAS_CLAMP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Over memory in its order: ``run`` elements in a row have the same bias."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + at, mask=at < count, other=0.0).to(tl.float32)
    if HAS_BIAS:
        value += tl.load(bias + (at // run) % channels, mask=at < count, other=0.0)
    value = value * tl.where(value > 0, high, low)
    if HAS_CLAMP:
        value = tl.clamp(value, -clamp, clamp, propagate_nan=tl.PropagateNan.ALL)
    tl.store(y + at, value.to(y.dtype.element_ty), mask=at < count)


@triton.jit(do_not_specialize=["count"])
def bias_act_gradient_kernel(gy, y, gx, count, low, high, clamp, HAS_CLAMP: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(y + at, mask=at < count, other=0.0).to(tl.float32)
    factor = tl.where(value > 0, high, low)
    if HAS_CLAMP:
        limit = tl.full([BLOCK], clamp, tl.float32).to(y.dtype.element_ty).to(tl.float32)  # as the output rounds it
        factor = tl.where(tl.abs(value) < limit, factor, 0.0)
    gradient = tl.load(gy + at, mask=at < count, other=0.0).to(tl.float32) * factor
    tl.store(gx + at, gradient.to(gx.dtype.element_ty), mask=at < count)


def _order(x: Tensor) -> torch.memory_format | None:
    """The order of memory in which ``x`` is dense, or None."""
    if x.is_contiguous():
        return torch.contiguous_format
    return torch.channels_last if x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last) else None


def supported(act: str, alpha: float, gain: float) -> bool:
    """Whether the kernel has this activation; the tensor itself: ``triton_backend.wanted``."""
    return act in ("linear", "relu", "lrelu") and gain > 0 and alpha >= 0


class _BiasAct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, b: Tensor | None, dim: int, low: float, high: float, clamp: float) -> Tensor:  # type: ignore[no-untyped-def, override]
        order = _order(x)
        if order is None:
            x, order = x.contiguous(), torch.contiguous_format
        y = torch.empty_like(x)
        with on_device_of(x):
            bias_act_kernel[(math.ceil(x.numel() / BLOCK),)](
                x, x if b is None else b.float().contiguous(), y, x.numel(), x.shape[dim], max(1, x.stride(dim)),
                low, high, clamp, HAS_BIAS=b is not None, HAS_CLAMP=clamp < math.inf, BLOCK=BLOCK,
            )  # fmt: skip
        ctx.save_for_backward(y)
        ctx.order, ctx.dim, ctx.values = order, dim, (low, high, clamp)
        ctx.bias_dtype = None if b is None else b.dtype
        return y

    @staticmethod
    def backward(ctx, gy: Tensor):  # type: ignore[no-untyped-def, override]
        (y,) = ctx.saved_tensors
        gx = _Gradient.apply(gy.contiguous(memory_format=ctx.order), y.detach(), *ctx.values)
        gb = None
        if ctx.needs_input_grad[1]:
            others = [i for i in range(gx.ndim) if i != ctx.dim]
            gb = (gx.sum(others, dtype=torch.float32) if others else gx).to(ctx.bias_dtype)
        return gx, gb, None, None, None, None


class _Gradient(torch.autograd.Function):
    """``gy`` times the slope that ``y`` tells: linear in ``gy``, and its own adjoint."""

    @staticmethod
    def forward(ctx, gy: Tensor, y: Tensor, low: float, high: float, clamp: float) -> Tensor:  # type: ignore[no-untyped-def, override]
        ctx.save_for_backward(y)
        ctx.values = (low, high, clamp)
        gx = torch.empty_like(y)
        with on_device_of(y):
            bias_act_gradient_kernel[(math.ceil(y.numel() / BLOCK),)](
                gy, y, gx, y.numel(), low, high, clamp, HAS_CLAMP=clamp < math.inf, BLOCK=BLOCK
            )
        return gx

    @staticmethod
    def backward(ctx, ggx: Tensor):  # type: ignore[no-untyped-def, override]
        (y,) = ctx.saved_tensors
        order = _order(y) or torch.contiguous_format
        return _Gradient.apply(ggx.contiguous(memory_format=order), y, *ctx.values), None, None, None, None


def bias_act(
    x: Tensor, b: Tensor | None, *, dim: int, act: str, alpha: float, gain: float, clamp: float | None
) -> Tensor:
    """Same contract as ``bias_act`` after its checks; only for what ``supported`` accepts."""
    low = gain * {"linear": 1.0, "relu": 0.0, "lrelu": alpha}[act]
    return _BiasAct.apply(x, b, dim % x.ndim, low, gain, math.inf if clamp is None else float(clamp))

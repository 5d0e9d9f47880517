"""Bias, piecewise linear activation, gain and clamp on GPUs, in Triton: one pass, derivatives of any order.

The derivative is read off the output, whose sign is that of the input and whose magnitude says whether it was clamped:
the next layer keeps it anyway. A half-precision output may be rounded to the limit without having been clamped: there
the input is kept instead. Linear, relu and lrelu only, with a gain above 0; the others stay on plain torch.
"""

import math
from dataclasses import dataclass

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


@triton.jit(do_not_specialize=["count", "channels"])
def bias_act_gradient_kernel(
    gy, source, bias, gx, count, channels, run, low, high, clamp,
    HAS_BIAS: tl.constexpr, HAS_CLAMP: tl.constexpr, FROM_INPUT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """``gy`` times the slope that the output, or the input and its bias, tell."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(source + at, mask=at < count, other=0.0).to(tl.float32)
    if HAS_BIAS:
        value += tl.load(bias + (at // run) % channels, mask=at < count, other=0.0)
    factor = tl.where(value > 0, high, low)
    if FROM_INPUT:
        factor = tl.where(tl.abs(value * factor) > clamp, 0.0, factor)
    elif HAS_CLAMP:
        factor = tl.where(tl.abs(value) < clamp, factor, 0.0)
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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """Slopes below and above 0, the limit, the dimension of the bias, and whether the input is kept for derivatives."""

    low: float
    high: float
    clamp: float
    dim: int
    from_input: bool


class _BiasAct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, b: Tensor | None, plan: _Plan) -> Tensor:  # type: ignore[no-untyped-def, override]
        if _order(x) is None:
            x = x.contiguous()
        y = torch.empty_like(x)
        bias = None if b is None else b.float().contiguous()
        with on_device_of(x):
            bias_act_kernel[(math.ceil(x.numel() / BLOCK),)](
                x, x if bias is None else bias, y, x.numel(), x.shape[plan.dim], max(1, x.stride(plan.dim)),
                plan.low, plan.high, plan.clamp,
                HAS_BIAS=bias is not None, HAS_CLAMP=plan.clamp < math.inf, BLOCK=BLOCK,
            )  # fmt: skip
        if plan.from_input:
            ctx.save_for_backward(x, bias)
        else:
            ctx.save_for_backward(y, None)
        ctx.plan, ctx.bias_dtype = plan, None if b is None else b.dtype
        return y

    @staticmethod
    def backward(ctx, gy: Tensor):  # type: ignore[no-untyped-def, override]
        source, bias = ctx.saved_tensors
        gx = _Gradient.apply(gy, source.detach(), bias, ctx.plan)
        gb = None
        if ctx.needs_input_grad[1]:
            others = [i for i in range(gx.ndim) if i != ctx.plan.dim]
            gb = (gx.sum(others, dtype=torch.float32) if others else gx).to(ctx.bias_dtype)
        return gx, gb, None


class _Gradient(torch.autograd.Function):
    """``gy`` times the slope: linear in ``gy``, and its own adjoint."""

    @staticmethod
    def forward(ctx, gy: Tensor, source: Tensor, bias: Tensor | None, plan: _Plan) -> Tensor:  # type: ignore[no-untyped-def, override]
        ctx.save_for_backward(source, bias)
        ctx.plan = plan
        gy = gy.contiguous(memory_format=_order(source) or torch.contiguous_format)
        gx = torch.empty_like(source)
        with on_device_of(source):
            bias_act_gradient_kernel[(math.ceil(source.numel() / BLOCK),)](
                gy, source, gy if bias is None else bias, gx, source.numel(), source.shape[plan.dim],
                max(1, source.stride(plan.dim)), plan.low, plan.high, plan.clamp, HAS_BIAS=bias is not None,
                HAS_CLAMP=plan.clamp < math.inf, FROM_INPUT=plan.from_input, BLOCK=BLOCK,
            )  # fmt: skip
        return gx

    @staticmethod
    def backward(ctx, ggx: Tensor):  # type: ignore[no-untyped-def, override]
        source, bias = ctx.saved_tensors
        return _Gradient.apply(ggx, source, bias, ctx.plan), None, None, None


def bias_act(
    x: Tensor, b: Tensor | None, *, dim: int, act: str, alpha: float, gain: float, clamp: float | None
) -> Tensor:
    """Same contract as ``bias_act`` after its checks; only for what ``supported`` accepts."""
    low = gain * {"linear": 1.0, "relu": 0.0, "lrelu": alpha}[act]
    from_input = clamp is not None and x.dtype != torch.float32
    limit = math.inf if clamp is None else float(clamp)
    return _BiasAct.apply(x, b, _Plan(low=low, high=gain, clamp=limit, dim=dim % x.ndim, from_input=from_input))

"""Convolution with a factor on every input and output channel, in bfloat16 products, for weights that are trained.

``conv2d`` in precision "half" with both factors beside it walks a dozen times over pictures; here each factor is
applied in the pass that rounds, and each factor's gradient comes with the pass that applies it.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from editkit.ops import arena, fused
from editkit.ops.backends import compiled_for_cpu, current_precision, half_products
from editkit.ops.scaled_conv import plain_gradients
from editkit.ops.threads import spread

TILE = 32  # bfloat16 of a row of AMX


def supported(x: Tensor, weight: Tensor, padding: int | tuple[int, int]) -> bool:
    """Precision "half", gradients recorded, float32 channels-last pictures on a CPU outside of autocast, a square
    kernel above 1 with less padding than its side, and as many channels as a vector has lanes."""
    if torch.is_autocast_enabled("cpu"):
        return False
    if current_precision() != "half" or not (torch.is_grad_enabled() and compiled_for_cpu() and half_products()):
        return False
    whole = isinstance(padding, int) and 0 <= padding < weight.shape[2] == weight.shape[3] > 1
    kind = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 and x.numel() > 0
    if not (whole and kind and x.is_contiguous(memory_format=torch.channels_last) and fused.available()):
        return False
    from editkit.ops.simd import LANES

    return min(weight.shape[:2]) >= LANES


def half_scaled_conv2d(x: Tensor, weight: Tensor, scale_in: Tensor, scale_out: Tensor, *, padding: int) -> Tensor:
    """``scale_out * (weight conv (scale_in * x))`` with operands and products rounded to bfloat16; for what
    ``supported`` accepts.

    Differentiable any number of times; gradients that are to have a graph are those of the float32 definition.

    Args:
        x: [N, I, H, W].
        weight: [O, I, k, k].
        scale_in, scale_out: float32 [N, I] and [N, O].
        padding: on every side.
    """
    return _HalfScaledConv.apply(x, weight, scale_in.contiguous(), scale_out.contiguous(), padding)


class _HalfScaledConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, scale_in: Tensor, scale_out: Tensor, padding: int) -> Tensor:  # type: ignore[no-untyped-def, override]
        given = _narrow(x, scale_in)
        y = F.conv2d(given, _widened(weight.bfloat16(), given.shape[1]), padding=padding)
        y = y.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x, weight, scale_in, scale_out, given, y)
        ctx.padding = padding
        return _widen(y, scale_out)

    @staticmethod
    def backward(ctx, g: Tensor):  # type: ignore[no-untyped-def, override]
        x, weight, scale_in, scale_out, given, y = ctx.saved_tensors
        padding, needed = ctx.padding, ctx.needs_input_grad
        if torch.is_grad_enabled():  # a graph of this pass is wanted: leave it to torch
            return (*plain_gradients((x, weight, scale_in, scale_out), needed[:4], g, padding), None)
        g, g_out = _narrow_and_dot(g, scale_out, y)
        gx = g_weight = g_in = None
        if needed[1]:
            padded = F.pad(given, [padding] * 4) if padding else given
            g_weight = _weight_gradient(padded, g, weight.shape)
        if needed[0] or needed[2]:
            mirrored = _widened(weight.bfloat16().flip(2, 3).transpose(0, 1), g.shape[1])
            raw = F.conv2d(g, mirrored, padding=weight.shape[2] - 1 - padding)
            gx, g_in = _widen_and_dot(raw, scale_in, x)
        return gx, g_weight, g_in, g_out if needed[3] else None, None


def _weight_gradient(x: Tensor, g: Tensor, shape: torch.Size) -> Tensor:
    """float32 of ``shape``; ``x`` holds its padding: with two zeros to add, oneDNN takes three times as long."""
    like = x.new_empty(g.shape[1], x.shape[1], *shape[2:])
    found = torch.ops.aten.convolution_backward(
        g, x, like, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [False, True, False]
    )[1]
    return found[: shape[0], : shape[1]].float()


def _wide(channels: int) -> int:
    """Channels that are summed over come in tiles of 32: of 173 a product takes twice as long as of 192."""
    return -(-channels // TILE) * TILE


def _widened(weight: Tensor, channels: int) -> Tensor:
    """[O, I, k, k] with zeros for further input channels."""
    weight = F.pad(weight, [0, 0, 0, 0, 0, channels - weight.shape[1]])
    return weight.contiguous(memory_format=torch.channels_last)


def _flat(x: Tensor) -> np.ndarray:
    """Channels-last pictures, or anything contiguous, as a flat array; bfloat16 as uint16."""
    x = x.detach()
    x = x.permute(0, 2, 3, 1) if x.ndim == 4 else x
    return (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).reshape(-1).numpy()


def _room(x: Tensor, dtype: torch.dtype, channels: int) -> Tensor:
    """For a channels-last picture of the size of ``x``."""
    shape = (x.shape[0], *x.shape[2:], channels)
    made = arena.array(shape, np.float32 if dtype == torch.float32 else np.uint16)
    return torch.from_numpy(made).view(dtype).permute(0, 3, 1, 2)


def _over(kernel, x: Tensor, *given: Tensor | int) -> None:  # type: ignore[no-untyped-def]
    """``kernel`` over the samples of ``x``, dealt out to threads."""
    n, channels, height, width = x.shape
    source, *others = (_flat(t) if isinstance(t, Tensor) else t for t in (x, *given))
    spread(lambda first, last: kernel(first, last, source, height * width, channels, *others), n)


def _narrow(x: Tensor, scale: Tensor) -> Tensor:
    from editkit.ops import half_kernel

    half = _room(x, torch.bfloat16, _wide(x.shape[1]))
    _over(half_kernel.narrow, x, scale, half, half.shape[1])
    return half


def _widen(half: Tensor, scale: Tensor) -> Tensor:
    from editkit.ops import half_kernel

    y = _room(half, torch.float32, half.shape[1])
    _over(half_kernel.widen, half, scale, y)
    return y


def _narrow_and_dot(g: Tensor, scale: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    from editkit.ops import half_kernel

    g = g.contiguous(memory_format=torch.channels_last)
    half, dots = _room(g, torch.bfloat16, _wide(g.shape[1])), torch.empty_like(scale)
    _over(half_kernel.narrow_and_dot, g, scale, half, half.shape[1], other, dots)
    return half, dots


def _widen_and_dot(half: Tensor, scale: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    from editkit.ops import half_kernel

    half = half.contiguous(memory_format=torch.channels_last)
    y, dots = _room(half, torch.float32, half.shape[1]), torch.empty_like(scale)
    _over(half_kernel.widen_and_dot, half, scale, y, other, dots)
    return y, dots

"""Convolution with a factor on every input and output channel, for weights that are not trained.

The two factors are StyleGAN3's modulation and demodulation (see ``modulated_conv``). Kernels of 3x3 take Winograd's way
unless exactness is asked for; those of 1x1 are one matrix product a sample, with the factors in the weights.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from editkit.ops import arena, winograd
from editkit.ops.backends import current_precision
from editkit.ops.threads import spread


def plain(x: Tensor, weight: Tensor, scale_in: Tensor, scale_out: Tensor, padding: int) -> Tensor:
    """The definition, in torch: differentiable any number of times."""
    if padding < 0:
        x, padding = x[:, :, -padding:padding, -padding:padding], 0
    return F.conv2d(x * scale_in[:, :, None, None], weight, padding=padding) * scale_out[:, :, None, None]


def plain_gradients(
    given: Sequence[Tensor], needed: Sequence[bool], gy: Tensor, padding: int
) -> tuple[Tensor | None, ...]:
    """The gradients of ``plain`` along those of its four tensors that are ``needed``, with a graph of their own.

    They are partial: styles and weights that the factors were made of are reached through these, not past them.
    """
    with torch.enable_grad():
        aliases = x, weight, scale_in, scale_out = tuple(t.view_as(t) for t in given)
        y = plain(x, weight, scale_in, scale_out, padding)
    wanted = [alias for alias, each in zip(aliases, needed, strict=True) if each]
    found = iter(torch.autograd.grad(y, wanted, gy, create_graph=True))
    return tuple(next(found) if each else None for each in needed)


def supported(x: Tensor, weight: Tensor) -> bool:
    """float32 on the CPU, at rest: no gradient along the weights, no functional transform."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or weight.dtype != torch.float32 or x.numel() == 0:
        return False
    if weight.requires_grad and torch.is_grad_enabled():
        return False
    if tuple(weight.shape[2:]) == (1, 1):
        return True
    return current_precision() != "exact" and winograd.suits(weight) and winograd.available()


def scaled_conv2d(x: Tensor, weight: Tensor, scale_in: Tensor, scale_out: Tensor, *, padding: int) -> Tensor:
    """``scale_out * (weight conv (scale_in * x))``; only for what ``supported`` accepts.

    Args:
        x: [N, I, H, W].
        weight: [O, I, k, k], k of 1 or 3; no gradient flows into it.
        scale_in, scale_out: [N, I] and [N, O].
        padding: on every side; negative crops.
    """
    return _ScaledConv.apply(x, weight, scale_in, scale_out, padding)


class _ScaledConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, scale_in: Tensor, scale_out: Tensor, padding: int) -> Tensor:  # type: ignore[no-untyped-def, override]
        rows = _rows(x)
        reach = 2 * padding - weight.shape[2] + 1
        size = (rows.shape[1] + reach, rows.shape[2] + reach)
        if weight.shape[2] == 1:
            matrices = scale_out[:, :, None] * weight.detach()[:, :, 0, 0] * scale_in[:, None, :]  # [N, O, I]
            rows = F.pad(rows, [0, 0, *[padding] * 4]) if padding else rows
            y = _product(rows, matrices.transpose(1, 2))
        else:
            y = winograd.convolve(rows, weight, scale_in, scale_out, padding=padding, size=size)
        y = y.permute(0, 3, 1, 2)
        ctx.save_for_backward(x, weight, scale_in, scale_out, y if ctx.needs_input_grad[3] else None)
        ctx.padding = padding
        return y

    @staticmethod
    def backward(ctx, gy: Tensor):  # type: ignore[no-untyped-def, override]
        x, weight, scale_in, scale_out, y = ctx.saved_tensors
        padding, needed = ctx.padding, ctx.needs_input_grad
        if torch.is_grad_enabled():  # a graph of this pass is wanted: leave it to torch
            return (*plain_gradients((x, weight, scale_in, scale_out), needed[:4], gy, padding), None)
        g_rows = _rows(gy)
        gx = g_in = g_out = None
        if needed[3]:
            g_out = winograd.channel_dot(g_rows, _rows(y)) / scale_out
        if needed[0] or needed[2]:
            size = tuple(x.shape[2:])
            if weight.shape[2] == 1:
                raw = _product(g_rows, scale_out[:, :, None] * weight.detach()[:, :, 0, 0])
                if padding:
                    raw = F.pad(raw, [0, 0, -padding, -padding, -padding, -padding])
            else:
                ones = torch.ones_like(scale_in)
                back = weight.shape[2] - 1 - padding
                raw = winograd.convolve(
                    g_rows, weight, scale_out, ones, padding=back, size=size, transpose=True
                )  # fmt: skip
            if needed[2]:
                g_in = winograd.channel_dot(raw, _rows(x))
            if needed[0]:
                gx = raw.mul_(scale_in[:, None, None, :]).permute(0, 3, 1, 2)
        return gx, None, g_in, g_out, None


def _rows(x: Tensor) -> Tensor:
    """[N, C, H, W] as contiguous [N, H, W, C]."""
    return x.detach().permute(0, 2, 3, 1).contiguous()


def _product(rows: Tensor, matrices: Tensor) -> Tensor:
    """[N, H, W, A] times [N, A, B], in blocks of rows that do not depend on the number of threads."""
    n, h, w, channels = rows.shape
    rows = rows.reshape(n, h * w, channels)
    result = arena.empty((n, h * w, matrices.shape[2]))
    blocks = max(1, min(h * w // 128, max(2, h * w // 1024)))
    edges = [h * w * i // blocks for i in range(blocks + 1)]

    def part(first: int, last: int) -> None:
        for task in range(first, last):
            i, block = divmod(task, blocks)
            low, high = edges[block], edges[block + 1]
            torch.mm(rows[i, low:high], matrices[i], out=result[i, low:high])

    spread(part, n * blocks)
    return result.view(n, h, w, -1)

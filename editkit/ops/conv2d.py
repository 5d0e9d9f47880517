"""Convolution with a faster weight gradient on CPUs.

oneDNN's weight gradient of a channels-last float32 convolution runs at a third of its forward rate. Summed as one
matrix product a tap over the flattened, padded rows it runs at about twice that; everything else stays torch's.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def conv2d(x: Tensor, weight: Tensor, *, padding: int | tuple[int, int] = 0) -> Tensor:
    """``F.conv2d``, stride one: ``x`` [N, I, H, W], ``weight`` [O, I, kh, kw]; differentiable any number of times."""
    pad = (padding, padding) if isinstance(padding, int) else tuple(padding)
    plain = x.device.type != "cpu" or x.dtype != torch.float32 or not weight.requires_grad or weight[0, 0].numel() == 1
    if plain or not torch.is_grad_enabled() or not x.is_contiguous(memory_format=torch.channels_last):
        return F.conv2d(x, weight, padding=pad)
    return _Conv2d.apply(x, weight, pad)


class _Conv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, pad: tuple[int, int]) -> Tensor:  # type: ignore[no-untyped-def, override]
        ctx.save_for_backward(x, weight)
        ctx.pad = pad
        return F.conv2d(x, weight, padding=pad)

    @staticmethod
    def backward(ctx, gy: Tensor):  # type: ignore[no-untyped-def, override]
        x, weight = ctx.saved_tensors
        need_x, need_weight = ctx.needs_input_grad[:2]
        quick = need_weight and not torch.is_grad_enabled()  # a graph of this pass is wanted: leave it to torch
        gx, gw, _ = torch.ops.aten.convolution_backward(
            gy, x, weight, None, [1, 1], ctx.pad, [1, 1], False, [0, 0], 1, [need_x, need_weight and not quick, False]
        )
        return gx, _weight_gradient(x, gy, weight.shape, ctx.pad) if quick else gw, None


def _weight_gradient(x: Tensor, gy: Tensor, shape: torch.Size, pad: tuple[int, int]) -> Tensor:
    """[O, I, kh, kw]: for every tap, gy^T times the rows of x that it meets, both on the padded grid of x."""
    out_channels, in_channels, kh, kw = shape
    x_rows = F.pad(x.permute(0, 2, 3, 1), [0, 0, pad[1], pad[1], pad[0], pad[0]])  # [N, H + 2p, W + 2p, I]
    width = x_rows.shape[2]
    gy_rows = F.pad(gy.permute(0, 2, 3, 1), [0, 0, 0, kw - 1, 0, kh - 1])  # zeros where no output is
    x_flat, gy_flat = x_rows.reshape(-1, in_channels), gy_rows.reshape(-1, out_channels)
    count = x_flat.shape[0]
    taps = x.new_empty(kh, kw, out_channels, in_channels)
    for ky in range(kh):
        for kx in range(kw):
            offset = ky * width + kx
            torch.mm(gy_flat[: count - offset].t(), x_flat[offset:], out=taps[ky, kx])
    return taps.permute(2, 3, 0, 1)

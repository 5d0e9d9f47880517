"""Convolution whose weights are trained, faster on CPUs.

oneDNN's weight gradient of a channels-last float32 convolution runs at a third of its forward rate. Summed as one
matrix product a tap over the flattened, padded rows it runs at about twice that; everything else stays torch's. In
precision "half" (see ``backends``) operands and results are rounded to bfloat16 and come back as float32.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from editkit.ops.backends import current_precision, half_products

_LEAST_CHANNELS = 8  # below, rounding costs more than it saves


def conv2d(x: Tensor, weight: Tensor, *, padding: int | tuple[int, int] = 0, stride: int = 1) -> Tensor:
    """``F.conv2d``: ``x`` [N, I, H, W], ``weight`` [O, I, kh, kw]; differentiable any number of times."""
    pad = (padding, padding) if isinstance(padding, int) else tuple(padding)
    plain = x.device.type != "cpu" or x.dtype != torch.float32 or weight[0, 0].numel() == 1
    if plain or not torch.is_grad_enabled() or not x.is_contiguous(memory_format=torch.channels_last):
        return F.conv2d(x, weight, padding=pad, stride=stride)
    half = current_precision() == "half" and min(weight.shape[:2]) >= _LEAST_CHANNELS and half_products()
    if not half and not weight.requires_grad:
        return F.conv2d(x, weight, padding=pad, stride=stride)
    return _Conv2d.apply(x, weight, pad, stride, torch.bfloat16 if half else torch.float32)


class _Conv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, pad: tuple[int, int], stride: int, dtype: torch.dtype) -> Tensor:  # type: ignore[no-untyped-def, override]
        ctx.save_for_backward(x, weight)
        ctx.pad, ctx.stride, ctx.dtype = pad, stride, dtype
        return F.conv2d(x.to(dtype), weight.to(dtype), padding=pad, stride=stride).float()

    @staticmethod
    def backward(ctx, gy: Tensor):  # type: ignore[no-untyped-def, override]
        need_x, need_weight = ctx.needs_input_grad[:2]
        dtype, pad, stride = ctx.dtype, ctx.pad, ctx.stride
        x, weight = (tensor.to(dtype) for tensor in ctx.saved_tensors)
        gy = gy.to(dtype)
        quick = stride == 1 and not torch.is_grad_enabled()  # a graph of this pass is wanted: leave it to torch
        gx = gw = None
        if quick and need_x and dtype == torch.bfloat16 and max(pad) < min(weight.shape[2:]):
            gx, need_x = _input_gradient(gy, weight, pad), False
        if quick and need_weight:
            gw, need_weight = _weight_gradient(x, gy, weight.shape, pad), False
        if need_x or need_weight:
            rest = torch.ops.aten.convolution_backward(
                gy, x, weight, None, [stride] * 2, pad, [1, 1], False, [0, 0], 1, [need_x, need_weight, False]
            )
            gx, gw = rest[0] if need_x else gx, rest[1] if need_weight else gw
        return None if gx is None else gx.float(), None if gw is None else gw.float(), None, None, None


def _input_gradient(gy: Tensor, weight: Tensor, pad: tuple[int, int]) -> Tensor:
    """As a convolution with the mirrored kernel: oneDNN's own backward in bfloat16 is half as fast."""
    mirrored = weight.flip(2, 3).transpose(0, 1).contiguous(memory_format=torch.channels_last)
    return F.conv2d(gy, mirrored, padding=(weight.shape[2] - 1 - pad[0], weight.shape[3] - 1 - pad[1]))


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

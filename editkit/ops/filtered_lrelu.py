"""The filtered non-linearity of StyleGAN3: leaky ReLU applied at a higher sampling rate, between two low-pass filters.

Source: Karras et al. 2021, section 3.2 and figure 2b.
"""

import torch
from torch import Tensor

from editkit.ops import fused, triton_backend
from editkit.ops.backends import compiled_for_cpu, current_backend
from editkit.ops.bias_act import bias_act
from editkit.ops.upfirdn2d import Factor, parse_factor, parse_padding, upfirdn2d

CHUNK = 16 << 20  # bytes of the upsampled picture at a time on a CPU: larger temporaries cost more in page faults


def filtered_lrelu(
    x: Tensor,
    fu: Tensor | None = None,
    fd: Tensor | None = None,
    b: Tensor | None = None,
    *,
    up: int = 1,
    down: int = 1,
    padding: Factor = 0,
    gain: float = 2**0.5,
    slope: float = 0.2,
    clamp: float | None = None,
    flip_filter: bool = False,
) -> Tensor:
    """Bias, upsample by ``up`` through ``fu``, leaky ReLU, gain, clamp, downsample by ``down`` through ``fd``.

    Args:
        x: ``[N, C, H, W]``, floating.
        fu, fd: filters, separable ``[taps]`` or ``[taps, taps]``; None is the identity.
        b: ``[C]`` or None.
        padding: with respect to the upsampled picture; ``p``, ``[x, y]`` or ``[x0, x1, y0, y1]``.
        gain, slope, clamp: of the activation; ``clamp=None`` leaves the magnitude free.

    Returns:
        ``[N, C, H', W']`` in the dtype of ``x``; differentiable any number of times.

    Raises:
        ValueError: an argument is not as above, or nothing is left of the picture.
    """
    pad, (up, _), (down, _) = parse_padding(padding), parse_factor(up), parse_factor(down)
    if x.ndim != 4 or not x.is_floating_point():
        raise ValueError(f"filtered_lrelu takes floating [N, C, H, W], got {x.dtype} {tuple(x.shape)}")
    if b is not None and b.shape != x.shape[1:2]:
        raise ValueError(f"bias must have {x.shape[1]} entries, one a channel, got {tuple(b.shape)}")
    if triton_backend.wanted(x):
        from editkit.ops import triton_filtered_lrelu as on_gpu

        if fu is None and fd is None and up == down == 1 and not any(pad):  # ToRGB: nothing is filtered
            return bias_act(x, b, act="lrelu", alpha=slope, gain=gain, clamp=clamp)
        if on_gpu.supported(fu, fd, up, down, gain):
            return on_gpu.filtered_lrelu(x, fu, fd, b, up, down, pad, gain, slope, clamp, flip_filter)
    if compiled_for_cpu() and fused.supported(x, fu, fd):
        return fused.filtered_lrelu(x, fu, fd, b, up, down, pad, gain, slope, clamp, flip_filter)

    def steps(x: Tensor, b: Tensor | None) -> Tensor:
        x = bias_act(x, b)
        x = upfirdn2d(x, fu, up=up, padding=pad, gain=float(up**2), flip_filter=flip_filter)
        x = bias_act(x, act="lrelu", alpha=slope, gain=gain, clamp=clamp)
        return upfirdn2d(x, fd, down=down, flip_filter=flip_filter)

    upsampled = x[:, :1].numel() * up**2 * x.element_size()  # bytes a channel
    channels = max(1, CHUNK // max(1, upsampled))
    if channels >= x.shape[1] or x.device.type != "cpu" or current_backend() == "reference":
        return steps(x, b)
    parts = x.split(channels, 1)
    biases = [None] * len(parts) if b is None else list(b.split(channels))
    return torch.cat([steps(*part) for part in zip(parts, biases, strict=True)], 1)

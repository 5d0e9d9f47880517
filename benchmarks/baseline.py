"""The zero-insertion path that speed is measured against: StyleGAN3's synthesis as its paper spells it out.

Frozen: this file is the yardstick and is never improved. Resampling inserts the zeros, pads, runs the whole FIR over
the whole upsampled picture as depthwise convolutions and drops what downsampling does not keep; modulation builds the
weights of every sample and runs one grouped convolution; bias and activation are passes of their own. Only weights
and geometry are read from the network; none of the operations of ``editkit.ops`` takes part.
Source: Karras et al. 2021, section 3.2, figures 2b and 4b, appendix C.1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from editkit.networks.stylegan3 import SynthesisNetwork
from editkit.networks.stylegan3_layers import SynthesisLayer


def upfirdn2d(x: Tensor, f: Tensor | None, *, up: int, down: int, padding: list[int], gain: float) -> Tensor:
    """Zeros inserted, padded (negative: cropped), filtered at the full rate, every ``down``-th sample kept."""
    n, c, h, w = x.shape
    if up > 1:
        x = x.reshape(n, c, h, 1, w, 1)
        x = F.pad(x, [0, up - 1, 0, 0, 0, up - 1])
        x = x.reshape(n, c, h * up, w * up)
    x = F.pad(x, [max(p, 0) for p in padding])
    x0, x1, y0, y1 = (max(-p, 0) for p in padding)
    x = x[:, :, y0 : x.shape[2] - y1, x0 : x.shape[3] - x1]
    if f is None:
        f = torch.ones(1, 1)
    f = (f * gain ** (f.ndim / 2)).to(x.dtype).flip(list(range(f.ndim)))
    for kernel in [f[None, :], f[:, None]] if f.ndim == 1 else [f]:
        x = F.conv2d(x, kernel[None, None].repeat(c, 1, 1, 1), groups=c)
    return x[:, :, ::down, ::down]


def bias_act(
    x: Tensor, b: Tensor | None, *, slope: float = 1.0, gain: float = 1.0, clamp: float | None = None
) -> Tensor:
    """Bias, leaky ReLU, gain, clamp: one pass each."""
    if b is not None:
        x = x + b.to(x.dtype).reshape(1, -1, 1, 1)
    if slope != 1:
        x = F.leaky_relu(x, slope)
    if gain != 1:
        x = x * gain
    if clamp is not None:
        x = x.clamp(-clamp, clamp)
    return x


def modulated_conv2d(x: Tensor, w: Tensor, s: Tensor, *, padding: int, demodulate: bool, input_gain: Tensor) -> Tensor:
    """Weights a sample, then one grouped convolution."""
    n, channels = x.shape[:2]
    if demodulate:
        w = w * w.square().mean([1, 2, 3], keepdim=True).rsqrt()
        s = s * s.square().mean().rsqrt()
    w = w[None] * s[:, None, :, None, None]  # [N, O, I, k, k]
    if demodulate:
        w = w * (w.square().sum([2, 3, 4]) + 1e-8).rsqrt()[:, :, None, None, None]
    w = w * input_gain.expand(n, channels)[:, None, :, None, None]
    x = F.conv2d(x.reshape(1, -1, *x.shape[2:]), w.flatten(0, 1).to(x.dtype), padding=padding, groups=n)
    return x.reshape(n, -1, *x.shape[2:])


def layer(module: SynthesisLayer, x: Tensor, styles: Tensor) -> Tensor:
    """One layer, from the geometry and the weights of ``module``."""
    g = module.geometry
    if g.is_torgb:
        styles = styles * (1 / (g.in_channels * module.conv_kernel**2) ** 0.5)
    gain = module.magnitude_ema.to(styles.dtype).rsqrt()
    padding, demodulate = module.conv_kernel - 1, not g.is_torgb
    x = modulated_conv2d(x, module.weight, styles, padding=padding, demodulate=demodulate, input_gain=gain)
    x = bias_act(x, module.bias)
    up, down = module.up_factor, module.down_factor
    x = upfirdn2d(x, module.up_filter, up=up, down=1, padding=module.padding, gain=float(up**2))
    slope, gain_out = (1.0, 1.0) if g.is_torgb else (0.2, 2**0.5)
    x = bias_act(x, None, slope=slope, gain=gain_out, clamp=module.conv_clamp)
    return upfirdn2d(x, module.down_filter, up=1, down=down, padding=[0, 0, 0, 0], gain=1.0)


def synthesis(network: SynthesisNetwork, ws: Tensor) -> Tensor:
    """``ws`` [N, num_ws, w_dim] to images [N, 3, R, R]."""
    styles = network.styles(ws)
    x = network.input(styles["input"]).contiguous()  # the path works on planes
    for module, name in zip(network.layers(), network.layer_names, strict=True):
        x = layer(module, x, styles[name])
    return x.to(ws.dtype) * network.output_scale

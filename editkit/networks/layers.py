"""Layers with an equalised learning rate, shared by several networks: fully connected and (resampled) convolution.

Source: Karras et al. 2018, "Progressive Growing of GANs", section 4.1. Names follow the published checkpoints.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from editkit.ops.bias_act import ACTIVATIONS, bias_act
from editkit.ops.conv2d_resample import conv2d_resample
from editkit.ops.filters import setup_filter

BINOMIAL = (1, 3, 3, 1)
"""Taps of the low-pass filter of published StyleGAN2 networks."""
HALF_DEVICES = ("cuda",)
"""Where half precision is the faster one."""


def in_half(wanted: bool, x: Tensor) -> bool:
    """Whether a layer that is ``wanted`` in half precision computes so with ``x``: float64 is never made less."""
    return wanted and x.device.type in HALF_DEVICES and x.dtype != torch.float64


def default_gain(activation: str) -> float:
    """Of an activation of ``bias_act``. Raises ValueError where there is none of that name."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"unknown activation {activation!r}; known: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[activation].gain


class FullyConnectedLayer(nn.Module):
    """``act(x W^T + b)`` with weights stored at unit variance and scaled at run time."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        activation: str = "linear",
        bias: bool = True,
        lr_multiplier: float = 1.0,
        weight_init: float = 1.0,
        bias_init: float | list[float] = 0.0,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.weight = nn.Parameter(torch.randn(out_features, in_features) * (weight_init / lr_multiplier))
        start = np.broadcast_to(np.asarray(bias_init, dtype=np.float32), [out_features])
        self.bias = nn.Parameter(torch.from_numpy(start / lr_multiplier)) if bias else None
        self.weight_gain = lr_multiplier / in_features**0.5
        self.bias_gain = lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        """``[N, in]`` to ``[N, out]``."""
        weight = self.weight.to(x.dtype) * self.weight_gain
        bias = None if self.bias is None else self.bias.to(x.dtype) * self.bias_gain
        if self.activation == "linear" and bias is not None:
            return torch.addmm(bias, x, weight.t())
        return bias_act(x @ weight.t(), bias, act=self.activation)


class Conv2dLayer(nn.Module):
    """Convolution, optional filtered up- or downsampling, bias and activation.

    Args:
        in_channels, out_channels, kernel_size, bias, activation: of the convolution and what follows it.
        up, down: integer factors of the resampling; resample_filter: its taps.
        conv_clamp: limit of the magnitude of the output, or None.
        trainable: False makes buffers of weight and bias ("Freeze-D", Mo et al. 2020); names stay.
    """

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int,
        bias: bool = True,
        activation: str = "linear",
        up: int = 1,
        down: int = 1,
        resample_filter: Sequence[float] = BINOMIAL,
        conv_clamp: float | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__()
        self.activation, self.up, self.down, self.conv_clamp = activation, up, down, conv_clamp
        self.default_gain = default_gain(activation)
        self.register_buffer("resample_filter", setup_filter(resample_filter))
        self.padding = kernel_size // 2
        self.weight_gain = 1 / (in_channels * kernel_size**2) ** 0.5
        weight = torch.randn(out_channels, in_channels, kernel_size, kernel_size)
        start = torch.zeros(out_channels) if bias else None
        if trainable:
            self.weight = nn.Parameter(weight)
            self.bias = None if start is None else nn.Parameter(start)
        else:
            self.register_buffer("weight", weight)
            self.register_buffer("bias", start)

    def forward(self, x: Tensor, *, gain: float = 1.0) -> Tensor:
        """``x`` [N, I, H, W] to [N, O, H * up / down, W * up / down]; ``gain`` multiplies output and clamp."""
        x = conv2d_resample(
            x,
            self.weight.to(x.dtype) * self.weight_gain,
            self.resample_filter,
            up=self.up,
            down=self.down,
            padding=self.padding,
            flip_weight=self.up == 1,
        )
        clamp = None if self.conv_clamp is None else self.conv_clamp * gain
        return bias_act(x, self.bias, act=self.activation, gain=self.default_gain * gain, clamp=clamp)

"""The layers of StyleGAN2's synthesis network: modulated convolution with noise, ToRGB, and the block of a resolution.

Source: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", sections 2 and 4.1, figure 7;
noise: Karras et al. 2019, "A Style-Based Generator Architecture", section 2 and figure 1b.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from editkit.networks.layers import BINOMIAL, Conv2dLayer, FullyConnectedLayer, default_gain, in_half
from editkit.ops.bias_act import bias_act
from editkit.ops.filters import setup_filter
from editkit.ops.modulated_conv2d_resample import modulated_conv2d_resample
from editkit.ops.upfirdn2d import upsample2d

ARCHITECTURES = ("orig", "skip", "resnet")
NOISE_MODES = ("const", "random", "none")


class SynthesisLayer(nn.Module):
    """Modulated 3 x 3 convolution, noise, bias, activation (figure 2d)."""

    resample_filter: Tensor
    noise_const: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        w_dim: int,
        resolution: int,
        up: int = 1,
        use_noise: bool = True,
        activation: str = "lrelu",
        resample_filter: Sequence[float] = BINOMIAL,
        conv_clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.in_channels, self.resolution, self.up, self.use_noise = in_channels, resolution, up, use_noise
        self.activation, self.conv_clamp = activation, conv_clamp
        self.default_gain = default_gain(activation)
        self.register_buffer("resample_filter", setup_filter(resample_filter))
        self.affine = FullyConnectedLayer(w_dim, in_channels, bias_init=1)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        if use_noise:
            self.register_buffer("noise_const", torch.randn(resolution, resolution))
            self.noise_strength = nn.Parameter(torch.zeros([]))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(
        self,
        x: Tensor,
        styles: Tensor,
        *,
        noise_mode: str,
        fused: bool,
        gain: float = 1.0,
        maps: Tensor | None = None,
    ) -> Tensor:
        """``x`` [N, I, R / up, R / up] and ``styles`` [N, I] to [N, O, R, R]; ``gain`` multiplies the output.

        maps: [N, R, R], instead of the stored noise map.
        """
        noise = None
        if self.use_noise and noise_mode == "const" and maps is not None:
            noise = maps[:, None] * self.noise_strength
        elif self.use_noise and noise_mode == "const":
            noise = self.noise_const * self.noise_strength
        elif self.use_noise and noise_mode == "random":
            shape = (x.shape[0], 1, self.resolution, self.resolution)
            noise = torch.randn(shape, device=x.device, dtype=styles.dtype) * self.noise_strength
        x = modulated_conv2d_resample(
            x,
            self.weight,
            styles,
            noise=noise,
            resample_filter=self.resample_filter,
            up=self.up,
            padding=1,
            flip_weight=self.up == 1,
            fused=fused,
        )
        clamp = None if self.conv_clamp is None else self.conv_clamp * gain
        return bias_act(x, self.bias, act=self.activation, gain=self.default_gain * gain, clamp=clamp)


class ToRGBLayer(nn.Module):
    """Modulated 1 x 1 convolution to the image's channels, without demodulation (figure 7b)."""

    def __init__(self, in_channels: int, out_channels: int, *, w_dim: int, conv_clamp: float | None) -> None:
        super().__init__()
        self.in_channels, self.conv_clamp = in_channels, conv_clamp
        self.affine = FullyConnectedLayer(w_dim, in_channels, bias_init=1)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.weight_gain = 1 / in_channels**0.5

    def forward(self, x: Tensor, styles: Tensor, *, fused: bool) -> Tensor:
        """``x`` [N, I, R, R] and ``styles`` [N, I] to [N, O, R, R]."""
        x = modulated_conv2d_resample(x, self.weight, styles * self.weight_gain, demodulate=False, fused=fused)
        return bias_act(x, self.bias, clamp=self.conv_clamp)


class SynthesisBlock(nn.Module):
    """All layers of one resolution: one convolution (the first block) or two, and ToRGB where the architecture has it.

    Architectures as in figure 7: "orig" has ToRGB at the end only, "skip" sums the images of all resolutions, "resnet"
    adds each block's input, resampled, to its output.
    """

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        w_dim: int,
        resolution: int,
        img_channels: int,
        is_last: bool,
        architecture: str,
        resample_filter: Sequence[float],
        conv_clamp: float | None,
        use_fp16: bool,
        use_noise: bool,
        activation: str,
    ) -> None:
        super().__init__()
        self.in_channels, self.architecture, self.use_fp16 = in_channels, architecture, use_fp16
        self.register_buffer("resample_filter", setup_filter(resample_filter))
        common: dict[str, Any] = {
            "w_dim": w_dim,
            "resolution": resolution,
            "use_noise": use_noise,
            "activation": activation,
            "conv_clamp": conv_clamp,
        }
        if in_channels == 0:
            self.const = nn.Parameter(torch.randn(out_channels, resolution, resolution))
        else:
            self.conv0 = SynthesisLayer(in_channels, out_channels, up=2, resample_filter=resample_filter, **common)
        self.conv1 = SynthesisLayer(out_channels, out_channels, **common)
        self.layer_names = ["conv1"] if in_channels == 0 else ["conv0", "conv1"]
        self.num_conv = len(self.layer_names)
        if is_last or architecture == "skip":
            self.torgb = ToRGBLayer(out_channels, img_channels, w_dim=w_dim, conv_clamp=conv_clamp)
            self.layer_names.append("torgb")
        if in_channels > 0 and architecture == "resnet":
            self.skip = Conv2dLayer(
                in_channels, out_channels, kernel_size=1, bias=False, up=2, resample_filter=resample_filter
            )

    def forward(
        self,
        x: Tensor | None,
        image: Tensor | None,
        styles: Mapping[str, Tensor],
        *,
        noise_mode: str,
        fused: bool,
        noise: Mapping[str, Tensor],
    ) -> tuple[Tensor, Tensor | None]:
        """Features [N, I, R / 2, R / 2], the image so far and ``styles`` by layer to those of resolution R.

        ``noise``: layer -> [N, R, R], instead of stored maps.
        """
        first = styles["conv1"]
        dtype = torch.float16 if in_half(self.use_fp16, first) else first.dtype
        options: dict[str, Any] = {"noise_mode": noise_mode, "fused": fused, "maps": noise.get("conv1")}
        before = options | {"maps": noise.get("conv0")}
        if x is None:
            x = self.const.to(dtype).expand(first.shape[0], -1, -1, -1)
            x = self.conv1(x, first, **options)
        elif self.architecture == "resnet":  # equal variances: each branch counts half
            x = x.to(dtype)
            skip = self.skip(x, gain=0.5**0.5)
            x = self.conv0(x, styles["conv0"], **before)
            x = skip + self.conv1(x, first, gain=0.5**0.5, **options)
        else:
            x = self.conv1(self.conv0(x.to(dtype), styles["conv0"], **before), first, **options)
        if image is not None:
            image = upsample2d(image, self.resample_filter)
        if "torgb" in styles:
            part = self.torgb(x, styles["torgb"], fused=fused).to(first.dtype)
            image = part if image is None else image + part
        return x, image

"""The residual discriminator of StyleGAN2, also used to train StyleGAN3.

Source: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", section 4.1 and figure 7c;
minibatch standard deviation: Karras et al. 2018, section 3. Names follow the published checkpoints.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editkit.networks.layers import FullyConnectedLayer
from editkit.ops.bias_act import bias_act
from editkit.ops.conv2d import conv2d
from editkit.ops.filters import setup_filter
from editkit.ops.upfirdn2d import upfirdn2d


class Conv2dLayer(nn.Module):
    """Convolution with an equalised learning rate, optional anti-aliased downsampling by two, and an activation."""

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int,
        bias: bool = True,
        activation: str = "linear",
        down: int = 1,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.activation, self.down, self.clamp = activation, down, clamp
        self.register_buffer("resample_filter", setup_filter([1, 3, 3, 1]))
        self.padding = kernel_size // 2
        self.weight_gain = 1 / (in_channels * kernel_size**2) ** 0.5
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def forward(self, x: Tensor, *, gain: float = 1.0) -> Tensor:
        """``x`` [N, I, H, W] to [N, O, H / down, W / down]; ``gain`` multiplies the output."""
        weight = self.weight.to(x.dtype) * self.weight_gain
        if self.down == 1:
            x = conv2d(x, weight, padding=self.padding)
        elif self.padding == 0:  # 1 x 1: filter and decimate first, it is the same and cheaper
            x = F.conv2d(upfirdn2d(x, self.resample_filter, down=self.down, padding=1), weight)
        else:
            x = upfirdn2d(x, self.resample_filter, padding=self.padding + 1)
            x = F.conv2d(x, weight, stride=self.down)
        default = 2**0.5 if self.activation == "lrelu" else 1.0
        clamp = None if self.clamp is None else self.clamp * gain
        return bias_act(x, self.bias, act=self.activation, gain=default * gain, clamp=clamp)


class DiscriminatorBlock(nn.Module):
    """Two convolutions and a skip, halving the resolution."""

    resample_filter: Tensor

    def __init__(
        self, in_channels: int, tmp_channels: int, out_channels: int, *, img_channels: int, clamp: float | None
    ) -> None:
        super().__init__()
        self.register_buffer("resample_filter", setup_filter([1, 3, 3, 1]))
        self.fromrgb = None
        if in_channels == 0:
            self.fromrgb = Conv2dLayer(img_channels, tmp_channels, kernel_size=1, activation="lrelu", clamp=clamp)
        self.conv0 = Conv2dLayer(tmp_channels, tmp_channels, kernel_size=3, activation="lrelu", clamp=clamp)
        self.conv1 = Conv2dLayer(tmp_channels, out_channels, kernel_size=3, activation="lrelu", down=2, clamp=clamp)
        self.skip = Conv2dLayer(tmp_channels, out_channels, kernel_size=1, bias=False, down=2)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, R, R] (the image, in the first block) to [N, C', R / 2, R / 2]."""
        if self.fromrgb is not None:
            x = self.fromrgb(x)
        skip = self.skip(x, gain=0.5**0.5)
        return skip + self.conv1(self.conv0(x), gain=0.5**0.5)


def minibatch_std(x: Tensor, *, group_size: int, num_channels: int) -> Tensor:
    """Appends the spread within groups of the batch as F = ``num_channels`` maps: [N, C, H, W] to [N, C + F, H, W]."""
    n, c, h, w = x.shape
    group = min(group_size, n) if group_size else n
    if n % group:
        raise ValueError(f"a batch of {n} does not divide into groups of {group}")
    y = x.reshape(group, -1, num_channels, c // num_channels, h, w)
    y = (y - y.mean(0)).square().mean(0)
    y = (y + 1e-8).sqrt().mean([2, 3, 4])  # [N / group, F]
    y = y.reshape(-1, num_channels, 1, 1).repeat(group, 1, h, w)
    return torch.cat([x, y], dim=1)


class DiscriminatorEpilogue(nn.Module):
    """Minibatch standard deviation, a convolution and two fully connected layers, at 4 x 4."""

    def __init__(
        self, in_channels: int, *, resolution: int, mbstd_group_size: int, mbstd_num_channels: int, clamp: float | None
    ) -> None:
        super().__init__()
        self.mbstd_group_size, self.mbstd_num_channels = mbstd_group_size, mbstd_num_channels
        self.conv = Conv2dLayer(
            in_channels + mbstd_num_channels, in_channels, kernel_size=3, activation="lrelu", clamp=clamp
        )
        self.fc = FullyConnectedLayer(in_channels * resolution**2, in_channels, activation="lrelu")
        self.out = FullyConnectedLayer(in_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, 4, 4] to logits [N, 1]."""
        if self.mbstd_num_channels > 0:
            x = minibatch_std(x, group_size=self.mbstd_group_size, num_channels=self.mbstd_num_channels)
        return self.out(self.fc(self.conv(x).flatten(1)))


class Discriminator(nn.Module):
    """Residual discriminator for square images whose side is a power of two, unconditional.

    Args:
        img_resolution, img_channels: of the input.
        channel_base, channel_max: a block at resolution r is ``min(channel_base / r, channel_max)`` wide.
        conv_clamp: limit of the magnitude after activations, or None.
        mbstd_group_size, mbstd_num_channels: of ``minibatch_std``; 0 channels switches it off.
    """

    def __init__(
        self,
        *,
        img_resolution: int,
        img_channels: int = 3,
        channel_base: int = 32768,
        channel_max: int = 512,
        conv_clamp: float | None = 256,
        mbstd_group_size: int = 4,
        mbstd_num_channels: int = 1,
    ) -> None:
        super().__init__()
        if img_resolution < 8 or img_resolution & (img_resolution - 1):
            raise ValueError(f"img_resolution must be a power of two from 8 up, got {img_resolution}")
        self.block_resolutions = []
        resolution = img_resolution
        while resolution > 4:
            width, narrower = (min(channel_base // r, channel_max) for r in (resolution, resolution // 2))
            block = DiscriminatorBlock(
                0 if resolution == img_resolution else width,
                width,
                narrower,
                img_channels=img_channels,
                clamp=conv_clamp,
            )
            setattr(self, f"b{resolution}", block)
            self.block_resolutions.append(resolution)
            resolution //= 2
        self.b4 = DiscriminatorEpilogue(
            min(channel_base // 4, channel_max),
            resolution=4,
            mbstd_group_size=mbstd_group_size,
            mbstd_num_channels=mbstd_num_channels,
            clamp=conv_clamp,
        )

    def features(self, image: Tensor) -> list[Tensor]:
        """Outputs of the blocks for images [N, C, R, R] in [-1, 1], finest first."""
        x, maps = image, []
        for resolution in self.block_resolutions:
            x = getattr(self, f"b{resolution}")(x)
            maps.append(x)
        return maps

    def forward(self, image: Tensor) -> Tensor:
        """Images [N, C, R, R] in [-1, 1] to logits [N, 1]; higher means more like a real one."""
        return self.b4(self.features(image)[-1])

"""The discriminator of StyleGAN2, also used to train StyleGAN3.

Source: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", section 4.1 and figure 7; labels by
projection: Miyato & Koyama 2018, "cGANs with Projection Discriminator", equation 3, with the mapped label of Karras et
al. 2020, "Training Generative Adversarial Networks with Limited Data"; minibatch standard deviation: Karras et al.
2018, section 3. Names follow the published checkpoints, whose state dicts load strictly.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from editkit.networks.layers import BINOMIAL, Conv2dLayer, FullyConnectedLayer, in_half
from editkit.networks.mapping import MappingNetwork
from editkit.networks.stylegan2_layers import ARCHITECTURES
from editkit.ops.filters import setup_filter
from editkit.ops.upfirdn2d import downsample2d


class DiscriminatorBlock(nn.Module):
    """Two convolutions that halve the resolution; an image's way in, or a bypass, where the architecture has one.

    "orig" and "resnet" see the image in the first block only, "skip" in every one; "resnet" adds the block's input,
    resampled, to its output. The layers are counted in the order of definition; those before ``freeze_layers`` do not
    learn.
    """

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        tmp_channels: int,
        out_channels: int,
        *,
        img_channels: int,
        first_layer: int,
        architecture: str,
        conv_clamp: float | None,
        use_fp16: bool,
        activation: str = "lrelu",
        resample_filter: Sequence[float] = BINOMIAL,
        freeze_layers: int = 0,
        fp16_channels_last: bool = False,
    ) -> None:
        super().__init__()
        del fp16_channels_last  # how to compute, not what
        self.in_channels, self.architecture, self.use_fp16 = in_channels, architecture, use_fp16
        self.register_buffer("resample_filter", setup_filter(resample_filter))
        self.num_layers = 0

        def layer(inputs: int, outputs: int, kernel_size: int, **options: Any) -> Conv2dLayer:
            trainable = first_layer + self.num_layers >= freeze_layers
            self.num_layers += 1
            return Conv2dLayer(inputs, outputs, kernel_size=kernel_size, trainable=trainable, **options)

        shaped = {"activation": activation, "conv_clamp": conv_clamp}
        halving = {"down": 2, "resample_filter": resample_filter}
        if in_channels == 0 or architecture == "skip":
            self.fromrgb = layer(img_channels, tmp_channels, 1, **shaped)
        self.conv0 = layer(tmp_channels, tmp_channels, 3, **shaped)
        self.conv1 = layer(tmp_channels, out_channels, 3, **shaped, **halving)
        if architecture == "resnet":
            self.skip = layer(tmp_channels, out_channels, 1, bias=False, **halving)

    def forward(self, x: Tensor | None, image: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Features [N, C, R, R] and the image, where it is still needed, to those of half the resolution."""
        seen = image if x is None else x
        if seen is None:
            raise ValueError("a block needs features or an image")
        dtype = torch.float16 if in_half(self.use_fp16, seen) else torch.promote_types(seen.dtype, torch.float32)
        if image is not None:
            entered = self.fromrgb(image.to(dtype))
            x = entered if x is None else x.to(dtype) + entered
            image = downsample2d(image, self.resample_filter) if self.architecture == "skip" else None
        else:
            x = seen.to(dtype)
        if self.architecture != "resnet":
            return self.conv1(self.conv0(x)), image
        skip = self.skip(x, gain=0.5**0.5)  # equal variances: each branch counts half
        return skip + self.conv1(self.conv0(x), gain=0.5**0.5), image


def minibatch_std(x: Tensor, *, group_size: int | None, num_channels: int) -> Tensor:
    """Appends the spread within groups of the batch as F = ``num_channels`` maps: [N, C, H, W] to [N, C + F, H, W].

    ``group_size`` None or 0 makes one group of the whole batch.
    """
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
    """Minibatch standard deviation, a convolution and two fully connected layers, at 4 x 4; then the label's say."""

    def __init__(
        self,
        in_channels: int,
        *,
        cmap_dim: int,
        resolution: int,
        img_channels: int,
        architecture: str,
        conv_clamp: float | None,
        mbstd_group_size: int | None = 4,
        mbstd_num_channels: int = 1,
        activation: str = "lrelu",
    ) -> None:
        super().__init__()
        self.cmap_dim, self.architecture = cmap_dim, architecture
        self.mbstd_group_size, self.mbstd_num_channels = mbstd_group_size, mbstd_num_channels
        if mbstd_num_channels > 0 and in_channels % mbstd_num_channels:
            raise ValueError(f"{in_channels} channels do not divide into mbstd_num_channels={mbstd_num_channels}")
        if architecture == "skip":
            self.fromrgb = Conv2dLayer(img_channels, in_channels, kernel_size=1, activation=activation)
        self.conv = Conv2dLayer(
            in_channels + mbstd_num_channels,
            in_channels,
            kernel_size=3,
            activation=activation,
            conv_clamp=conv_clamp,
        )
        self.fc = FullyConnectedLayer(in_channels * resolution**2, in_channels, activation=activation)
        self.out = FullyConnectedLayer(in_channels, cmap_dim or 1)

    def forward(self, x: Tensor, image: Tensor | None = None, cmap: Tensor | None = None) -> Tensor:
        """[N, C, 4, 4], the image as "skip" has it, and the mapped label [N, cmap_dim], to logits [N, 1]."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        if image is not None and self.architecture == "skip":
            x = x + self.fromrgb(image)
        if self.mbstd_num_channels > 0:
            x = minibatch_std(x, group_size=self.mbstd_group_size, num_channels=self.mbstd_num_channels)
        x = self.out(self.fc(self.conv(x).flatten(1)))
        if cmap is None:
            return x
        return (x * cmap).sum(1, keepdim=True) / self.cmap_dim**0.5  # Miyato & Koyama 2018, equation 3


class Discriminator(nn.Module):
    """Discriminator for square images whose side is a power of two; the arguments are those of published checkpoints.

    Args:
        c_dim: of the label (0: unconditional).
        img_resolution, img_channels: of the input.
        architecture: "orig", "skip" or "resnet", see ``DiscriminatorBlock``.
        channel_base, channel_max: a block at resolution r is ``min(channel_base // r, channel_max)`` wide.
        num_fp16_res: how many of the highest resolutions run in half precision on a GPU.
        conv_clamp: limit of the magnitude after activations, or None.
        cmap_dim: width of the mapped label, that of the last block by default.
        block_kwargs: ``activation``, ``resample_filter``, ``freeze_layers``, ``fp16_channels_last`` of the blocks.
        mapping_kwargs: of the label's ``MappingNetwork``, 8 layers by default.
        epilogue_kwargs: ``mbstd_group_size``, ``mbstd_num_channels`` (of ``minibatch_std``; 0 channels switches it
            off), ``activation``.
    """

    def __init__(
        self,
        *,
        c_dim: int = 0,
        img_resolution: int,
        img_channels: int = 3,
        architecture: str = "resnet",
        channel_base: int = 32768,
        channel_max: int = 512,
        num_fp16_res: int = 4,
        conv_clamp: float | None = 256,
        cmap_dim: int | None = None,
        block_kwargs: Mapping[str, Any] | None = None,
        mapping_kwargs: Mapping[str, Any] | None = None,
        epilogue_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if img_resolution < 8 or img_resolution & (img_resolution - 1):
            raise ValueError(f"img_resolution must be a power of two from 8 up, got {img_resolution}")
        if architecture not in ARCHITECTURES:
            raise ValueError(f"unknown architecture {architecture!r}; known: {', '.join(ARCHITECTURES)}")
        self.c_dim, self.img_resolution, self.img_channels = c_dim, img_resolution, img_channels
        self.block_resolutions = [1 << power for power in range(img_resolution.bit_length() - 1, 2, -1)]
        first_layer = 0
        for resolution in self.block_resolutions:
            width, narrower = (min(channel_base // r, channel_max) for r in (resolution, resolution // 2))
            block = DiscriminatorBlock(
                0 if resolution == img_resolution else width,
                width,
                narrower,
                img_channels=img_channels,
                first_layer=first_layer,
                architecture=architecture,
                conv_clamp=conv_clamp,
                use_fp16=resolution >= max(2 * img_resolution >> num_fp16_res, 8),
                **dict(block_kwargs or {}),
            )
            setattr(self, f"b{resolution}", block)
            first_layer += block.num_layers
        last = min(channel_base // 4, channel_max)
        if c_dim > 0:
            options = {"num_layers": 8} | dict(mapping_kwargs or {})
            cmap = last if cmap_dim is None else cmap_dim
            self.mapping = MappingNetwork(z_dim=0, c_dim=c_dim, w_dim=cmap, num_ws=None, w_avg_beta=None, **options)
        self.b4 = DiscriminatorEpilogue(
            last,
            cmap_dim=0 if c_dim == 0 else cmap,
            resolution=4,
            img_channels=img_channels,
            architecture=architecture,
            conv_clamp=conv_clamp,
            **dict(epilogue_kwargs or {}),
        )

    def features(self, image: Tensor) -> list[Tensor]:
        """Outputs of the blocks for images [N, C, R, R] in [-1, 1], finest first."""
        return self._blocks(image)[0]

    def _blocks(self, image: Tensor) -> tuple[list[Tensor], Tensor | None]:
        if image.ndim != 4 or image.shape[1:] != (self.img_channels, self.img_resolution, self.img_resolution):
            wanted = f"[N, {self.img_channels}, {self.img_resolution}, {self.img_resolution}]"
            raise ValueError(f"this discriminator takes images {wanted}, got {tuple(image.shape)}")
        rest: Tensor | None = image
        x, maps = None, []
        for resolution in self.block_resolutions:
            x, rest = getattr(self, f"b{resolution}")(x, rest)
            maps.append(x)
        return maps, rest

    def forward(self, image: Tensor, c: Tensor | None = None) -> Tensor:
        """Images [N, C, R, R] in [-1, 1] (and labels [N, c_dim]) to logits [N, 1]; higher: more like a real one."""
        maps, rest = self._blocks(image)
        return self.b4(maps[-1], rest, self.mapping(None, c) if self.c_dim > 0 else None)

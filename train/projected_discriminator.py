"""The discriminator of Projected GANs: small ones at four scales of a frozen network's features, mixed at random.

Source: Sauer et al. 2021, "Projected GANs Converge Faster", section 3.2 (cross-channel and cross-scale mixing) and
section 4 (a simple convolutional discriminator a scale, spectral normalisation, logits at 4 x 4). Departures: no batch
normalisation, so that a sample's logits do not depend on its batch; the largest singular value (Miyato et al. 2018)
comes from repeated squaring of W W^T instead of a running power iteration, so there is no state that depends on how
often the network ran. Labels by projection: Miyato & Koyama 2018, equation 3.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editkit.errors import UsageError
from editkit.networks.features import resize
from editkit.ops.conv2d import conv2d

SIDE = 4  # of the logits of each scale


class Backbone(Protocol):
    """A frozen feature network; ``id`` names it and its weights."""

    id: str

    def __call__(self, images: Tensor) -> list[Tensor]:
        """[N, 3, R, R] in [-1, 1] to four maps [N, C, H, W], finest first; gradients flow to the images."""
        ...


class FaceBackbone(nn.Module):
    """The bundled feature network's last four stages, on pictures brought to 64 to 128 px: no download."""

    def __init__(self) -> None:
        super().__init__()
        from editkit.perceptual import feature_network

        self.id = bundled_id()
        self.network = copy.deepcopy(feature_network())  # the shared one must not move with a discriminator
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> FaceBackbone:
        """Stays in evaluation mode."""
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """See ``Backbone``."""
        side = min(max(images.shape[2], 64), 128)
        return self.network.stages(resize(images, (side, side)))[1:]


def bundled_id() -> str:
    """The id of ``FaceBackbone``."""
    from editkit.checkpoints.fetch import checksum
    from editkit.perceptual import bundled_weights

    return f"bundled-{checksum(bundled_weights())[:16]}"


def bundled_width() -> int:
    """Channels of its coarsest map."""
    from editkit.perceptual import feature_network

    return feature_network().widths[-1]


def spectral_norm(weight: Tensor, u: Tensor | None = None) -> Tensor:
    """Largest singular value of ``weight`` as a matrix [O, rest]; differentiable. ``u``: its left vector, if known."""
    return (weight.flatten(1).float().t() @ (left_vector(weight) if u is None else u)).norm()


@torch.no_grad()
def left_vector(weight: Tensor, *, squarings: int = 6) -> Tensor:
    """The left singular vector [O] of that value."""
    matrix = weight.flatten(1).float()
    gram = matrix @ matrix.t()
    for _ in range(squarings):
        gram = gram / gram.trace().clamp_min(1e-30)
        gram = gram @ gram
    column = gram.index_select(1, gram.diagonal().argmax()[None])[:, 0]  # an index that no GPU is waited for
    return column / column.norm().clamp_min(1e-30)


class SpectralConv(nn.Conv2d):
    """A convolution whose weight matrix has a largest singular value of one."""

    _known: tuple[Tensor, Tensor] | None = None  # a weight and its left vector

    def forward(self, x: Tensor) -> Tensor:
        """[N, I, H, W] to [N, O, H', W']."""
        norm = spectral_norm(self.weight, self._vector()).clamp_min(1e-12).to(self.weight.dtype)
        y = conv2d(x, self.weight / norm, padding=int(self.padding[0]), stride=self.stride[0])
        return y if self.bias is None else y + self.bias[:, None, None]

    def _vector(self) -> Tensor:
        """On a CPU once for each change of the weight, which the generator's step and the discriminator's next see; by
        its values, since not every optimizer tells that it was there. A GPU's step is recorded with this in it."""
        weight = self.weight.detach()
        if weight.device.type != "cpu":
            return left_vector(weight)
        if self._known is None or not torch.equal(self._known[0], weight):
            self._known = weight.clone(), left_vector(weight)
        return self._known[1]


class RandomMixing(nn.Module):
    """Fixed random 1 x 1 convolutions a scale, then a residual U-Net of fixed random 3 x 3 ones from coarse to fine."""

    def __init__(self, inputs: Sequence[int], *, width: int, seed: int) -> None:
        super().__init__()
        stream = torch.Generator().manual_seed(seed)
        self.widths = [width * 2**level for level in range(len(inputs))]

        def kaiming(outputs: int, before: int, size: int) -> Tensor:
            return torch.randn(outputs, before, size, size, generator=stream) * math.sqrt(2 / (before * size * size))

        for level, (before, after) in enumerate(zip(inputs, self.widths, strict=True)):
            self.register_buffer(f"channels{level}", kaiming(after, before, 1))
            if level:
                self.register_buffer(f"scales{level}", kaiming(self.widths[level - 1], after, 3))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps, finest first, to mixed ones of ``widths`` channels."""
        mixed = [F.conv2d(x, getattr(self, f"channels{level}")) for level, x in enumerate(maps)]
        for level in range(len(mixed) - 1, 0, -1):
            finer = mixed[level - 1]
            carried = F.conv2d(mixed[level], getattr(self, f"scales{level}"), padding=1)
            mixed[level - 1] = finer + F.interpolate(carried, finer.shape[2:], mode="bilinear", align_corners=False)
        return mixed


class ScaleDiscriminator(nn.Module):
    """Halving convolutions down to 4 x 4, and logits there; ``c_dim``: length of the label or its embedding."""

    def __init__(self, channels: int, side: int, *, c_dim: int, largest: int, cmap_dim: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        while side >= 2 * SIDE:
            after = min(channels * 2, largest)
            layers += [SpectralConv(channels, after, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
            channels, side = after, side // 2
        layers += [SpectralConv(channels, channels, 3, padding=1), nn.LeakyReLU(0.2)]
        self.body, self.cmap_dim = nn.Sequential(*layers), cmap_dim
        self.out = SpectralConv(channels, cmap_dim if c_dim else 1, 1)
        self.label = nn.Linear(c_dim, cmap_dim) if c_dim else None

    def forward(self, x: Tensor, label: Tensor | None) -> Tensor:
        """[N, C, H, W] (and [N, c_dim]) to logits [N, 16]."""
        x = self.out(F.adaptive_avg_pool2d(self.body(x), SIDE)).float()
        if self.label is not None and label is not None:
            x = (x * self.label(label)[:, :, None, None]).sum(1) / self.cmap_dim**0.5
        return x.flatten(1)


class ProjectedDiscriminator(nn.Module):
    """All scales of all feature networks. The backbones are no part of its parameters or its state dict.

    Args:
        backbones: one or more (StyleGAN-XL takes two); each is frozen, and moves with the discriminator if a module.
        img_resolution, img_channels: of the images; one channel is shown as grey, further ones than three each as a
            grey picture of its own.
        width: channels of the finest mixed map; largest: of any layer; seed: of the fixed projections.
        embed_dim: of an embedding of the class that all scales share (StyleGAN-XL, section 3.3); 0: none, the label
            itself is projected.
    """

    def __init__(
        self,
        *,
        img_resolution: int,
        img_channels: int = 3,
        c_dim: int = 0,
        backbones: Sequence[Backbone] | None = None,
        width: int = 64,
        largest: int = 512,
        seed: int = 0,
        embed_dim: int = 0,
    ) -> None:
        super().__init__()
        if img_channels not in (1, 3, 4) or img_resolution < 4 or width < 1:
            raise UsageError(
                f"a projected discriminator takes 1, 3 or 4 channels, 4 pixels a side or more and a width from 1, got "
                f"{img_channels}, {img_resolution} and {width}"
            )
        self.img_resolution, self.img_channels, self.c_dim = img_resolution, img_channels, c_dim
        self._held: list[Any] = list(backbones) if backbones is not None else [FaceBackbone()]
        self.mixings, self.scales = nn.ModuleList(), nn.ModuleList()
        self.embed = nn.Embedding(c_dim, embed_dim) if c_dim and embed_dim else None
        for index, backbone in enumerate(self._held):
            with torch.no_grad():
                maps = self._maps(backbone, torch.zeros(1, img_channels, img_resolution, img_resolution))
            if len(maps) != 4:
                raise UsageError(f"a backbone gives four maps, {type(backbone).__name__} gave {len(maps)}")
            mixing = RandomMixing([x.shape[1] for x in maps], width=width, seed=seed + index)
            self.mixings.append(mixing)
            for channels, x in zip(mixing.widths, maps, strict=True):
                label_dim = embed_dim if self.embed is not None else c_dim
                self.scales.append(ScaleDiscriminator(channels, x.shape[2], c_dim=label_dim, largest=largest))

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """The frozen networks."""
        return tuple(self._held)

    def _apply(self, fn: Any, recurse: bool = True) -> ProjectedDiscriminator:
        for backbone in self._held:
            if isinstance(backbone, nn.Module):
                backbone._apply(fn)
        return super()._apply(fn, recurse)

    @staticmethod
    def _maps(backbone: Backbone, images: Tensor) -> list[Tensor]:
        if images.shape[1] == 1:
            return backbone(images.expand(-1, 3, -1, -1))
        found = [backbone(images[:, :3])]
        found += [backbone(x.expand(-1, 3, -1, -1)) for x in images.split(1, 1)[3:]]
        return [torch.cat(parts, 1) for parts in zip(*found, strict=True)]

    def forward(self, image: Tensor, c: Tensor | None = None) -> Tensor:
        """Images [N, C, R, R] in [-1, 1] (and labels [N, c_dim]) to logits [N, 16 * scales]; higher: more real."""
        wanted = (self.img_channels, self.img_resolution, self.img_resolution)
        if image.ndim != 4 or image.shape[1:] != wanted:
            raise ValueError(f"this discriminator takes images [N, *{wanted}], got {tuple(image.shape)}")
        if self.c_dim and (c is None or c.shape != (len(image), self.c_dim)):
            raise ValueError(
                f"labels must be [{len(image)}, {self.c_dim}], got {None if c is None else tuple(c.shape)}"
            )
        if c is not None and self.embed is not None:
            c = self.embed(c.argmax(1))
        maps = [x for backbone in self._held for x in self._maps(backbone, image)]
        return self.judge(maps, c)

    def judge(self, maps: Sequence[Tensor], c: Tensor | None = None) -> Tensor:
        """The maps of all backbones, one after another, to logits as ``forward``; ``c``: labels [N, c_dim], or
        [N, embed_dim] where classes have an embedding."""
        mixed = [x for index, mixing in enumerate(self.mixings) for x in mixing(maps[4 * index : 4 * index + 4])]
        return torch.cat([scale(x, c) for scale, x in zip(self.scales, mixed, strict=True)], 1)

"""From a photograph to its code w, as the starter recipe learns it along with the generator.

It reads the maps of a frozen feature network (see ``train.feature_backbones``), which know what an eye is before the
first step, and the picture itself for what they forget. In the manner of feature-based inversion encoders (Richardson
et al. 2021, "Encoding in Style", section 3.1), but to one code for all layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editkit.ops.conv2d import conv2d

SIDE = 8  # where the maps meet


class Conv(nn.Conv2d):
    """A convolution and a leaky ReLU; in precision "half" in bfloat16 products."""

    def __init__(self, before: int, after: int, kernel: int, *, stride: int = 1) -> None:
        super().__init__(before, after, kernel, stride=stride, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """[N, before, H, W] to [N, after, ceil(H / stride), ceil(W / stride)]."""
        assert self.bias is not None
        x = conv2d(x, self.weight, padding=self.kernel_size[0] // 2, stride=self.stride[0])
        return F.leaky_relu(x + self.bias[:, None, None], 0.2)


class CodeEncoder(nn.Module):
    """Pictures and their maps to codes.

    Args:
        picture, maps: shapes [C, H, W] of what it will be given, without the batch.
        dim: length of a code.
        width: channels at ``SIDE``.
    """

    def __init__(self, picture: Sequence[int], maps: Sequence[Sequence[int]], *, dim: int, width: int = 64) -> None:
        super().__init__()
        self.arms = nn.ModuleList(_arm(shape, width) for shape in (picture, *maps))
        self.meet = nn.Sequential(Conv(width * len(self.arms), 3 * width, 3), Conv(3 * width, 2 * width, 3, stride=2))
        self.hidden = nn.Linear(2 * width * (SIDE // 2) ** 2, 512)
        self.code = nn.Linear(512, dim)

    def forward(self, images: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """[N, C, R, R] in [-1, 1] and maps [N, C, H, W] to codes [N, dim]; their mean and spread are learned."""
        sizes = [x.square().mean((1, 2, 3), keepdim=True) for x in maps]
        given = [images, *(x * (size + 1e-6).rsqrt() for x, size in zip(maps, sizes, strict=True))]
        met = torch.cat([F.adaptive_avg_pool2d(arm(x), SIDE) for arm, x in zip(self.arms, given, strict=True)], 1)
        met = met.contiguous(memory_format=torch.channels_last)
        return self.code(F.leaky_relu(self.hidden(self.meet(met).flatten(1)), 0.2))


@torch.no_grad()
def codes_of(
    encoder: CodeEncoder, features: Callable[[Tensor], list[Tensor]], pictures: Iterable[Sequence[Tensor]]
) -> Tensor:
    """Codes [N, views, dim] of views of the same photographs, [n, C, R, R] each, n of the N at a time."""
    return torch.cat([torch.stack([encoder(view, features(view)) for view in views], 1) for views in pictures])


def _arm(shape: Sequence[int], width: int) -> nn.Sequential:
    """Halves a map until it is ``SIDE`` wide, with more channels the smaller it gets."""
    channels, side, _ = shape
    halvings = max(0, (side // SIDE).bit_length() - 1)
    layers = []
    for left in range(halvings, 0, -1):
        after = max(min(16, width), width - 16 * (left - 1))
        layers.append(Conv(channels, after, 3 if channels > 3 else 5, stride=2))
        channels = after
    return nn.Sequential(*layers) if layers else nn.Sequential(Conv(channels, width, 1))

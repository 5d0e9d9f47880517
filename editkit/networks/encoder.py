"""A small convolutional encoder: an image to a vector.

A plain strided network in the manner of the encoders of variational autoencoders (Kingma & Welling 2014); no part of
it is specific to a generator.
"""

import torch
from torch import Tensor, nn

from editkit.networks.discriminator import Conv2dLayer
from editkit.networks.layers import FullyConnectedLayer


class ConvEncoder(nn.Module):
    """Halves the resolution down to 4 x 4, then one fully connected layer.

    Args:
        img_resolution: a power of two from 8 up; ``img_channels`` of the input.
        out_dim: length of the output vector.
        channel_base, channel_max: width at resolution r is ``min(channel_base / r, channel_max)``.
    """

    def __init__(
        self,
        *,
        img_resolution: int,
        out_dim: int,
        img_channels: int = 3,
        channel_base: int = 2048,
        channel_max: int = 256,
    ) -> None:
        super().__init__()
        resolution = img_resolution
        layers: list[nn.Module] = [
            Conv2dLayer(img_channels, min(channel_base // resolution, channel_max), kernel_size=3, activation="lrelu")
        ]
        while resolution > 4:
            width, wider = (min(channel_base // r, channel_max) for r in (resolution, resolution // 2))
            layers += [Conv2dLayer(width, wider, kernel_size=3, activation="lrelu", down=2)]
            if resolution <= 32:
                layers += [Conv2dLayer(wider, wider, kernel_size=3, activation="lrelu")]
            resolution //= 2
        self.convolutions = nn.Sequential(*layers)
        self.head = FullyConnectedLayer(min(channel_base // 4, channel_max) * 16, out_dim)

    def forward(self, image: Tensor) -> Tensor:
        """Images [N, C, R, R] in [-1, 1] to vectors [N, out_dim]."""
        return self.head(torch.flatten(self.convolutions(image), 1))

"""Pictures of 1 and of 4 channels as RGB, which is what everything in editkit looks at, and photos as grey.

Convention: [N, C, H, W] in [-1, 1]; C = 1 is grey, 3 RGB, 4 RGB with alpha (-1 clear, 1 opaque; colours are not
premultiplied). What is clear shows white, as in photos with alpha and in data that are read without theirs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from editkit.errors import UsageError

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow makes pictures grey


def as_rgb(images: Tensor) -> Tensor:
    """Pictures of 1, 3 or 4 channels as RGB [N, 3, H, W]; differentiable. Raises UsageError for other channels."""
    return split_alpha(images)[0]


def split_alpha(images: Tensor) -> tuple[Tensor, Tensor | None]:
    """RGB on white [N, 3, H, W], and the alpha [N, 1, H, W] in [0, 1] of pictures of 4 channels, of others None.

    ``write_image`` takes both, and puts the colours without the white in the file. Raises UsageError as ``as_rgb``.
    """
    channels = images.shape[1] if images.ndim == 4 else 0
    if channels == 3:
        return images, None
    if channels == 1:
        return images.repeat(1, 3, 1, 1), None
    if channels != 4:
        raise UsageError(f"pictures are [N, 1, 3 or 4, H, W], got {tuple(images.shape)}")
    alpha = ((images[:, 3:] + 1) / 2).clamp(0, 1)
    return torch.lerp(images.new_ones(()), images[:, :3], alpha), alpha


def as_grey(images: Tensor) -> Tensor:
    """RGB pictures [N, 3, H, W] without their colour, the three channels alike."""
    weights = images.new_tensor(_LUMA)[:, None, None]
    return (images * weights).sum(1, keepdim=True).repeat(1, 3, 1, 1)

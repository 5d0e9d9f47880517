"""Scorers that need no network: brightness, contrast, warmth, tint, saturation, detail, sharpness and background.

Convention: images are float32 [N, 3, R, R] in [-1, 1]; scores are in the same range's units unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from directions.attributes import Scorer

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_CORNER = 3 / 16  # side of the upper corners, in image widths: above the shoulders and beside the hair


def brightness() -> Scorer:
    """Mean luma."""
    return _scorer("brightness", lambda images: luma(images).mean((1, 2)), "Mean luma, black -1, white +1.")


def contrast() -> Scorer:
    """Standard deviation of luma over the picture."""
    return _scorer("contrast", lambda images: luma(images).std((1, 2)), "Standard deviation of luma.")


def warmth() -> Scorer:
    """Mean of red minus blue."""
    return _scorer("warmth", lambda images: (images[:, 0] - images[:, 2]).mean((1, 2)), "Red minus blue.")


def tint() -> Scorer:
    """Mean of red and blue, less green: with warmth, the two axes of a white balance."""
    return _scorer(
        "tint",
        lambda images: (0.5 * (images[:, 0] + images[:, 2]) - images[:, 1]).mean((1, 2)),
        "Red and blue minus green: positive magenta, negative green.",
    )


def saturation() -> Scorer:
    """Mean over pixels of the largest minus the smallest channel."""
    return _scorer(
        "saturation",
        lambda images: (images.amax(1) - images.amin(1)).mean((1, 2)),
        "Largest minus smallest channel; zero for a grey picture.",
    )


def detail() -> Scorer:
    """Mean absolute difference of neighbouring pixels' luma."""
    return _scorer("detail", _detail, "Mean absolute luma difference of neighbours; more is sharper or noisier.")


def sharpness() -> Scorer:
    """Logarithm of the Laplacian's standard deviation over that of luma: contrast and brightness cancel out."""
    return _scorer(
        "sharpness", _sharpness, "Fine over coarse luma differences; more is sharper or noisier.", unit="log 10"
    )


def background() -> Scorer:
    """How much lighter the upper corners are than the middle of the picture, where an aligned face is."""
    return _scorer("background", _background, "Luma of the upper corners minus that of the middle, where the face is.")


BUILT_IN: dict[str, Callable[[], Scorer]] = {
    "brightness": brightness,
    "contrast": contrast,
    "warmth": warmth,
    "tint": tint,
    "saturation": saturation,
    "detail": detail,
    "sharpness": sharpness,
    "background": background,
}
"""Name -> the function that makes the scorer."""


def _scorer(
    name: str, measure: Callable[[Tensor], Tensor], description: str, *, unit: str = "image range [-1, 1]"
) -> Scorer:
    return Scorer(name=name, unit=unit, measure=measure, description=description)


def luma(images: Tensor) -> Tensor:
    """Luma of images [N, 3, R, R]: [N, R, R]."""
    weights = torch.tensor(_LUMA, device=images.device, dtype=images.dtype)
    return torch.einsum("nchw,c->nhw", images, weights)


def _detail(images: Tensor) -> Tensor:
    y = luma(images)
    across = y.diff(dim=2).abs().mean((1, 2))
    down = y.diff(dim=1).abs().mean((1, 2))
    return 0.5 * (across + down)


def _sharpness(images: Tensor) -> Tensor:
    y = luma(images)
    laplacian = 4 * y[:, 1:-1, 1:-1] - y[:, :-2, 1:-1] - y[:, 2:, 1:-1] - y[:, 1:-1, :-2] - y[:, 1:-1, 2:]
    return torch.log10(laplacian.std((1, 2)).clamp(min=1e-6) / y.std((1, 2)).clamp(min=1e-6))


def corners(values: Tensor) -> tuple[Tensor, Tensor]:
    """Means [N] of values [N, R, R] over the upper corners, and over the middle, where an aligned face is."""
    side, quarter = max(1, round(_CORNER * values.shape[2])), values.shape[2] // 4
    above = torch.cat([values[:, :side, :side], values[:, :side, -side:]], dim=2).mean((1, 2))
    return above, values[:, quarter : 3 * quarter, quarter : 3 * quarter].mean((1, 2))


def _background(images: Tensor) -> Tensor:
    around, middle = corners(luma(images))
    return around - middle

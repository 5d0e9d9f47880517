"""Scorers that need no network: brightness, contrast, warmth, saturation and detail of a picture.

Convention: images are float32 [N, 3, R, R] in [-1, 1]; scores are in the same range's units unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from directions.attributes import Scorer

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def brightness() -> Scorer:
    """Mean luma."""
    return _scorer("brightness", lambda images: _luma(images).mean((1, 2)), "Mean luma, black -1, white +1.")


def contrast() -> Scorer:
    """Standard deviation of luma over the picture."""
    return _scorer("contrast", lambda images: _luma(images).std((1, 2)), "Standard deviation of luma.")


def warmth() -> Scorer:
    """Mean of red minus blue."""
    return _scorer("warmth", lambda images: (images[:, 0] - images[:, 2]).mean((1, 2)), "Red minus blue.")


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


BUILT_IN: dict[str, Callable[[], Scorer]] = {
    "brightness": brightness,
    "contrast": contrast,
    "warmth": warmth,
    "saturation": saturation,
    "detail": detail,
}
"""Name -> the function that makes the scorer."""


def _scorer(name: str, measure: Callable[[Tensor], Tensor], description: str) -> Scorer:
    return Scorer(name=name, unit="image range [-1, 1]", measure=measure, description=description)


def _luma(images: Tensor) -> Tensor:
    weights = torch.tensor(_LUMA, device=images.device, dtype=images.dtype)
    return torch.einsum("nchw,c->nhw", images, weights)


def _detail(images: Tensor) -> Tensor:
    luma = _luma(images)
    across = luma.diff(dim=2).abs().mean((1, 2))
    down = luma.diff(dim=1).abs().mean((1, 2))
    return 0.5 * (across + down)

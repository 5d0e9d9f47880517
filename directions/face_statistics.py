"""Scorers of parts of an aligned face that need no network: where light falls, and colours beside each other.

Convention: images are float32 [N, 3, R, R] in [-1, 1], aligned as ``faces128``: eyes at a height of 0.30 and 0.31 and
0.69 across, the mouth at 0.67 (means over the bundled generator's samples, whose deviations are 0.015). Boxes are in
image widths. Each score compares two parts of one picture, so that brightness and contrast of the whole cancel out as
far as they can.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from directions.attributes import Scorer
from directions.image_statistics import corners, luma

Box = tuple[float, float, float, float]  # left, top, right, bottom
_LEFT_CHEEK: Box = (0.20, 0.38, 0.42, 0.64)
_RIGHT_CHEEK: Box = (0.58, 0.38, 0.80, 0.64)
_FOREHEAD: Box = (0.30, 0.08, 0.70, 0.22)
_CHIN: Box = (0.36, 0.78, 0.64, 0.92)
_MOUTH: Box = (0.36, 0.63, 0.64, 0.73)
_TEETH: Box = (0.41, 0.64, 0.59, 0.70)
_LEFT_EYE: Box = (0.20, 0.25, 0.42, 0.36)
_RIGHT_EYE: Box = (0.58, 0.25, 0.80, 0.36)


def side_light() -> Scorer:
    """Light from the side: one cheek less the other."""
    return _scorer(
        "side_light",
        lambda images: _part(luma(images), _RIGHT_CHEEK) - _part(luma(images), _LEFT_CHEEK),
        "Luma of the cheek on the image's right minus that on its left; also grows as the head turns.",
    )


def top_light() -> Scorer:
    """Light from above: forehead less chin."""
    return _scorer(
        "top_light",
        lambda images: _part(luma(images), _FOREHEAD) - _part(luma(images), _CHIN),
        "Luma of the forehead minus that of the chin; hair on the forehead and a beard count too.",
    )


def background_warmth() -> Scorer:
    """Colour behind the head, beside that of the face: red less blue."""
    return _scorer(
        "background_warmth",
        _background_warmth,
        "Red minus blue of the upper corners, minus the same of the middle, where the face is.",
    )


def mouth_light() -> Scorer:
    """A light mouth: its middle less the cheeks."""
    return _scorer(
        "mouth_light",
        lambda images: _part(luma(images), _TEETH) - _cheeks(luma(images)),
        "Luma of the mouth's middle minus that of the cheeks: teeth are light, lips are dark.",
    )


def lip_redness() -> Scorer:
    """Colour of the lips: red less green, mouth less cheeks."""
    return _scorer(
        "lip_redness",
        lambda images: _part(_redness(images), _MOUTH) - _cheeks(_redness(images)),
        "Red minus green of the mouth, minus the same of the cheeks.",
    )


def eye_shade() -> Scorer:
    """Dark eyes: cheeks less the region of the eyes."""
    return _scorer(
        "eye_shade",
        lambda images: _cheeks(luma(images)) - 0.5 * (_part(luma(images), _LEFT_EYE) + _part(luma(images), _RIGHT_EYE)),
        "Luma of the cheeks minus that of the eyes, brows and glasses included.",
    )


BUILT_IN: dict[str, Callable[[], Scorer]] = {
    "side_light": side_light,
    "top_light": top_light,
    "background_warmth": background_warmth,
    "mouth_light": mouth_light,
    "lip_redness": lip_redness,
    "eye_shade": eye_shade,
}
"""Name -> the function that makes the scorer."""


def _scorer(name: str, measure: Callable[[Tensor], Tensor], description: str) -> Scorer:
    return Scorer(name=name, unit="image range [-1, 1]", measure=measure, description=description)


def _part(values: Tensor, box: Box) -> Tensor:
    """Mean of values [N, R, R] over a box: [N]."""
    size = values.shape[2]
    left, top, right, bottom = (round(edge * size) for edge in box)
    return values[:, top : max(bottom, top + 1), left : max(right, left + 1)].mean((1, 2))


def _cheeks(values: Tensor) -> Tensor:
    return 0.5 * (_part(values, _LEFT_CHEEK) + _part(values, _RIGHT_CHEEK))


def _redness(images: Tensor) -> Tensor:
    return images[:, 0] - images[:, 1]


def _background_warmth(images: Tensor) -> Tensor:
    around, middle = corners(images[:, 0] - images[:, 2])
    return around - middle

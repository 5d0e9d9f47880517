"""Crop conventions: from landmarks or a box to the square of a photo that a generator expects.

Convention:
    points are (x, y) in photo pixels, pixel centres at +0.5; five points are left eye, right eye, nose, left and right
    mouth corner, left meaning left on the picture; 68 points are in the order of iBUG 300-W. A Square is where the crop
    lies in the photo: its top-left corner and the vectors along its top and left edges. All float64.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editkit.errors import UsageError

CONVENTIONS = ("faces128", "ffhq", "centre")

# faces128: see the data set's README. Side in units of the mean of eye distance and eye-to-mouth distance.
FACES128_SIDE, FACES128_HEIGHT, FACES128_TOLERANCE = 2.62, 0.485, 3.0
# Mean landmarks of the data set, as fractions of the crop.
FACES128_POINTS = ((0.3080, 0.2971), (0.6928, 0.2947), (0.4966, 0.5121), (0.3329, 0.6751), (0.6663, 0.6731))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Square:
    """A square of the photo, possibly rotated."""

    corner: Tensor  # [2], its top-left corner
    right: Tensor  # [2], along its top edge, as long as its side
    down: Tensor  # [2], along its left edge, right turned by 90 degrees clockwise as seen

    @property
    def side(self) -> float:
        """Length of an edge in photo pixels."""
        return float(self.right.norm())

    def photo_to_crop(self, size: int) -> Tensor:
        """The similarity [3, 3] from photo pixels to pixels of a crop of ``size`` a side."""
        back = torch.eye(3, dtype=torch.float64)
        back[:2, 0], back[:2, 1], back[:2, 2] = self.right / size, self.down / size, self.corner
        return torch.linalg.inv(back)


def square_around(
    centre: Tensor, side: float, *, degrees: float = 0.0, across: float = 0.5, along: float = 0.5
) -> Square:
    """The square with ``centre`` at the fractions ``across`` and ``along`` of it, turned clockwise by ``degrees``."""
    angle = math.radians(degrees)
    right = side * torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
    down = _turn(right)
    return Square(corner=centre - across * right - along * down, right=right, down=down)


def _turn(vector: Tensor) -> Tensor:
    """By 90 degrees clockwise as seen (y points down)."""
    return torch.stack((-vector[1], vector[0]))


def five_points(landmarks: Tensor) -> Tensor:
    """[5, 2] as it is; of [68, 2] the means of the eyes, the tip of the nose and the corners of the mouth."""
    points = landmarks.to(torch.float64)
    if points.shape == (5, 2) and torch.isfinite(points).all():
        return points
    if points.shape == (68, 2) and torch.isfinite(points).all():
        return torch.stack((points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]))
    raise UsageError(f"landmarks are 5 or 68 finite points (x, y) in photo pixels, got {tuple(landmarks.shape)}")


def faces128(landmarks: Tensor, *, tolerance: float = FACES128_TOLERANCE) -> Square:
    """The square of the bundled face data set, from 5 or 68 points.

    Its side is 2.62 times the mean of the eye distance and the eye-to-mouth distance; the midpoint between eyes and
    mouth lies in the middle across and at 48.5 % of the height. As in the data set, it is turned upright only where the
    eye line is off by more than ``tolerance`` degrees.
    """
    left, right, _, mouth_left, mouth_right = five_points(landmarks)
    eyes, mouth, line = (left + right) / 2, (mouth_left + mouth_right) / 2, right - left
    _check_apart(line, mouth - eyes)
    degrees = math.degrees(math.atan2(float(line[1]), float(line[0])))
    side = FACES128_SIDE * float(line.norm() + (mouth - eyes).norm()) / 2
    turned = degrees if abs(degrees) > tolerance else 0.0
    return square_around((eyes + mouth) / 2, side, degrees=turned, along=FACES128_HEIGHT)


def ffhq(landmarks: Tensor) -> Square:
    """The square of FFHQ, from 5 or 68 points (Karras et al. 2019, appendix A, as published with the data set).

    The horizontal axis is the eye line averaged with the perpendicular of the line from eyes to mouth; half the side
    is the larger of 2.0 eye distances and 1.8 eye-to-mouth distances; the centre is a tenth of the way to the mouth.
    """
    left, right, _, mouth_left, mouth_right = five_points(landmarks)
    eyes, across = (left + right) / 2, right - left
    to_mouth = (mouth_left + mouth_right) / 2 - eyes
    _check_apart(across, to_mouth)
    axis = across - _turn(to_mouth)
    half = axis / axis.norm() * max(2.0 * float(across.norm()), 1.8 * float(to_mouth.norm()))
    centre = eyes + 0.1 * to_mouth
    down = _turn(half)
    return Square(corner=centre - half - down, right=2 * half, down=2 * down)


def _check_apart(*vectors: Tensor) -> None:
    if min(float(vector.norm()) for vector in vectors) < 1e-3:
        raise UsageError("the landmarks coincide: both eyes, or eyes and mouth, are at one place")


def centre(photo_size: tuple[int, int]) -> Square:
    """The largest centre square of a photo of (width, height)."""
    width, height = photo_size
    middle = torch.tensor([width / 2, height / 2], dtype=torch.float64)
    return square_around(middle, min(width, height))


def from_box(box: Sequence[float], photo_size: tuple[int, int]) -> Square:
    """The square with the centre of a box (x, y, width, height) and its longer side.

    Raises UsageError unless the box has four finite numbers, a positive size, and lies at least partly in the photo.
    """
    if len(box) != 4 or not all(math.isfinite(value) for value in box):
        raise UsageError(f"a box is four numbers x,y,width,height in photo pixels, got {tuple(box)}")
    x, y, width, height = (float(value) for value in box)
    if min(width, height) < 1:
        raise UsageError(f"a box must be at least one pixel wide and high, got {width:g} x {height:g}")
    if x >= photo_size[0] or y >= photo_size[1] or x + width <= 0 or y + height <= 0:
        raise UsageError(
            f"the box {tuple(box)} lies outside the photo, which is {photo_size[0]} x {photo_size[1]} pixels"
        )
    return square_around(torch.tensor([x + width / 2, y + height / 2], dtype=torch.float64), max(width, height))

"""Alignment: from a photo to the crop a generator expects, and back into the photo.

Convention:
    images are float32 [1, 3, H, W] in [-1, 1]; points are (x, y) in photo pixels, origin at the top-left corner, pixel
    centres at +0.5. ``photo_to_crop`` is forward: point p of the photo lies at ``photo_to_crop @ (p, 1)`` of the crop.
    What a crop shows from outside the photo is mirrored and blurred.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from editkit.crops import CONVENTIONS, Square, centre, faces128, ffhq, five_points, from_box
from editkit.errors import FaceIndexError, NoFaceError, UsageError
from editkit.pasting import FEATHER, paste
from editkit.photo import Photo
from editkit.warping import pad_faded, warp

_FARTHEST = 8.0  # a crop may be this many times as large as the photo


class CropSpec(Protocol):
    """What alignment asks of a GeneratorSpec."""

    @property
    def resolution(self) -> int: ...

    @property
    def alignment(self) -> str | None: ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Alignment:
    """Where a square crop lies in its photo."""

    photo_to_crop: Tensor  # float64 [3, 3], a similarity, in pixels
    photo_size: tuple[int, int]  # (width, height)
    crop_size: int  # side of the crop
    landmarks: Tensor | None = None  # float64 [5, 2] or [68, 2] in photo pixels
    convention: str = "centre"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a JSON header; ``from_dict`` reads them."""
        return {
            "photo_to_crop": self.photo_to_crop.tolist(),
            "photo_size": list(self.photo_size),
            "crop_size": self.crop_size,
            "landmarks": None if self.landmarks is None else self.landmarks.tolist(),
            "convention": self.convention,
        }

    def crop(self, photo: Photo) -> "AlignedPhoto":
        """What lies there in ``photo``. Raises UsageError where the photo has another size than the aligned one."""
        if photo.size != self.photo_size:
            (width, height), (found_width, found_height) = self.photo_size, photo.size
            raise UsageError(
                f"the aligned photo had {width} x {height} pixels, {photo.path or 'this one'} has {found_width} x "
                f"{found_height}; give the original"
            )
        size = (self.crop_size, self.crop_size)
        image = warp(photo.image, torch.linalg.inv(self.photo_to_crop), size, pad=pad_faded).clamp(-1, 1)
        return AlignedPhoto(image=image, photo=photo, alignment=self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Alignment":
        """What ``to_dict`` gave. Raises UsageError where a value is missing or of the wrong kind."""
        try:
            matrix = torch.tensor(values["photo_to_crop"], dtype=torch.float64)
            width, height = (int(value) for value in values["photo_size"])
            points = values.get("landmarks")
            landmarks = None if points is None else torch.tensor(points, dtype=torch.float64)
            size, convention = int(values["crop_size"]), str(values["convention"])
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"the alignment is damaged: {error!r}; align the photo again") from error
        if matrix.shape != (3, 3) or not torch.isfinite(matrix).all() or abs(float(torch.linalg.det(matrix))) < 1e-12:
            raise UsageError("the alignment is damaged: photo_to_crop is no invertible [3, 3]; align the photo again")
        return cls(
            photo_to_crop=matrix,
            photo_size=(width, height),
            crop_size=size,
            landmarks=landmarks,
            convention=convention,
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AlignedPhoto:
    """A crop of a photo, and the way back."""

    image: Tensor  # [1, 3, R, R] in [-1, 1]
    photo: Photo
    alignment: Alignment

    def paste_back(self, image: Tensor, *, inverted: Tensor | None = None, feather: float = FEATHER) -> Tensor:
        """The photo [1, 3, H, W] with ``image`` [1, 3, S, S] in the place of the crop; see ``editkit.pasting.paste``.

        Without ``inverted`` the crop is replaced. With it, what a generator made of the crop before the edit, only the
        difference goes into the photo, whose own detail stays. Outside the crop no bit of the photo changes.
        Raises UsageError where the images are not one square picture each, or of different sizes.
        """
        return paste(
            self.photo.image,
            image,
            photo_to_crop=self.alignment.photo_to_crop,
            crop_size=self.alignment.crop_size,
            inverted=inverted,
            feather=feather,
        )


def align(
    photo: Photo,
    spec: CropSpec | int,
    *,
    convention: str | None = None,
    box: Sequence[float] | None = None,
    landmarks: Tensor | None = None,
    face: Literal["largest"] | int = "largest",
) -> AlignedPhoto:
    """Crop a photo as a generator expects it.

    spec: a generator's spec, or the resolution of the crop.
    convention: "faces128", "ffhq" or "centre"; the generator's own by default, "faces128" with a resolution.
    box: (x, y, width, height) in photo pixels. With "centre" it chooses the square (its centre and longer side); with
        the face conventions it says where the face is, and where no landmarks can be found in it, is itself the crop.
    landmarks: [5, 2] or [68, 2] in photo pixels, instead of looking for a face.
    face: "largest", or the index of a face, 0 being the largest.
    Raises NoFaceError where the convention needs a face and none is found (FaceIndexError: not that many), UsageError
    for options that do not fit.
    """
    size, convention = _crop_size(spec), convention or (None if isinstance(spec, int) else spec.alignment) or "faces128"
    if convention not in CONVENTIONS:
        raise UsageError(f"unknown convention {convention!r}; choose one of {', '.join(CONVENTIONS)}")
    if box is not None and landmarks is not None:
        raise UsageError("a box and landmarks both say where the face is; give one of them")
    if convention == "centre":
        points = None if landmarks is None else landmarks.to(torch.float64)
        square = centre(photo.size) if box is None else from_box(box, photo.size)
    else:
        points = _find_landmarks(photo, convention, box, landmarks, face)
        square = _square(convention, points, box, photo.size)
    _check_extent(square, photo.size)
    return Alignment(
        photo_to_crop=square.photo_to_crop(size),
        photo_size=photo.size,
        crop_size=size,
        landmarks=points,
        convention=convention,
    ).crop(photo)


def _crop_size(spec: CropSpec | int) -> int:
    size = spec if isinstance(spec, int) else spec.resolution
    if not 4 <= size <= 8192:
        raise UsageError(f"the resolution of a crop is 4 to 8192 pixels, got {size}")
    return size


def _find_landmarks(
    photo: Photo, convention: str, box: Sequence[float] | None, landmarks: Tensor | None, face: str | int
) -> Tensor | None:
    """The points that are given, else those that are found; None: a box without a face the network believes in."""
    if landmarks is not None:
        five_points(landmarks)  # checks them
        return landmarks.to(torch.float64)
    from editkit.faces import face_in_box, find_faces

    if box is not None:
        from_box(box, photo.size)  # checks it
        x, y, width, height = (float(value) for value in box)
        found = face_in_box(photo.image, (x, y, width, height))
        if found is None:
            return None
    else:
        found = _choose(find_faces(photo.image), face, photo)
    if convention == "ffhq":  # whose published crop is defined on 68 points; faces128 is defined on five
        from editkit.dense_landmarks import dense_landmarks

        dense = dense_landmarks(photo.image, found.points)
        return found.points if dense is None else dense
    return found.points


def _choose(faces: list[Any], face: str | int, photo: Photo) -> Any:
    name = str(photo.path or "the photo")
    if not faces:
        raise NoFaceError(
            f"no face was found in {name}; --align centre takes the centre square, --box x,y,w,h says where the face is"
        )
    index = 0 if face == "largest" else face
    if not isinstance(index, int) or index < 0:
        raise UsageError(f'face is "largest" or an index from 0 on, got {face!r}')
    if index >= len(faces):
        raise FaceIndexError(
            f"{name} shows {len(faces)} face(s); face {index} is not there: give 0, the largest, to {len(faces) - 1}"
        )
    return faces[index]


def _square(convention: str, points: Tensor | None, box: Sequence[float] | None, photo_size: tuple[int, int]) -> Square:
    if points is None:
        return from_box(box or (), photo_size)
    return ffhq(points) if convention == "ffhq" else faces128(points)


def _check_extent(square: Square, photo_size: tuple[int, int]) -> None:
    width, height = photo_size
    middle = square.corner + (square.right + square.down) / 2
    x, y, side = float(middle[0]), float(middle[1]), square.side
    if side > _FARTHEST * max(photo_size) or not (-side < x < width + side and -side < y < height + side):
        raise UsageError(
            f"the crop (side {side:.0f} pixels, centre {x:.0f}, {y:.0f}) lies too far outside the photo, which is "
            f"{width} x {height} pixels; check the box or the landmarks"
        )


__all__ = ["CONVENTIONS", "FEATHER", "AlignedPhoto", "Alignment", "CropSpec", "align"]

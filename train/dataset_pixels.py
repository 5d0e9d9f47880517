"""From the bytes of a picture to a square of pixels: reading, cropping, resizing.

Convention: pixels are uint8 [H, W, C], C = 1 grey, 3 sRGB, 4 sRGB with alpha (not premultiplied). Pictures with alpha
are composited on white for C = 1 and 3. Resizing is Lanczos, a low-pass filter when it reduces; alpha weighs
the colours.
"""

import io
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from editkit.decoding import decode_bytes
from editkit.errors import PhotoError, TrainingDataError, UsageError
from train.dataset_source import Source

CHANNELS = (1, 3, 4)
CROPS = ("centre", "wide", "face")
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_HEAD = 2**16  # bytes that nearly always hold a header


@dataclass(frozen=True, kw_only=True, slots=True)
class Crop:
    """How a picture becomes a square."""

    kind: Literal["centre", "wide", "face"] = "centre"
    resolution: int | None = None  # side of the result; None: that of the crop
    aspect: tuple[int, int] = (4, 3)  # width : height of a wide crop, which stands between bars of black
    convention: str = "faces128"  # of a face crop, as in editkit.alignment

    def __post_init__(self) -> None:
        if self.kind not in CROPS:
            raise UsageError(f"a crop is one of {', '.join(CROPS)}, got {self.kind!r}")
        if self.resolution is not None and not 16 <= self.resolution <= 4096:
            raise UsageError(f"the resolution of a data set is 16 to 4096 pixels, got {self.resolution}")
        if self.kind == "face" and self.resolution is None:
            raise UsageError("face crops have no size of their own; give --resolution")
        if not 1 < self.aspect[0] / max(self.aspect[1], 1) <= 4:
            raise UsageError(f"a wide crop is wider than high, up to 4:1, got {self.aspect[0]}:{self.aspect[1]}")


def read_pixels(data: bytes, name: str, *, channels: int) -> np.ndarray:
    """Decode a picture, upright and in sRGB: uint8 [H, W, channels]. Raises PhotoError as ``editkit.read_photo``."""
    colour, coverage = decode_bytes(data, Path(name))
    if channels == 4:
        alpha = np.full(colour.shape[:2], 255, np.uint8) if coverage is None else coverage
        return np.dstack((colour, alpha))
    picture = Image.fromarray(colour)
    if coverage is not None:
        picture = Image.composite(picture, Image.new("RGB", picture.size, "white"), Image.fromarray(coverage))
    return _array(picture.convert(MODES[channels]))


def crop_pixels(pixels: np.ndarray, crop: Crop) -> np.ndarray:
    """The part of a picture that ``crop`` keeps, at its own size. Face crops keep the whole picture here."""
    height, width = pixels.shape[:2]
    if crop.kind == "face":
        return pixels
    across, along = crop.aspect if crop.kind == "wide" else (1, 1)
    scale = min(width / across, height / along)
    wide, high = max(1, round(scale * across)), max(1, round(scale * along))
    left, top = (width - wide) // 2, (height - high) // 2
    return pixels[top : top + high, left : left + wide]


def square_pixels(part: np.ndarray, crop: Crop, *, name: str = "the picture") -> tuple[np.ndarray, float]:
    """The square uint8 [R, R, C] of what ``crop_pixels`` kept, and the width that it had in pixels of the picture.

    Raises NoFaceError: a face crop without a face; UsageError: a face that lies too far outside.
    """
    if crop.kind == "face":
        return _face(part, crop, name)
    side = crop.resolution or part.shape[1]
    width = float(part.shape[1])
    if crop.kind == "centre":
        return resize(part, (side, side)), width
    high = max(1, round(side * part.shape[0] / part.shape[1]))
    square = np.zeros((side, side, part.shape[2]), np.uint8)
    top = (side - high) // 2
    square[top : top + high] = resize(part, (side, high))
    return square, width


def resize(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Lanczos to (width, height): uint8 [H, W, C] in and out; the same pixels where the size is right already."""
    if pixels.shape[1::-1] == size:
        return np.ascontiguousarray(pixels)
    return _array(_picture(pixels).resize(size, Image.Resampling.LANCZOS))


def encode(pixels: np.ndarray, kind: Literal["png", "webp"]) -> bytes:
    """uint8 [H, W, C] as PNG or lossless WebP; both keep every pixel, colours under transparency too."""
    stream = io.BytesIO()
    if kind == "webp":
        _picture(pixels).save(stream, "WEBP", lossless=True, exact=True, quality=50)
    else:
        _picture(pixels).save(stream, "PNG", compress_level=6)
    return stream.getvalue()


def header(source: Source, name: str) -> tuple[tuple[int, int], int]:
    """(width, height) as stored and the channels 1, 3 or 4 of a picture, from its first bytes.

    Raises PhotoError where it is no picture.
    """
    for data in (source.head(name, _HEAD), None):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with Image.open(io.BytesIO(source.read(name) if data is None else data)) as picture:
                    return picture.size, _channels(picture)
        except Exception as error:  # whatever a decoder makes of half a file
            if data is None:
                why = "of no known format" if isinstance(error, UnidentifiedImageError) else str(error)
                raise PhotoError(f"{name} of {source.path} is not a picture that can be read ({why})") from error
    raise PhotoError(f"{name} of {source.path} is not a picture")


def sizes_of(source: Source, names: Sequence[str]) -> Counter[tuple[int, int]]:
    """How many pictures there are of each (width, height); those that cannot be read are passed over."""
    sizes: Counter[tuple[int, int]] = Counter()
    for name in names:
        with suppress(PhotoError, TrainingDataError):
            sizes[header(source, name)[0]] += 1
    return sizes


def sizes_text(sizes: Counter[tuple[int, int]]) -> str:
    """``90 of 64 x 64, 10 of 32 x 48``: the four most frequent sizes, and how many more."""
    counts = ", ".join(f"{count} of {width} x {height}" for (width, height), count in sizes.most_common(4))
    return counts + (f" and {len(sizes) - 4} more sizes" if len(sizes) > 4 else "")


def _channels(picture: Image.Image) -> int:
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        return 4
    return 1 if picture.mode in ("L", "1", "I", "I;16", "I;16B", "I;16L") else 3


def _face(pixels: np.ndarray, crop: Crop, name: str) -> tuple[np.ndarray, float]:
    from editkit.alignment import AlignedPhoto, align
    from editkit.photo import Photo, image_from_uint8, image_to_uint8

    def aligned(colour: np.ndarray, points: Tensor | None = None) -> AlignedPhoto:
        photo = Photo(image=image_from_uint8(colour), path=Path(name))
        return align(photo, crop.resolution or 0, convention=crop.convention, landmarks=points)

    colour = pixels[:, :, :3] if pixels.shape[2] >= 3 else np.repeat(pixels, 3, 2)
    found = aligned(np.ascontiguousarray(colour))
    square = image_to_uint8(found.image)[0].numpy()
    if pixels.shape[2] == 4:
        alpha = aligned(np.repeat(pixels[:, :, 3:], 3, 2), found.alignment.landmarks)
        square = np.dstack((square, image_to_uint8(alpha.image)[0, :, :, :1].numpy()))
    side = square.shape[0] / float(found.alignment.photo_to_crop[:2, 0].norm())
    return np.ascontiguousarray(square[:, :, : pixels.shape[2]]), side


def _picture(pixels: np.ndarray) -> Image.Image:
    pixels = np.ascontiguousarray(pixels)
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def _array(picture: Image.Image) -> np.ndarray:
    pixels = np.asarray(picture)
    return np.array(pixels if pixels.ndim == 3 else pixels[:, :, None])

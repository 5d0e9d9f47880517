"""What is measured of each picture of a data set: frame, compression, sharpness, colour, likeness to others.

Convention: pixels are uint8 [H, W, C]; grey is the mean of the colours, 0 to 255; frequencies are in cycles a pixel.
``part`` is what the crop keeps, at its own size; ``square`` is what goes into the data set.
"""

import io
import math
import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

# The luminance table of ITU-T T.81, annex K.1. libjpeg scales it, so that sorted tables can be compared.
_K1 = sorted((
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29,
    51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120,
    101, 72, 92, 95, 98, 112, 100, 103, 99,
))  # fmt: skip
MIDDLE, HIGH = (0.12, 0.22), (0.42, 0.5)
_FLAT = 4.0  # power in the middle band, levels squared, below which a spectrum says nothing
_SAME, _OTHER = 3.0, 10.0  # levels: what counts as one colour, and as another
HASH_BITS = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Measures:
    """Of one picture."""

    size: tuple[int, int]  # (width, height) of the file, upright
    enlarged: float  # side of the square over its width in the file
    bars: float  # larger of the widths of the two opposite bars of one colour, together, over the side; 0: none
    jpeg_quality: float  # of the file, on the scale of libjpeg; nan: no JPEG
    blockiness: float  # of the part: steps at every 8th pixel over those elsewhere; 1: none; nan: too small
    fall: float  # dB from the middle to the high band of the square's spectrum; nan: too flat to tell
    repeated: float  # share of rows and columns of the square that repeat their neighbour
    is_grey: bool
    digest: bytes  # of the square's pixels
    likeness: bytes  # 32 bytes; pictures that look alike differ in few bits
    thumbnail: np.ndarray  # uint8 [16, 16, C], without alpha


def jpeg_quality(data: bytes) -> float:
    """The libjpeg quality, 1 to 100, whose luminance table comes closest to the file's; nan where it is no JPEG."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as picture:
                tables = getattr(picture, "quantization", None) if picture.format in ("JPEG", "MPO") else None
    except Exception:  # the picture itself was read before; a header that cannot be read says nothing
        return math.nan
    if not tables or 0 not in tables:
        return math.nan
    unclipped = sorted(value for value in tables[0] if value < 255)
    if not unclipped:
        return 1.0
    scale = 100 * sum(unclipped) / sum(_K1[: len(unclipped)])
    return round(max(1.0, min(100.0, 100 - scale / 2 if scale <= 100 else 5000 / scale)), 1)


def grey_of(pixels: np.ndarray) -> np.ndarray:
    """float32 [H, W], 0 to 255: the mean of the colours."""
    return pixels[:, :, :3].mean(2, dtype=np.float32)


def bars_of(grey: np.ndarray) -> float:
    """The widths of two opposite bars of one colour over the side of the picture; the larger pair; 0 without.

    A bar is two lines at least, and ends in a step that most of the picture's width takes part in: a plain background
    behind an object is no bar.
    """
    return max(_bars(grey), _bars(grey.T))


def _bars(grey: np.ndarray) -> float:
    first, last = _bar(grey), _bar(grey[::-1])
    return (first + last) / len(grey) if min(first, last) >= 2 else 0.0


def _bar(grey: np.ndarray) -> int:
    colour = float(np.median(grey[0]))
    is_plain = (np.abs(grey - colour) <= _SAME).mean(1) >= 0.98
    depth = int(np.argmin(is_plain)) if not is_plain.all() else len(grey)
    if depth == 0 or depth > 0.45 * len(grey):
        return 0
    beyond = grey[min(depth + 2, len(grey) - 1)]
    return depth if (np.abs(beyond - colour) > _OTHER).mean() > 0.6 else 0


def blockiness_of(grey: np.ndarray) -> float:
    """How much stronger steps are at every 8th pixel, wherever that grid lies, than at six of the other seven places.

    The weaker of both axes, since the blocks of a JPEG show along both (after Wang, Sheikh and Bovik 2002). Blocks of 4
    pixels (WebP) count too, the steps of 2 pixels that enlarging leaves do not. nan below 64 pixels a side.
    """
    if min(grey.shape) < 64:
        return math.nan
    return min(_blockiness(grey), _blockiness(grey.T))


def _blockiness(grey: np.ndarray) -> float:
    # A step in excess of the steps on both sides of it: texture and edges have those as well.
    step = np.abs(np.diff(grey, axis=1))
    excess = np.clip(step[:, 1:-1] - (step[:, :-2] + step[:, 2:]) / 2, 0, 16).mean(0)
    count = len(excess) // 8
    phases = np.median(excess[: 8 * count].reshape(count, 8), axis=0)
    third, _, most = np.sort(phases)[-3:]
    return float((most + 0.05) / (third + 0.05))


def fall_of(grey: np.ndarray) -> float:
    """dB by which the power spectrum falls from the middle band to the high one; nan for a picture too flat to tell.

    Photographs have power near 1 / f^2 (Field 1987), 7 dB between these bands, some more after a good reduction. An
    enlarged picture falls far more, one reduced without a low-pass filter, or sharpened, less.
    """
    window, middle, high = _spectral_plan(*grey.shape)
    centred = (grey - grey.mean()) * window
    power = np.abs(np.fft.rfft2(centred)) ** 2 / (window**2).sum()
    strength, least = float(power[middle].mean()), float(power[high].mean())
    return 10 * math.log10(strength / max(least, 1e-6)) if strength > _FLAT else math.nan


@lru_cache(maxsize=8)
def _spectral_plan(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1]).astype(np.float32)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    return window, *((frequency >= low) & (frequency <= top) for low, top in (MIDDLE, HIGH))


def repeated_of(grey: np.ndarray) -> float:
    """Share of rows and of columns that repeat the one before, the smaller; lines of one colour do not count."""

    def share(lines: np.ndarray) -> float:
        busy = (lines.max(1) - lines.min(1) > _SAME)[1:]
        return float((lines[1:] == lines[:-1]).all(1)[busy].mean()) if busy.any() else 0.0

    return min(share(grey), share(grey.T))


def is_grey(pixels: np.ndarray) -> bool:
    """Whether the colours of a picture are one and the same, to two levels on the average."""
    if pixels.shape[2] < 3:
        return True
    colours = pixels[:, :, :3].astype(np.int16)
    return bool(np.ptp(colours, axis=2).mean() < 2)


def likeness_of(pixels: np.ndarray) -> bytes:
    """A difference hash of 256 bits (after Krawetz 2013): whether each of 16 x 16 places is brighter than the next."""
    from train.dataset_pixels import resize

    small = grey_of(resize(pixels[:, :, :3] if pixels.shape[2] > 1 else pixels, (17, 16)))
    return np.packbits(small[:, 1:] > small[:, :-1]).tobytes()


def thumbnail_of(pixels: np.ndarray) -> np.ndarray:
    """uint8 [16, 16, C], without alpha."""
    from train.dataset_pixels import resize

    return resize(pixels[:, :, :3] if pixels.shape[2] > 1 else pixels, (16, 16))


def gap_of(first: np.ndarray, second: np.ndarray) -> float:
    """Levels between two thumbnails at the 3 % of places where they differ most, brightness and contrast put right.

    Copies of another size, compression or brightness stay below 18 (JPEG of quality 50 of small drawings the most);
    objects of other places, sizes or colours on one background are 36 and more apart, though their mean is 2.
    """
    a, b = (each.astype(np.float32).reshape(-1, each.shape[2]) for each in (first, second))
    centred = b - b.mean()
    gain = np.clip(((a - a.mean()) * centred).sum() / max(float((centred**2).sum()), 1e-6), 0.7, 1.4)
    offset = np.clip(a.mean() - gain * b.mean(), -32, 32)
    rest = np.sort(np.abs(a - gain * b - offset).max(1))
    return float(rest[-8:].mean())

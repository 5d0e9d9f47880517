"""Going through the pictures of a source: read, cropped and measured by several threads, given back in order."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np

from editkit.errors import NoFaceError
from editkit.threads import usable_cores
from train.dataset_measures import (
    Measures,
    bars_of,
    blockiness_of,
    fall_of,
    grey_of,
    is_grey,
    jpeg_quality,
    likeness_of,
    repeated_of,
    thumbnail_of,
)
from train.dataset_pixels import Crop, crop_pixels, encode, read_pixels, square_pixels
from train.dataset_source import Source

Reason = Literal["broken", "not a file", "no face", "too small", "duplicate", "near duplicate"]
REASONS: tuple[Reason, ...] = ("broken", "not a file", "no face", "too small", "duplicate", "near duplicate")
_AHEAD = 4  # pictures that each thread may be ahead
_WINDOW = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One that can be used."""

    name: str
    pixels: np.ndarray  # uint8 [R, R, C]
    measures: Measures
    encoded: bytes | None  # as a file


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """One that cannot, or is not to be."""

    name: str
    reason: Reason
    detail: str


def survey(
    source: Source,
    names: Sequence[str],
    *,
    crop: Crop,
    channels: int,
    min_side: int = 0,
    encode_as: Literal["png", "webp"] | None = None,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[Picture | Skipped]:
    """Each of ``names``, in that order. Whatever is wrong with a picture makes it Skipped and stops nothing."""

    def one(name: str) -> Picture | Skipped:
        try:
            return _examine(source.read(name), name, crop, channels, min_side, encode_as)
        except NoFaceError as error:
            return Skipped(name=name, reason="no face", detail=str(error))
        except Exception as error:  # decoders raise more than they document
            return Skipped(name=name, reason="broken", detail=f"{error}" or type(error).__name__)

    threads = workers or usable_cores()
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Picture | Skipped]] = deque()
        rest = iter(names)
        try:
            for done in range(1, len(names) + 1):
                while len(waiting) < threads * _AHEAD and (name := next(rest, None)) is not None:
                    waiting.append(pool.submit(one, name))
                yield waiting.popleft().result()
                if on_progress is not None:
                    on_progress(done, len(names))
        finally:  # Ctrl-C, or the caller has had enough
            pool.shutdown(cancel_futures=True)


def _examine(
    data: bytes,
    name: str,
    crop: Crop,
    channels: int,
    min_side: int,
    encode_as: Literal["png", "webp"] | None,
) -> Picture | Skipped:
    pixels = read_pixels(data, name, channels=channels)
    part = crop_pixels(pixels, crop)
    square, width = square_pixels(part, crop, name=name)
    if width < min_side:
        return Skipped(
            name=name, reason="too small", detail=f"{width:.0f} pixels wide, at least {min_side} are asked for"
        )
    grey = grey_of(square)
    measures = Measures(
        size=(pixels.shape[1], pixels.shape[0]),
        enlarged=square.shape[1] / width,
        bars=bars_of(grey) if crop.kind != "wide" else bars_of(grey_of(part)),
        jpeg_quality=jpeg_quality(data),
        blockiness=blockiness_of(grey_of(_middle(part))),
        fall=fall_of(grey),
        repeated=repeated_of(grey),
        is_grey=is_grey(square),
        digest=hashlib.sha256(repr(square.shape).encode() + square.tobytes()).digest(),
        likeness=likeness_of(square),
        thumbnail=thumbnail_of(square),
    )
    encoded = None if encode_as is None else encode(square, encode_as)
    return Picture(name=name, pixels=square, measures=measures, encoded=encoded)


def _middle(pixels: np.ndarray) -> np.ndarray:
    """At most 1024 pixels a side of the middle: enough to see blocks, of a photo of any size."""
    top, left = (max(0, (side - _WINDOW) // 2) for side in pixels.shape[:2])
    return pixels[top : top + _WINDOW, left : left + _WINDOW]

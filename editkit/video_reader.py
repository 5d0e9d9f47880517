"""Videos in: frames one at a time through PyAV, and the sound of one video put into another.

Convention: frames are float32 [1, 3, H, W] in [-1, 1], upright, sRGB as ``editkit.photo`` has it. Colours are converted
with the matrix that the stream names, BT.601 where it names none; variable frame rates are read as their average.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from editkit.decoding import MAX_PIXELS, MIN_SIDE, is_folder
from editkit.errors import PhotoError
from editkit.files import atomic_path
from editkit.photo import image_from_uint8

log = logging.getLogger(__name__)

_BT709 = 1  # of ITU-T H.273, table 4, and ffmpeg's AVCOL_SPC_BT709
_NO_NUMBERS = Fraction(25)  # frames a second of a file that does not say


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoFacts:
    """What the header of a video says.

    Attributes:
        size: (width, height) in pixels, as stored, before it is turned upright.
        rate: frames a second.
        frames: how many, as far as the header knows; 0: unknown.
        sound: whether there is an audio stream.
    """

    size: tuple[int, int]
    rate: Fraction
    frames: int
    sound: bool


def video_facts(path: Path) -> VideoFacts:
    """Look at a video's header. Raises PhotoError: missing, a folder, not a video, or frames too small or too large."""
    with _Opened(path) as (container, stream):
        width, height = stream.codec_context.width, stream.codec_context.height
        if min(width, height) < MIN_SIDE or width * height > MAX_PIXELS:
            raise PhotoError(f"{path} has frames of {width} x {height} pixels; {MIN_SIDE} a side and more are needed")
        rate = stream.average_rate or stream.guessed_rate or _NO_NUMBERS
        sound = bool(container.streams.audio)
        return VideoFacts(size=(width, height), rate=Fraction(rate), frames=int(stream.frames or 0), sound=sound)


def read_frames(path: Path) -> Iterator[Tensor]:
    """Every frame in turn. Raises PhotoError: not a video, or damaged before its first frame.

    One that is cut short gives the frames there are, and a warning.
    """
    count = 0
    with _Opened(path) as (container, stream):
        import av

        stream.thread_type = "AUTO"
        frames = container.decode(stream)
        while True:
            try:
                frame = next(frames, None)
            except (av.FFmpegError, ValueError) as error:
                if not count:
                    raise PhotoError(f"{path} is damaged ({error}); copy or download it again") from error
                log.warning("%s is damaged after %d frames (%s); those are used", path, count, error)
                return
            if frame is None:
                break
            matrix = "ITU709" if frame.colorspace == _BT709 else "ITU601"
            pixels = frame.reformat(format="rgb24", src_colorspace=matrix).to_ndarray()
            count += 1
            yield image_from_uint8(np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90))))
    if not count:
        raise PhotoError(f"{path} holds no frame; copy or download it again")


def add_sound(video: Path, source: Path) -> bool:
    """Put the sound of ``source`` into the mp4 ``video``, as it is; False where mp4 cannot hold it, and a warning.

    Raises OutputError.
    """
    import av

    try:
        with atomic_path(video) as place, av.open(str(video)) as pictures, av.open(str(source)) as sounds:
            with av.open(str(place), "w", format="mp4", options={"movflags": "+faststart"}) as target:
                target.metadata.update(pictures.metadata)
                pairs = [
                    (stream, target.add_stream_from_template(stream))
                    for stream in (pictures.streams.video[0], sounds.streams.audio[0])
                ]
                for container, (stream, copy) in zip((pictures, sounds), pairs, strict=True):
                    for packet in container.demux(stream):
                        if packet.dts is not None:
                            packet.stream = copy
                            target.mux(packet)
    except (av.FFmpegError, ValueError) as error:
        log.warning("the sound of %s cannot be copied into %s (%s); it has none", source, video, error)
        return False
    return True


class _Opened:
    """The container and its first video stream."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> tuple[Any, Any]:
        import av

        if is_folder(self._path):
            raise PhotoError(f"{self._path} is a folder; give one video file")
        try:
            self._container: Any = av.open(str(self._path))
        except (av.FFmpegError, ValueError) as error:
            raise PhotoError(
                f"{self._path} is not a video that can be read ({error}); give an mp4, mov or webm"
            ) from error
        if not self._container.streams.video:
            self._container.close()
            raise PhotoError(f"{self._path} holds no pictures, only sound or text; give a video")
        return self._container, self._container.streams.video[0]

    def __exit__(self, *problem: object) -> None:
        self._container.close()

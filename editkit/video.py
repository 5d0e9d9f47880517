"""Frames to a video: mp4, animated GIF or WebP, or a folder of PNGs, chosen by the suffix.

Convention: frames are float32 [3, H, W] or [1, 3, H, W] in [-1, 1], sRGB, all of one size, and are taken one at a time.
The file appears under its name when it is complete; after Ctrl-C it is completed with the frames there are.
"""

from __future__ import annotations

import itertools
import math
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

import numpy as np
from PIL import Image
from torch import Tensor

from editkit.errors import OutputError, UsageError
from editkit.files import atomic_path, ensure_folder
from editkit.photo import METADATA_KEY, edited_note, image_to_uint8

SUFFIXES = (".mp4", ".gif", ".webp")
"""Of video files; a name without a suffix is a folder of PNGs."""
MAX_SIDE = 8192


@dataclass(frozen=True, kw_only=True, slots=True)
class Video:
    """What was written.

    Attributes:
        path: the file, or the folder of PNGs.
        frames, fps: how many, and how many a second; width, height: in pixels, as written.
    """

    path: Path
    frames: int
    fps: float
    width: int
    height: int

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return self.frames / self.fps


class FramesKept(KeyboardInterrupt):
    """Ctrl-C, after which the frames there were make a complete file; the message says how many."""


class Writer(Protocol):
    """One kind of output. ``add`` is called for each frame, then ``finish`` once; ``discard`` whatever happened.

    ``shape`` is (height, width) as written.
    """

    shape: tuple[int, int]

    def add(self, pixels: np.ndarray) -> None:
        """A frame, uint8 [H, W, 3]."""
        ...

    def finish(self) -> None:
        """Complete the output with the frames added so far."""
        ...

    def discard(self) -> None:
        """Let go of what is open; harmless after ``finish``."""
        ...


def write_video(
    path: str | Path,
    frames: Iterable[Tensor],
    *,
    fps: float = 24.0,
    size: int | None = None,
    quality: int = 90,
    metadata: Mapping[str, str] | None = None,
    note: bool = True,
    on_progress: Callable[[int, int | None], object] | None = None,
) -> Video:
    """Write ``frames``, such as those of ``render_path``. Nothing of a source photo's EXIF (GPS) is written.

    Args:
        path: .mp4 (H.264, for sizes that are odd the last row or column is repeated), .gif (256 colours chosen for all
            frames together) or .webp, both of which repeat for ever; or, without a suffix, a folder for
            frame_00000.png and so on.
        frames: at least one.
        fps: frames a second, 1 to 120 (a GIF: up to 50).
        size: length of the shorter side in pixels, resampled (Lanczos); as rendered by default.
        quality: 1 to 100, of mp4 and WebP.
        metadata: texts to keep in the file, such as ``{"recipe": json}``.
        note: say in the metadata that it was edited with editkit. False, and no ``metadata``: none is written.
        on_progress: called with (done, total) after each frame; total is None where ``frames`` has no length.

    Raises:
        OutputError: unknown suffix, no permission, no space, or a folder that already holds frames.
        UsageError: no frame, frames of different sizes, or a number out of range.
        FramesKept: Ctrl-C, after the file has been completed with the frames there were; KeyboardInterrupt: there were
            none, and nothing was written.
    """
    target = Path(path)
    kind = target.suffix.lower()
    if kind not in ("", *SUFFIXES):
        raise OutputError(f"cannot write {target}: unknown kind {kind!r}; use {', '.join(SUFFIXES)}, or no suffix")
    fastest = 50 if kind == ".gif" else 120
    if not 1 <= fps <= fastest:
        raise UsageError(f"fps is 1 to {fastest} {'in a GIF' if kind == '.gif' else 'here'}, got {fps!r}")
    if size is not None and not 16 <= size <= MAX_SIDE:
        raise UsageError(f"size is 16 to {MAX_SIDE} pixels, got {size}")
    if not 1 <= quality <= 100:
        raise UsageError(f"quality is 1 to 100, got {quality}")
    texts = {**({METADATA_KEY: edited_note("video")} if note else {}), **(metadata or {})}
    total = len(frames) if isinstance(frames, Sized) else None
    job = _Job(_pixels(frames, size), total, fps, quality, texts, on_progress)
    if not kind:
        job.run(target, ensure_folder(target))
    else:
        with atomic_path(target) as temporary:
            job.run(target, temporary)
    if job.interrupted:
        raise FramesKept(f"interrupted; {target} holds the first {job.done} frames")
    return Video(path=target, frames=job.done, fps=fps, width=job.shape[1], height=job.shape[0])


@dataclass(slots=True)
class _Job:
    frames: Iterator[np.ndarray]
    total: int | None
    fps: float
    quality: int
    texts: Mapping[str, str]
    on_progress: Callable[[int, int | None], object] | None
    done: int = 0
    shape: tuple[int, int] = (0, 0)
    interrupted: bool = False

    def run(self, target: Path, place: Path) -> None:
        """Write every frame into ``place``; Ctrl-C ends the frames, not the file."""
        from editkit.video_writers import open_writer

        writer: Writer | None = None
        try:
            try:
                for pixels in self.frames:
                    with hold_interrupt():  # a frame is written whole
                        if writer is None:
                            shape = pixels.shape[:2]
                            writer = open_writer(
                                target, place, shape, fps=self.fps, quality=self.quality, texts=self.texts
                            )
                            self.shape = writer.shape
                        writer.add(pixels)
                        self.done += 1
                    if self.on_progress is not None:
                        self.on_progress(self.done, self.total)
            except KeyboardInterrupt:
                if not self.done:
                    raise
                self.interrupted = True
            if writer is None:
                raise UsageError("a video needs at least one frame, got none")
            try:
                with hold_interrupt():
                    writer.finish()
            except KeyboardInterrupt:  # held back: the output is complete
                self.interrupted = True
        finally:
            if writer is not None:
                writer.discard()


def _pixels(frames: Iterable[Tensor], size: int | None) -> Iterator[np.ndarray]:
    """Frames as uint8 [H, W, 3], resampled; the first one's size is that of all."""
    shape: tuple[int, ...] | None = None
    for index, frame in enumerate(frames):
        image = frame[None] if frame.ndim == 3 else frame
        if image.ndim != 4 or image.shape[:2] != (1, 3):
            raise UsageError(f"frames are [3, H, W] in RGB, one at a time; frame {index} is {list(frame.shape)}")
        if shape is not None and image.shape != shape:
            raise UsageError(f"frame {index} is {list(image.shape[2:])}, those before {list(shape[2:])}; give one size")
        shape = tuple(image.shape)
        pixels = image_to_uint8(image)[0].numpy()
        if size is not None and min(pixels.shape[:2]) != size:
            factor = size / min(pixels.shape[:2])
            height, width = (max(1, round(side * factor)) for side in pixels.shape[:2])
            pixels = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))
        if max(pixels.shape[:2]) > MAX_SIDE:
            raise UsageError(f"frames are at most {MAX_SIDE} pixels a side, got {list(pixels.shape[:2])}")
        yield pixels


def frame_durations(frames: int, fps: float, unit: float) -> list[int]:
    """Whole ``unit`` s (0.01 for GIF) a frame, so that no frame is off by more than half a unit in the end."""
    ends = [math.floor(index / fps / unit + 0.5) for index in range(frames + 1)]
    return [max(1, after - before) for before, after in itertools.pairwise(ends)]


@contextmanager
def hold_interrupt() -> Iterator[None]:
    """Hold Ctrl-C back until the block has ended. Only in the main thread, where Python handles signals."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    pressed: list[FrameType | None] = []
    signal.signal(signal.SIGINT, lambda number, frame: pressed.append(frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        before(signal.SIGINT, pressed[0])

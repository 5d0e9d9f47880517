"""The kinds of video output: see ``editkit.video.Writer``.

Convention: frames are uint8 [H, W, 3], sRGB. An mp4 is H.264 in yuv420p, limited range, converted with the BT.709
matrix, and tagged so (primaries BT.709, transfer sRGB).
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from editkit.errors import OutputError
from editkit.photo import METADATA_KEY, exif_of, image_from_uint8, write_image
from editkit.video import Writer, frame_durations

log = logging.getLogger(__name__)

_BT709, _SRGB_TRANSFER, _LIMITED = 1, 13, 1  # of ITU-T H.273, tables 2 to 4, and ffmpeg's AVCOL_RANGE_MPEG
_PALETTE_SAMPLE = 1 << 18  # pixels from which a GIF's colours are chosen


def open_writer(
    target: Path, place: Path, shape: tuple[int, int], *, fps: float, quality: int, texts: Mapping[str, str]
) -> Writer:
    """The writer for the suffix of ``target``, writing to ``place``; ``shape`` is (height, width)."""
    kind = target.suffix.lower()
    if kind == ".mp4":
        return Mp4(place, shape, fps=fps, quality=quality, texts=texts)
    if kind == ".gif":
        return Gif(place, shape, fps=fps, texts=texts)
    if kind == ".webp":
        return WebP(place, shape, fps=fps, quality=quality, texts=texts)
    return Folder(place, shape, texts=texts)


class Mp4:
    """H.264 through PyAV, whose wheels carry ffmpeg."""

    def __init__(
        self, place: Path, shape: tuple[int, int], *, fps: float, quality: int, texts: Mapping[str, str]
    ) -> None:
        import av

        self._av: Any = av
        # "faststart" puts the index first, so that a browser plays it while it loads.
        self._container = av.open(str(place), "w", format="mp4", options={"movflags": "+faststart"})
        if METADATA_KEY in texts:
            self._container.metadata["comment"] = texts[METADATA_KEY]
        rest = {key: text for key, text in texts.items() if key != METADATA_KEY}
        if rest:
            self._container.metadata["description"] = json.dumps(rest)
        rate = Fraction(fps).limit_denominator(1001)
        # x264's constant rate factor: 18 looks like the source, each 6 more halve the bits. 100 -> 12, 90 -> 16.
        options = {"crf": str(round(52 - 0.4 * quality)), "preset": "medium"}
        self._stream: Any = self._container.add_stream("libx264", rate=rate, options=options)
        context = self._stream.codec_context
        self.shape = (shape[0] + shape[0] % 2, shape[1] + shape[1] % 2)  # yuv420p halves both sides
        context.height, context.width = self.shape
        context.pix_fmt = "yuv420p"
        context.color_primaries, context.color_trc = _BT709, _SRGB_TRANSFER
        context.colorspace, context.color_range = _BT709, _LIMITED

    def add(self, pixels: np.ndarray) -> None:
        """See ``Writer``."""
        odd = [(0, side % 2) for side in pixels.shape[:2]]
        frame = self._av.VideoFrame.from_ndarray(np.pad(pixels, (*odd, (0, 0)), mode="edge"), format="rgb24")
        frame = frame.reformat(
            format="yuv420p", src_colorspace="ITU709", dst_colorspace="ITU709", dst_color_range="MPEG"
        )
        frame.pts = None
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """See ``Writer``."""
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def discard(self) -> None:
        """See ``Writer``."""
        try:
            self._container.close()
        except (self._av.FFmpegError, OSError) as problem:  # the error that counts has been raised before
            log.debug("closing the video: %s", problem)


class _Spooled:
    """Frames kept on disk until all are there: memory does not grow with their number."""

    def __init__(self, place: Path, shape: tuple[int, int]) -> None:
        self.place, self.shape, self.count = place, shape, 0
        # Beside the output: where that fits, so does this, as a rule; and a full disk is told as the output's.
        self._spool = tempfile.TemporaryFile(dir=place.parent)  # noqa: SIM115  # closed by discard()

    def add(self, pixels: np.ndarray) -> None:
        """See ``Writer``."""
        self._spool.write(np.ascontiguousarray(pixels).tobytes())
        self.count += 1

    def frame(self, index: int) -> np.ndarray:
        """One of the frames added."""
        height, width = self.shape
        self._spool.seek(index * height * width * 3)
        return np.frombuffer(self._spool.read(height * width * 3), dtype=np.uint8).reshape(height, width, 3)

    def discard(self) -> None:
        """See ``Writer``."""
        self._spool.close()


class Gif(_Spooled):
    """256 colours for all frames together, so that nothing flickers; dithered (Floyd and Steinberg)."""

    def __init__(self, place: Path, shape: tuple[int, int], *, fps: float, texts: Mapping[str, str]) -> None:
        super().__init__(place, shape)
        self._fps, self._texts = fps, texts

    def finish(self) -> None:
        """See ``Writer``."""
        palette = self._palette()
        options: dict[str, Any] = {}
        if self._texts:
            options["comment"] = json.dumps(dict(self._texts)).encode()
        pictures = self._pictures(palette)
        next(pictures).save(
            self.place,
            "GIF",
            save_all=True,
            append_images=pictures,
            duration=[10 * hundredths for hundredths in frame_durations(self.count, self._fps, 0.01)],
            loop=0,
            **options,
        )

    def _palette(self) -> Image.Image:
        """Median cut, then k-means, over pixels of all frames: the same number of each, spread evenly."""
        height, width = self.shape
        each = max(1, min(height * width, _PALETTE_SAMPLE // self.count))
        places = np.linspace(0, height * width - 1, each).astype(np.int64)
        chosen = np.concatenate([self.frame(index).reshape(-1, 3)[places] for index in range(self.count)])
        return Image.fromarray(chosen[None]).quantize(256, method=Image.Quantize.MEDIANCUT, kmeans=1)

    def _pictures(self, palette: Image.Image) -> Iterator[Image.Image]:
        for index in range(self.count):
            picture = Image.fromarray(self.frame(index))
            yield picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)


class WebP(_Spooled):
    """Animated WebP through Pillow."""

    def __init__(
        self, place: Path, shape: tuple[int, int], *, fps: float, quality: int, texts: Mapping[str, str]
    ) -> None:
        super().__init__(place, shape)
        self._fps, self._quality, self._texts = fps, quality, texts

    def finish(self) -> None:
        """See ``Writer``."""
        options = {"exif": exif_of(self._texts).tobytes()} if self._texts else {}
        _Animation(self).save(
            self.place,
            "WEBP",
            save_all=True,
            duration=frame_durations(self.count, self._fps, 0.001),
            loop=0,
            quality=self._quality,
            **options,
        )


class _Animation(Image.Image):
    """Spooled frames as one picture of many frames, read as Pillow's encoder seeks to them."""

    def __init__(self, spooled: _Spooled) -> None:
        super().__init__()
        self._spooled, self._index = spooled, 0
        self.n_frames = spooled.count
        self.seek(0)

    def seek(self, frame: int) -> None:
        """Show another frame."""
        picture = Image.fromarray(self._spooled.frame(frame))
        self.im, self._mode, self._size, self._index = picture.im, picture.mode, picture.size, frame

    def tell(self) -> int:
        """The frame shown."""
        return self._index


class Folder:
    """frame_00000.png and so on, each complete or not there."""

    def __init__(self, place: Path, shape: tuple[int, int], *, texts: Mapping[str, str]) -> None:
        self._place, self.shape, self._texts, self._count = place, shape, dict(texts), 0
        if next(place.glob("frame_*.png"), None) is not None:
            raise OutputError(f"cannot write frames to {place}: it already holds some; choose another or empty it")

    def add(self, pixels: np.ndarray) -> None:
        """See ``Writer``."""
        path = self._place / f"frame_{self._count:05d}.png"
        write_image(path, image_from_uint8(pixels), metadata=self._texts, note=False)
        self._count += 1

    def finish(self) -> None:
        """See ``Writer``."""

    def discard(self) -> None:
        """See ``Writer``."""

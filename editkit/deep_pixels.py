"""Pictures of 16 bits a channel: decoded without loss, and written as PNG, neither of which Pillow does in colour.

Source: the PNG specification, third edition (W3C 2025): sections 9.2 (filters), 9.4 (Paeth) and 11 (chunks).
Decoding is PyAV's, whose wheels carry ffmpeg; only its planes are read, nothing is converted on the way.
Convention: pixels are uint16 [H, W, C]; C is 3, or 4 with alpha.
"""

from __future__ import annotations

import io
import logging
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

log = logging.getLogger(__name__)

_CHANNELS = {"gray16": 1, "ya16": 2, "rgb48": 3, "rgba64": 4}
_PNG_SIGNATURE, _PNG_COLOUR, _TIFF_BITS, _ORIENTATION = b"\x89PNG\r\n\x1a\n", (2, 4, 6), 258, 0x0112
_ROWS = 256  # filtered at a time, so that memory stays small
_SRGB_TEXT = "sRGB"


@dataclass(frozen=True, kw_only=True, slots=True)
class DeepFacts:
    """Of a file with 16 bits a channel: ffmpeg's decoder, the shorter and longer side, EXIF's orientation."""

    kind: str
    sides: tuple[int, int]
    orientation: int
    profile: bytes | None


def deep_facts(data: bytes, picture: Image.Image) -> DeepFacts | None:
    """What must be known before Pillow loads ``picture``, the same file; None where it has not 16 bits a channel."""
    kind = _kind(data, picture)
    if kind is None:
        return None
    try:
        orientation = int(picture.getexif().get(_ORIENTATION, 1))
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error):  # as Pillow fails on broken EXIF
        orientation = 1
    low, high = sorted(picture.size)
    return DeepFacts(kind=kind, sides=(low, high), orientation=orientation, profile=picture.info.get("icc_profile"))


def deep_colours(data: bytes, facts: DeepFacts, path: Path) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Pixels uint16 [H, W, 3] and alpha uint16 [H, W] (None: opaque), upright.

    None where only 8 bits can be had of the file (a colour profile other than sRGB, a compression that ffmpeg does not
    know); then a line of the log says so.
    """
    if facts.profile and not _is_srgb(facts.profile):
        log.warning("%s: its colour profile is applied at 8 bits a channel; save it as sRGB to keep all 16", path)
        return None
    pixels = _decoded(data, facts.kind, path)
    if pixels is None or sorted(pixels.shape[:2]) != list(facts.sides):
        log.warning("%s has 16 bits a channel, of which 8 can be read; save it as PNG to keep all", path)
        return None
    pixels = _upright(pixels, facts.orientation)
    colours = pixels[..., : 1 if pixels.shape[2] < 3 else 3]
    alpha = pixels[..., -1] if pixels.shape[2] in (2, 4) else None
    colours = np.ascontiguousarray(np.broadcast_to(colours, (*colours.shape[:2], 3)))
    return colours, None if alpha is None or alpha.min() == 65535 else np.ascontiguousarray(alpha)


def write_png(path: Path, pixels: np.ndarray, *, chunks: Sequence[tuple[bytes, bytes]] = ()) -> None:
    """Write uint16 [H, W, 3 or 4] as a PNG of 16 bits a channel. ``chunks``: names and contents of texts."""
    height, width, channels = pixels.shape
    packer, parts = zlib.compressobj(6), []
    above = np.zeros((1, width * channels * 2), dtype=np.uint8)
    for start in range(0, height, _ROWS):
        rows = pixels[start : start + _ROWS].astype(">u2").view(np.uint8).reshape(-1, width * channels * 2)
        parts.append(packer.compress(_paeth(np.concatenate((above, rows)), 2 * channels).tobytes()))
        above = rows[-1:]
    parts.append(packer.flush())
    header = struct.pack(">IIBBBBB", width, height, 16, 2 if channels == 3 else 6, 0, 0, 0)
    with path.open("wb") as file:
        file.write(_PNG_SIGNATURE)
        for name, content in ((b"IHDR", header), *chunks, (b"IDAT", b"".join(parts)), (b"IEND", b"")):
            file.write(struct.pack(">I", len(content)) + name + content)
            file.write(struct.pack(">I", zlib.crc32(name + content)))


def _paeth(rows: np.ndarray, step: int) -> np.ndarray:
    """Bytes [1 + n, L], the first row being the one above, to filtered rows [n, 1 + L], the filter's number first."""
    a = np.zeros_like(rows)
    a[:, step:] = rows[:, :-step]  # the pixel to the left
    left, up, corner = (part.astype(np.int16) for part in (a[1:], rows[:-1], a[:-1]))
    guess = left + up - corner
    to_left, to_up, to_corner = (abs(guess - part) for part in (left, up, corner))
    nearest = np.where(
        (to_left <= to_up) & (to_left <= to_corner), left, np.where(to_up <= to_corner, up, corner)
    ).astype(np.uint8)
    return np.concatenate((np.full((len(rows) - 1, 1), 4, np.uint8), rows[1:] - nearest), axis=1)


def _kind(data: bytes, picture: Image.Image) -> str | None:
    """ffmpeg's name of the decoder, of a file with 16 bits a channel; None for others."""
    if picture.format == "PNG" and data.startswith(_PNG_SIGNATURE):
        return "png" if data[24] == 16 and data[25] in (0, *_PNG_COLOUR) else None
    if picture.format == "TIFF":
        bits = getattr(picture, "tag_v2", {}).get(_TIFF_BITS, ())
        return "tiff" if set(bits if isinstance(bits, tuple) else (bits,)) == {16} else None
    return None


def _decoded(data: bytes, kind: str, path: Path) -> np.ndarray | None:
    """uint16 [H, W, 1 to 4] as stored, or None."""
    import av

    try:
        context = av.CodecContext.create(kind, "r")
        frames = [*context.decode(av.Packet(data)), *context.decode(None)]
    except (av.FFmpegError, ValueError, MemoryError) as error:
        log.debug("%s: %s", path, error)
        return None
    name = frames[0].format.name if frames else ""
    channels = _CHANNELS.get(name[:-2])
    if channels is None:
        return None
    frame = frames[0]
    plane = np.frombuffer(frame.planes[0], dtype=np.uint8).reshape(-1, frame.planes[0].line_size)
    used = np.ascontiguousarray(plane[: frame.height, : frame.width * channels * 2])
    order = ">u2" if name.endswith("be") else "<u2"
    return used.view(order).astype(np.uint16).reshape(frame.height, frame.width, channels)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turned as EXIF's orientation, 1 to 8, asks for (CIPA DC-008, 4.6.5.1.6)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _is_srgb(profile: bytes) -> bool:
    """Whether a profile calls itself sRGB."""
    from PIL import ImageCms

    try:
        return _SRGB_TEXT in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return False

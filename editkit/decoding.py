"""Decoding picture files into sRGB of 8 bits (16 where asked for): size limits, profiles, odd formats, orientation.

The order is fixed: refuse by header, decode, rotate by EXIF, split off alpha, convert colours. The first frame of an
animation is used.
"""

import importlib.util
import io
import logging
import re
import stat
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from editkit.deep_pixels import deep_colours, deep_facts
from editkit.errors import PhotoError

log = logging.getLogger(__name__)

# Pillow refuses at this size too; as float32 RGB it takes 2.1 GB.
MAX_PIXELS = 178_956_970
MIN_SIDE = 16
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
# These hold 16 bits a pixel; Pillow's own conversion to 8 bits would clip instead of scale.
_DEEP_MODES = {"I;16", "I;16L", "I;16B", "I;16N", "I"}
_ALPHA_MODES = {"RGBA", "LA", "PA", "La", "RGBa"}


def decode(path: Path, *, max_pixels: int = MAX_PIXELS, deep: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a picture file: sRGB uint8 [H, W, 3], and alpha uint8 [H, W] where some pixel is not opaque.

    deep: of a PNG or TIFF of 16 bits a channel give both as uint16; see ``editkit.deep_pixels``.
    Raises PhotoError: missing, a folder, empty, not a picture, damaged, smaller than 16 pixels or larger than
    ``max_pixels``, HEIC without its extra, or of a pixel format that has no defined range.
    """
    return decode_bytes(_read_bytes(path), path, max_pixels=max_pixels, deep=deep)


def decode_bytes(
    data: bytes, path: Path, *, max_pixels: int = MAX_PIXELS, deep: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
    """The same for the content of a file, such as a member of a zip; ``path`` is what errors call it."""
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        _register_heif(path)
    with warnings.catch_warnings():
        # Pillow warns from half our limit on; ours decides.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            picture = Image.open(io.BytesIO(data))
        except Image.DecompressionBombError as error:
            claimed = re.search(r"\d+", str(error))  # "Image size (900000000 pixels) exceeds limit of ..."
            raise _too_large(path, f"{int(claimed[0]):,} pixels" if claimed else str(error), max_pixels) from error
        except UnidentifiedImageError as error:
            raise PhotoError(f"{path} is not a picture; give a JPEG, PNG, WebP, TIFF or HEIC file") from error
        except _DAMAGED as error:
            raise _damaged(path, error) from error
        with picture:
            _check_size(path, picture, max_pixels)
            facts = deep_facts(data, picture) if deep else None  # loading turns a TIFF
            try:
                picture.load()
            except _DAMAGED as error:
                raise _damaged(path, error) from error
            found = None if facts is None else deep_colours(data, facts, path)
            return _to_srgb(_upright(picture), path) if found is None else found


def is_folder(path: Path) -> bool:
    """Whether a path given for a photo is a folder. Raises PhotoError: nothing is there, or nobody may look."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> PhotoError:
    """What the system says of a photo, or a folder of them, that cannot be read, and what to do about it."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return PhotoError(f"there is no file or folder {path}; check the path")
    if isinstance(error, PermissionError):
        return PhotoError(
            f"cannot read {path}: no permission; allow your user to read it and to enter the folders above it, or copy "
            "it elsewhere"
        )
    return PhotoError(f"cannot read {path}: {error.strerror or error}")


def _read_bytes(path: Path) -> bytes:
    if is_folder(path):
        raise PhotoError(f"{path} is a folder; give one picture file")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    if not data:
        raise PhotoError(f"{path} is empty (0 bytes); copy or download it again")
    return data


def _register_heif(path: Path) -> None:
    if importlib.util.find_spec("pillow_heif") is None:
        raise PhotoError(f"{path} is a HEIC picture; reading those takes another package: pip install pillow-heif")
    import pillow_heif

    pillow_heif.register_heif_opener()


def _damaged(path: Path, error: Exception) -> PhotoError:
    return PhotoError(f"{path} is damaged or cut short ({error}); copy or download it again")


def _too_large(path: Path, size: str, max_pixels: int) -> PhotoError:
    return PhotoError(f"{path} is too large: {size}; the limit is {max_pixels:,} pixels: shrink the picture first")


def _check_size(path: Path, picture: Image.Image, max_pixels: int) -> None:
    width, height = picture.size
    if width * height > max_pixels:
        raise _too_large(path, f"{width} x {height} = {width * height:,} pixels", max_pixels)
    if min(width, height) < MIN_SIDE:
        raise PhotoError(f"{path} is {width} x {height} pixels; at least {MIN_SIDE} on each side are needed")


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except (*_DAMAGED, KeyError, TypeError, ZeroDivisionError) as error:
        log.warning("the EXIF data cannot be read (%s); the picture is used as stored", error)
        return picture


def _to_srgb(picture: Image.Image, path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    profile = picture.info.get("icc_profile")
    if picture.mode in _DEEP_MODES:
        picture = _from_deep(picture, path)
    elif picture.mode == "F":
        raise PhotoError(f"{path} holds floating-point pixels without a defined range; save it with 8 or 16 bits")
    alpha = None
    if picture.mode in _ALPHA_MODES or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        alpha = np.asarray(picture.getchannel("A"))
        picture = picture.convert("RGB")  # drops alpha, composites nothing
    elif picture.mode in ("P", "1"):
        picture = picture.convert("RGB" if picture.mode == "P" else "L")
    if profile:
        picture = _apply_profile(picture, profile, path)
    pixels = np.array(picture.convert("RGB"))
    return pixels, None if alpha is None or alpha.min() == 255 else alpha


def _from_deep(picture: Image.Image, path: Path) -> Image.Image:
    values = np.asarray(picture).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise PhotoError(f"{path} holds 32-bit pixels outside 0..65535; save it with 8 or 16 bits")
    scaled = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    scaled.info = {key: value for key, value in picture.info.items() if key != "transparency"}
    return scaled


def _apply_profile(picture: Image.Image, profile: bytes, path: Path) -> Image.Image:
    """Convert from the embedded ICC profile to sRGB. A profile that does not fit its picture is ignored, and logged."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        log.warning("%s: its colour profile cannot be applied (%s); colours are taken as they are", path, error)
        return picture
    return picture if converted is None else converted

"""Photos in and pictures out: the only place where 8-bit (or 16-bit) pixels and [-1, 1] meet.

Convention:
    images are float32 [N, 3, H, W], sRGB, in [-1, 1]; alpha is [N, 1, H, W] in [0, 1]. The picture of a photo with
    alpha is composited on white, which is what the networks see; ``write_image(..., alpha=photo.alpha)`` puts the
    transparency back. PSNR and SSIM are taken on pixels rounded to 8 bits, data range 255.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, PngImagePlugin
from torch import Tensor
from torch.nn import functional

from editkit.decoding import MAX_PIXELS, decode
from editkit.deep_pixels import write_png
from editkit.errors import OutputError, PhotoError, UsageError
from editkit.files import atomic_path

log = logging.getLogger(__name__)

METADATA_KEY = "editkit"
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_EXIF_DESCRIPTION, _EXIF_SOFTWARE = 0x010E, 0x0131
_MAX_EXIF_BYTES = 60_000  # an EXIF block of a JPEG ends at 64 KB


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Photo:
    """A picture as the user gave it, upright and in sRGB.

    Raises PhotoError where the shape of the image or of its alpha is off.
    """

    image: Tensor  # float32 [1, 3, H, W] in [-1, 1], composited on white where there is alpha
    path: Path | None = None  # where it was read from
    alpha: Tensor | None = None  # float32 [1, 1, H, W] in [0, 1]; None: opaque
    depth: Literal[8, 16] = 8  # bits a channel of the file

    def __post_init__(self) -> None:
        if self.image.ndim != 4 or self.image.shape[:2] != (1, 3) or not self.image.is_floating_point():
            shape = tuple(self.image.shape)
            raise PhotoError(f"a photo is float [1, 3, H, W] in [-1, 1], got {self.image.dtype} {shape}")
        if self.alpha is not None and self.alpha.shape != (1, 1, *self.image.shape[2:]):
            raise PhotoError(f"alpha {tuple(self.alpha.shape)} does not fit the image {tuple(self.image.shape)}")

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.image.shape[3], self.image.shape[2]


def read_photo(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read a picture: rotated by its EXIF tag, converted from its ICC profile to sRGB.

    JPEG, PNG, WebP, TIFF and whatever else Pillow reads; HEIC with ``pip install pillow-heif``. Grey, palette,
    CMYK and 16-bit pictures become RGB; of an animation the first frame is used. PNG and TIFF of 16 bits a channel are
    read in full (``depth``); where they have a colour profile other than sRGB, with 8.

    max_pixels: larger pictures are refused from their header, before they are decoded.
    Raises PhotoError: missing, a folder, empty, not a picture, damaged, under 16 pixels a side, or too large.
    """
    pixels, coverage = decode(Path(path), max_pixels=max_pixels, deep=True)
    depth: Literal[8, 16] = 16 if pixels.dtype == np.uint16 else 8
    image = image_from_uint16(pixels) if depth == 16 else image_from_uint8(pixels)
    if coverage is None:
        return Photo(image=image, path=Path(path), depth=depth)
    alpha = torch.from_numpy(coverage.astype(np.float32) / (2**depth - 1))[None, None]
    return Photo(image=torch.lerp(torch.ones(()), image, alpha), path=Path(path), alpha=alpha, depth=depth)


def sample_photo() -> Photo:
    """The photo that is used where none is given: scikit-image's astronaut (NASA, public domain), 512 x 512."""
    import skimage.data

    return read_photo(Path(skimage.data.__file__).parent / "astronaut.png")


def write_image(
    path: str | Path,
    image: Tensor,
    *,
    metadata: Mapping[str, str] | None = None,
    quality: int = 95,
    alpha: Tensor | None = None,
    note: bool = True,
    depth: Literal[8, 16] = 8,
) -> None:
    """Write one picture as PNG, JPEG or WebP, chosen by the suffix. Nothing of the source's EXIF (GPS) is written.

    image: [1, 3, H, W] or [3, H, W] in [-1, 1]; values outside are clipped.
    metadata: texts to keep with the picture, such as ``{"recipe": json}``: PNG text chunks of these names; in JPEG and
        WebP one JSON object in the EXIF description.
    quality: 1 to 100, of JPEG and WebP.
    alpha: [1, 1, H, W] in [0, 1], the transparency of the photo; JPEG has none and keeps the white.
    note: say in the metadata that the picture was edited with editkit. False, and no ``metadata``: none is written.
    depth: bits a channel; 16 is for PNG, such as ``photo.depth`` of the photo that was edited.
    Raises OutputError (unknown suffix, no permission, no space) and UsageError (shape, not-a-number, quality, depth).
    """
    target = Path(path)
    kind = _FORMATS.get(target.suffix.lower())
    if kind is None:
        known = ", ".join(_FORMATS)
        raise OutputError(f"cannot write {target}: unknown kind {target.suffix or '(no suffix)'!r}; use {known}")
    if not 1 <= quality <= 100:
        raise UsageError(f"quality is 1 to 100, got {quality}")
    if depth != 8 and (depth != 16 or kind != "PNG"):
        raise UsageError(f"a picture has 8 bits a channel, a PNG 8 or 16; got {depth!r} for {target.name}")
    texts = {**({METADATA_KEY: edited_note()} if note else {}), **(metadata or {})}
    if depth == 16:
        deep, chunks = _pixels(image, alpha, 16), [(name, text) for name, text, *_ in _png_texts(texts).chunks]
        with atomic_path(target) as temporary:
            write_png(temporary, deep, chunks=chunks)
        return
    picture = Image.fromarray(_pixels(image, None if kind == "JPEG" else alpha, 8))
    with atomic_path(target) as temporary:
        if kind == "PNG":
            picture.save(temporary, kind, pnginfo=_png_texts(texts))
        else:
            exif = exif_of(texts).tobytes() if texts else b""
            chroma = {"subsampling": 0} if kind == "JPEG" and quality >= 90 else {}
            picture.save(temporary, kind, quality=quality, exif=exif, **chroma)


def edited_note(what: str = "picture") -> str:
    """The sentence that metadata keep."""
    from editkit import __version__

    return f"This {what} was edited with editkit {__version__}."


def _pixels(image: Tensor, alpha: Tensor | None, depth: int) -> np.ndarray:
    """What is written: [H, W, 3], or 4 with alpha, uint8 or uint16."""
    quantise = image_to_uint8 if depth == 8 else image_to_uint16
    image = image[None] if image.ndim == 3 else image
    if image.ndim != 4 or image.shape[:2] != (1, 3):
        raise UsageError(f"one image [1, 3, H, W] is written at a time, got {tuple(image.shape)}")
    if alpha is None:
        return quantise(image)[0].numpy()
    if alpha.shape != (1, 1, *image.shape[2:]):
        raise UsageError(f"alpha {tuple(alpha.shape)} does not fit the image {tuple(image.shape)}")
    alpha = alpha.detach().to("cpu", torch.float32)
    image = image.detach().to("cpu", torch.float32)
    # The image is composited on white; what a viewer composites again must be the colour without the white.
    top = 2**depth - 1
    colour = torch.where(alpha > 0, (image - (1 - alpha)) / alpha.clamp_min(1 / top), torch.ones(()))
    pixels = quantise(colour)[0].numpy()
    coverage = (alpha[0, 0] * top).round().numpy().astype(pixels.dtype)
    return np.dstack((pixels, coverage))


def _png_texts(texts: Mapping[str, str]) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        if not (0 < len(key) < 80 and key.isascii() and key.isprintable()):
            raise UsageError(f"a metadata name is 1 to 79 printable ASCII characters, got {key!r}")
        info.add_text(key, text) if text.isascii() else info.add_itxt(key, text)
    return info


def exif_of(texts: Mapping[str, str]) -> Image.Exif:
    """Texts as EXIF: the note as software, the rest as one JSON object in the description. Nothing else."""
    exif, rest = Image.Exif(), {key: text for key, text in texts.items() if key != METADATA_KEY}
    if METADATA_KEY in texts:
        exif[_EXIF_SOFTWARE] = texts[METADATA_KEY]
    if rest:
        description = json.dumps(rest)
        if len(description) <= _MAX_EXIF_BYTES:
            exif[_EXIF_DESCRIPTION] = description
        else:
            log.warning(
                "metadata of %d bytes is too long for EXIF and was left out; PNG has no limit", len(description)
            )
    return exif


def image_to_uint8(image: Tensor) -> Tensor:
    """float [N, C, H, W] in [-1, 1] -> uint8 [N, H, W, C] on the CPU, clipped and rounded to the nearest.

    Raises UsageError where a value is not a number.
    """
    pixels = (image.detach().to("cpu", torch.float32) + 1) * 127.5
    if not torch.isfinite(pixels).all():
        raise UsageError("the image holds values that are not numbers (NaN or infinity); it cannot be shown or written")
    return pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def image_from_uint8(pixels: Tensor | np.ndarray) -> Tensor:
    """uint8 [N, H, W, C] or [H, W, C] -> float32 [N, C, H, W] in [-1, 1]. Raises UsageError on anything else."""
    pixels = torch.from_numpy(np.array(pixels)) if isinstance(pixels, np.ndarray) else pixels
    pixels = pixels[None] if pixels.ndim == 3 else pixels
    if pixels.dtype != torch.uint8 or pixels.ndim != 4:
        raise UsageError(f"expected uint8 [N, H, W, C], got {pixels.dtype} {tuple(pixels.shape)}")
    return pixels.permute(0, 3, 1, 2).float().div_(127.5).sub_(1).contiguous()


def image_to_uint16(image: Tensor) -> Tensor:
    """As ``image_to_uint8``, for 16 bits: uint16 [N, H, W, C]."""
    pixels = (image.detach().to("cpu", torch.float32) + 1) * 32767.5
    if not torch.isfinite(pixels).all():
        raise UsageError("the image holds values that are not numbers (NaN or infinity); it cannot be shown or written")
    return pixels.round().clamp(0, 65535).to(torch.uint16).permute(0, 2, 3, 1).contiguous()


def image_from_uint16(pixels: np.ndarray) -> Tensor:
    """uint16 [H, W, C] -> float32 [1, C, H, W] in [-1, 1]; ``image_to_uint16`` gives every value back."""
    image = torch.from_numpy(pixels.astype(np.float32))[None]
    return image.permute(0, 3, 1, 2).div_(32767.5).sub_(1).contiguous()


def psnr(first: Tensor, second: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, [N]: on 8-bit rounded pixels, data range 255; infinite where all are equal.

    first, second: [N, C, H, W] in [-1, 1], of one shape.
    """
    a, b = _rounded(first, second)
    return 10 * torch.log10(255**2 / (a - b).square().mean((1, 2, 3)))


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Structural similarity, [N] (Wang et al. 2004, eq. 13), mean over channels and over windows inside the picture.

    11 x 11 Gaussian windows of standard deviation 1.5, K1 = 0.01, K2 = 0.03, on 8-bit rounded pixels, data range 255.
    first, second: [N, C, H, W] in [-1, 1], of one shape, at least 11 pixels a side.
    """
    a, b = _rounded(first, second)
    if min(a.shape[2:]) < 11:
        raise UsageError(f"SSIM takes images of at least 11 pixels a side, got {tuple(a.shape)}")
    offsets = torch.arange(-5, 6, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / 1.5) ** 2)
    kernel = kernel / kernel.sum()

    def local(x: Tensor) -> Tensor:
        x = functional.conv2d(x.flatten(0, 1)[:, None], kernel.view(1, 1, 11, 1))
        return functional.conv2d(x, kernel.view(1, 1, 1, 11)).view(len(a), a.shape[1], *(s - 10 for s in a.shape[2:]))

    mean_a, mean_b = local(a), local(b)
    var_a, var_b = local(a * a) - mean_a**2, local(b * b) - mean_b**2
    covariance = local(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    index = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return (index / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean((1, 2, 3))


def _rounded(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    if first.shape != second.shape or first.ndim != 4:
        raise UsageError(f"two images of one shape [N, C, H, W] are compared, got {first.shape} and {second.shape}")
    a, b = (image_to_uint8(image).permute(0, 3, 1, 2).double() for image in (first, second))
    return a, b

"""Reading pictures: formats, colours, orientation, bad files."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from photo_files import gradient, pixels, save
from PIL import Image, ImageCms

from editkit import decoding
from editkit.errors import PhotoError
from editkit.photo import Photo, read_photo, sample_photo, write_image


def test_png_is_read_exactly(tmp_path: Path) -> None:
    photo = read_photo(save(tmp_path / "a.png", Image.fromarray(gradient())))
    assert np.array_equal(pixels(photo), gradient())
    assert photo.size == (32, 24)
    assert photo.alpha is None
    assert photo.path == tmp_path / "a.png"
    assert photo.image.dtype == torch.float32
    assert photo.image.amin() >= -1
    assert photo.image.amax() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(tmp_path: Path, orientation: int) -> None:
    upright = Image.fromarray(gradient())
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }.get(orientation)
    stored = upright if undo is None else upright.transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", stored, exif=exif)
    assert np.array_equal(pixels(read_photo(path)), gradient())


def test_icc_profile_is_applied(tmp_path: Path) -> None:
    """A profile whose red and green primaries change places must swap the channels."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", profile[128:132])[0]
    tags = {bytes(profile[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    profile[red + 4 : red + 12], profile[green + 4 : green + 12] = (
        profile[green + 4 : green + 12],
        profile[red + 4 : red + 12],
    )
    picture = Image.new("RGB", (32, 32), (200, 40, 90))
    plain = pixels(read_photo(save(tmp_path / "plain.png", picture)))
    swapped = pixels(read_photo(save(tmp_path / "swapped.png", picture, icc_profile=bytes(profile))))
    assert np.abs(swapped[0, 0].astype(int) - plain[0, 0][[1, 0, 2]]).max() <= 2


def test_damaged_icc_profile_is_ignored_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(gradient()), icc_profile=b"no profile at all")
    assert np.array_equal(pixels(read_photo(path)), gradient())
    assert "colour profile" in caplog.text


def test_alpha_is_composited_on_white_and_restored(tmp_path: Path) -> None:
    alpha = np.full((24, 32), 128, np.uint8)
    alpha[:4], alpha[4:8] = 0, 255
    path = save(tmp_path / "a.png", Image.fromarray(np.dstack((gradient(), alpha))))
    photo = read_photo(path)
    assert photo.alpha is not None
    assert photo.alpha.shape == (1, 1, 24, 32)
    shown = pixels(photo)
    assert (shown[:4] == 255).all()
    assert np.array_equal(shown[4:8], gradient()[4:8])
    assert np.abs(shown[8:] - (255 - (255.0 - gradient()[8:]) * 128 / 255)).max() <= 0.51
    write_image(tmp_path / "b.png", photo.image, alpha=photo.alpha)
    with Image.open(tmp_path / "b.png") as back:
        assert back.mode == "RGBA"
        values = np.asarray(back).astype(int)
    assert np.array_equal(values[..., 3], alpha)
    assert np.abs(values[4:, :, :3] - gradient()[4:]).max() <= 1


def test_opaque_alpha_is_no_alpha(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(gradient()).convert("RGBA"))
    assert read_photo(path).alpha is None


def test_transparent_palette_colour(tmp_path: Path) -> None:
    picture = Image.new("P", (32, 32), 1)
    picture.putpalette([0, 0, 0, 10, 200, 30] + [0] * 750)
    picture.paste(0, (0, 0, 32, 16))
    photo = read_photo(save(tmp_path / "a.png", picture, transparency=0))
    assert photo.alpha is not None
    assert float(photo.alpha[0, 0, 0, 0]) == 0
    assert pixels(photo)[31, 0].tolist() == [10, 200, 30]
    assert pixels(photo)[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize(
    ("mode", "suffix"), [("L", "png"), ("1", "png"), ("P", "png"), ("CMYK", "tif"), ("CMYK", "jpg")]
)
def test_other_modes_become_rgb(tmp_path: Path, mode: str, suffix: str) -> None:
    picture = Image.new("RGB", (32, 32), (255, 255, 255)).convert(mode)
    shown = pixels(read_photo(save(tmp_path / f"a.{suffix}", picture)))
    assert shown.shape == (32, 32, 3)
    assert shown.min() >= 253


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    deep = np.linspace(0, 65535, 24 * 32).reshape(24, 32).astype(np.uint16)
    for suffix in ("png", "tif"):
        shown = pixels(read_photo(save(tmp_path / f"a.{suffix}", Image.fromarray(deep))))
        assert np.abs(shown[..., 0] - deep / 257.0).max() <= 0.51
        assert (shown[..., 0] == shown[..., 2]).all()


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", Image.fromarray(np.zeros((32, 32), np.float32)))
    with pytest.raises(PhotoError, match="floating-point"):
        read_photo(path)


def test_heic_names_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64))
    monkeypatch.setattr(decoding.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PhotoError, match="pip install pillow-heif"):
        read_photo(path)


def test_heic_is_read(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="the heic extra is not installed")
    pillow_heif.register_heif_opener()
    smooth = Image.fromarray(gradient(64, 64))
    path = save(tmp_path / "a.heic", smooth, quality=95)
    assert np.abs(pixels(read_photo(path)).astype(int) - np.asarray(smooth)).mean() < 4


def _huge_png(side: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def _truncated_jpeg() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(stream, "JPEG")
    return stream.getvalue()[:1500]


def _one_pixel() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (1, 1)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.jpg", b"", "is empty"),
        ("text.jpg", b"These are words, not a picture.\n" * 20, "is not a picture"),
        ("cut.jpg", _truncated_jpeg(), "damaged or cut short"),
        ("header_only.png", _huge_png(64), "damaged or cut short"),
        ("dot.png", _one_pixel(), "1 x 1"),
        ("huge.png", _huge_png(30_000), "too large: 900,000,000 pixels; the limit is 178,956,970"),
        ("unknown.xyz", bytes(range(256)) * 8, "is not a picture"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(PhotoError, match=message) as caught:
        read_photo(path)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="there is no file"):
        read_photo(tmp_path / "none.jpg")
    with pytest.raises(PhotoError, match="is a folder"):
        read_photo(tmp_path)


def test_pixel_limit_is_an_option(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.new("RGB", (40, 40)))
    with pytest.raises(PhotoError, match="40 x 40 = 1,600 pixels; the limit is 1,599"):
        read_photo(path, max_pixels=1599)
    assert read_photo(path, max_pixels=1600).size == (40, 40)


def test_sample_photo() -> None:
    assert sample_photo().size == (512, 512)


def test_photo_checks_its_shape() -> None:
    with pytest.raises(PhotoError, match=r"\[1, 3, H, W\]"):
        Photo(image=torch.zeros(3, 8, 8))
    with pytest.raises(PhotoError, match="does not fit"):
        Photo(image=torch.zeros(1, 3, 8, 8), alpha=torch.zeros(1, 1, 8, 9))

"""Photos of 16 bits a channel: read, pasted back into, and written without loss."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageOps
from project_fixtures import G, checkpoint, photo, project, warmth

import editkit
from editkit import deep_pixels
from editkit.errors import UsageError
from editkit.photo import image_from_uint16, image_to_uint16, read_photo, write_image


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 65536, shape, dtype=np.uint16)


def by_ffmpeg(pixels: np.ndarray, kind: str) -> bytes:
    """A file that another program wrote."""
    import av

    order = "be" if kind == "png" else "le"
    name = {1: "gray16", 3: "rgb48", 4: "rgba64"}[pixels.shape[2]] + order
    frame = av.VideoFrame.from_ndarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels, format=name)
    context = av.CodecContext.create(kind, "w")
    context.width, context.height, context.pix_fmt, context.time_base = frame.width, frame.height, name, 1
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


def read_back(path: Path) -> np.ndarray:
    """The pixels of a PNG, uint16, by ffmpeg."""
    found = deep_pixels._decoded(path.read_bytes(), "png", path)
    assert found is not None
    return found


def test_every_value_survives() -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(64, 1024, 1)
    assert (image_to_uint16(image_from_uint16(every))[0].numpy() == every).all()


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_files_of_another_program_are_read_in_full(tmp_path: Path, kind: str, channels: int) -> None:
    pixels = noise(37, 53, channels)
    if channels == 4:
        pixels[..., 3] |= 0x8000
    (tmp_path / f"a.{kind}").write_bytes(by_ffmpeg(pixels, kind))
    seen = read_photo(tmp_path / f"a.{kind}")
    assert seen.depth == 16 and (seen.alpha is not None) == (channels == 4)
    write_image(tmp_path / "b.png", seen.image, alpha=seen.alpha, depth=16)
    wanted = pixels if channels > 1 else np.repeat(pixels, 3, axis=2)
    assert (read_back(tmp_path / "b.png") == wanted).all()
    shown = np.asarray(Image.open(tmp_path / "b.png").convert("RGB")).astype(int)  # Pillow takes the upper 8 bits
    assert abs(shown - wanted[..., :3] / 257.0).max() <= 1.0


@pytest.mark.parametrize("height", [1, 255, 256, 257, 600])
def test_rows_are_filtered_across_blocks(tmp_path: Path, height: int) -> None:
    pixels = np.cumsum(noise(height, 20, 3), axis=0, dtype=np.uint16)
    deep_pixels.write_png(tmp_path / "a.png", pixels)
    assert (read_back(tmp_path / "a.png") == pixels).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_they_are_turned_as_exif_says(orientation: int) -> None:
    pixels = noise(5, 7, 3, seed=orientation)
    small, exif = Image.fromarray((pixels >> 8).astype(np.uint8)), Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    small.save(stream, "PNG", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(stream)))
    assert (deep_pixels._upright(pixels, orientation) >> 8 == upright).all()


def test_the_same_photo_upright_from_the_file(tmp_path: Path) -> None:
    import tifffile

    pixels = noise(24, 40, 3)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extratags=[(274, 3, 1, 6, True)])
    seen = read_photo(tmp_path / "a.tif")
    assert seen.size == (24, 40) and seen.depth == 16
    assert (image_to_uint16(seen.image)[0].numpy() == np.rot90(pixels, -1)).all()


def test_a_colour_profile_costs_the_depth_and_srgb_does_not(tmp_path: Path, caplog) -> None:
    import tifffile

    pixels, profiles = noise(24, 40, 3), {}
    for name in ("sRGB", "LAB"):
        profiles[name] = ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()
    for name, depth in (("sRGB", 16), ("LAB", 8)):
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels, photometric="rgb", iccprofile=profiles[name])
        assert read_photo(tmp_path / f"{name}.tif").depth == depth
    assert "at 8 bits" in caplog.text


def test_what_ffmpeg_cannot_read_has_8_bits(tmp_path: Path, monkeypatch, caplog) -> None:
    pixels = noise(24, 40, 3)
    deep_pixels.write_png(tmp_path / "a.png", pixels)
    monkeypatch.setattr(deep_pixels, "_decoded", lambda data, kind, path: None)
    seen = read_photo(tmp_path / "a.png")
    assert seen.depth == 8 and "of which 8 can be read" in caplog.text


def test_only_png_has_16_bits(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="8 bits a channel"):
        write_image(tmp_path / "a.jpg", torch.zeros(1, 3, 16, 16), depth=16)
    with pytest.raises(UsageError, match="got 12"):
        write_image(tmp_path / "a.png", torch.zeros(1, 3, 16, 16), depth=12)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="not numbers"):
        write_image(tmp_path / "a.png", torch.full((1, 3, 16, 16), torch.nan), depth=16)


@pytest.mark.parametrize("way", ["difference", "replace"])
def test_pasted_back_every_bit_outside_the_mask_stays(tmp_path: Path, way: str) -> None:
    pixels = noise(90, 120, 3)
    deep_pixels.write_png(tmp_path / "a.png", pixels)
    face = editkit.align(read_photo(tmp_path / "a.png"), 16, convention="centre", box=(30, 20, 40, 40))
    image = torch.full((1, 3, 16, 16), 0.3)
    back = face.paste_back(image, inverted=image - 0.1 if way == "difference" else None)
    write_image(tmp_path / "b.png", back, depth=face.photo.depth)
    outside = np.ones((90, 120), dtype=bool)
    outside[20:60, 30:70] = False
    found = read_back(tmp_path / "b.png")
    assert (found == pixels)[outside].all() and (found != pixels)[~outside].mean() > 0.9


def test_the_command_keeps_16_bits(project, warmth, tmp_path: Path) -> None:
    pixels = noise(48, 80, 3)
    deep_pixels.write_png(tmp_path / "me.png", pixels)
    assert project(tmp_path / "me.png", "--edit", "warmth=2", "--box", "10,4,30,30") == 0
    pasted = tmp_path / "out" / "me" / "pasted.png"
    outside = np.ones((48, 80), dtype=bool)
    outside[4:34, 10:40] = False
    found = read_back(pasted)
    assert (found == pixels)[outside].all() and (found != pixels).any()
    assert {"editkit", "recipe"} <= set(Image.open(pasted).info)
    assert project(tmp_path / "me.png", "--edit", "none") == 0
    assert (read_back(pasted) == pixels).all()

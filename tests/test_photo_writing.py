"""Writing pictures: what is in the file and what is not; how far two are apart."""

from pathlib import Path

import numpy as np
import pytest
import torch
from photo_files import gradient, save
from PIL import Image

from editkit.errors import OutputError, UsageError
from editkit.photo import image_from_uint8, image_to_uint8, psnr, read_photo, ssim, write_image


def test_uint8_round_trip_and_rounding() -> None:
    every = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1)
    assert torch.equal(image_to_uint8(image_from_uint8(every)), every)
    out_of_range = torch.tensor([-3.0, -1.0, 0.0, 1.0, 5.0]).view(1, 1, 1, 5)
    assert image_to_uint8(out_of_range).flatten().tolist() == [0, 0, 128, 255, 255]
    with pytest.raises(UsageError, match="NaN"):
        image_to_uint8(torch.full((1, 3, 4, 4), float("nan")))
    with pytest.raises(UsageError, match="uint8"):
        image_from_uint8(np.zeros((4, 4, 3), np.float32))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_written_metadata_is_ours_alone(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x010F] = "SecretCamera"
    exif.get_ifd(0x8825)[1] = "N"
    source = save(tmp_path / "source.jpg", Image.fromarray(gradient(64, 64)), exif=exif)
    assert b"SecretCamera" in source.read_bytes()
    target = tmp_path / f"out{suffix}"
    write_image(target, read_photo(source).image, metadata={"recipe": '{"name": "für dich"}'})
    with Image.open(target) as written:
        written.load()
        exif_back = written.getexif()
        texts = dict(getattr(written, "text", {}))
        assert not exif_back.get_ifd(0x8825)
    assert b"SecretCamera" not in target.read_bytes()
    if suffix == ".png":
        assert "edited with editkit" in texts["editkit"]
        assert texts["recipe"] == '{"name": "für dich"}'
    else:
        assert "edited with editkit" in exif_back[0x0131]
        assert "f\\u00fcr dich" in exif_back[0x010E]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_metadata_can_be_left_out(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"out{suffix}"
    write_image(target, torch.zeros(1, 3, 32, 32), note=False)
    assert b"editkit" not in target.read_bytes()
    with Image.open(target) as written:
        assert not written.getexif()


def test_written_png_reads_back_and_quality_matters(tmp_path: Path) -> None:
    image = image_from_uint8(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    write_image(tmp_path / "a.png", image[0])
    assert torch.equal(read_photo(tmp_path / "a.png").image, image)
    write_image(tmp_path / "a.jpg", image, quality=100)
    write_image(tmp_path / "b.jpg", image, quality=30)
    assert (tmp_path / "a.jpg").stat().st_size > 2 * (tmp_path / "b.jpg").stat().st_size


def test_writing_refuses_bad_input(tmp_path: Path) -> None:
    image = torch.zeros(1, 3, 32, 32)
    with pytest.raises(OutputError, match=r"unknown kind '\.gif'"):
        write_image(tmp_path / "a.gif", image)
    with pytest.raises(OutputError, match="does not exist"):
        write_image(tmp_path / "none" / "a.png", image)
    with pytest.raises(UsageError, match="one image"):
        write_image(tmp_path / "a.png", torch.zeros(2, 3, 32, 32))
    with pytest.raises(UsageError, match="quality"):
        write_image(tmp_path / "a.jpg", image, quality=0)
    with pytest.raises(UsageError, match="NaN"):
        write_image(tmp_path / "a.png", image * float("nan"))
    with pytest.raises(UsageError, match="metadata name"):
        write_image(tmp_path / "a.png", image, metadata={"": "x"})
    assert list(tmp_path.iterdir()) == []


def test_psnr() -> None:
    a = torch.zeros(2, 3, 16, 16)
    b = a.clone()
    b[1] += 10 / 127.5
    found = psnr(a, b)
    assert torch.isinf(found[0])
    assert float(found[1]) == pytest.approx(10 * np.log10(255**2 / 100), abs=1e-9)
    with pytest.raises(UsageError, match="one shape"):
        psnr(a, a[:1])


def test_ssim_equals_scikit_image() -> None:
    from skimage.metrics import structural_similarity

    rng = np.random.default_rng(0)
    first = gradient(40, 48)
    second = np.clip(first + rng.normal(0, 12, first.shape), 0, 255).astype(np.uint8)
    expected = structural_similarity(
        first, second, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
    )
    found = ssim(image_from_uint8(first), image_from_uint8(second))
    assert float(found) == pytest.approx(expected, abs=1e-6)
    assert float(ssim(image_from_uint8(first), image_from_uint8(first))) == 1

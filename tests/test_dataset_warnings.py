"""Each warning on pictures made to deserve it, and none on good ones."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dataset_maker import good, texture, write_folder
from PIL import Image, ImageFilter

from train.dataset_build import check_dataset
from train.dataset_measures import Measures, bars_of, fall_of, jpeg_quality
from train.dataset_pixels import Crop
from train.dataset_warnings import FEWEST, Finding, find_warnings

LANCZOS, BICUBIC, NEAREST = (Image.Resampling[name] for name in ("LANCZOS", "BICUBIC", "NEAREST"))


def warnings_of(folder: Path, *, resolution: int | None = None, copies: int = 100) -> dict[str, Finding]:
    """The warnings on a folder, as if there were ``copies`` times as many pictures."""
    survey = check_dataset(folder, resolution=resolution)
    names, measures = survey.names * copies, survey.measures * copies
    return {one.code: one for one in find_warnings(names, measures, crop=survey.crop, channels=survey.channels)}


def write_made(folder: Path, make: Callable[[int], Image.Image], *, count: int = 10, suffix: str = "png") -> Path:
    folder.mkdir()
    for seed in range(count):
        make(seed).save(folder / f"{seed}.{suffix}")
    return folder


def test_good_pictures_raise_nothing(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "good", 10)
    assert warnings_of(folder) == {}
    assert warnings_of(folder, resolution=32) == {}
    for seed in range(10, 20):
        good(seed).save(folder / f"{seed}.jpg", quality=95, subsampling=0)
    assert warnings_of(folder) == {}


def test_too_few(tmp_path: Path) -> None:
    found = warnings_of(write_folder(tmp_path / "few", 10), copies=99)["too-few"]
    assert (found.measured, found.threshold) == (990, FEWEST) and "Karras et al. 2020" in found.advice


@pytest.mark.parametrize("colour", ["black", "white"])
@pytest.mark.parametrize("box", [(0, 8), (8, 0)])
def test_letterboxes(tmp_path: Path, colour: str, box: tuple[int, int]) -> None:
    def make(seed: int) -> Image.Image:
        framed = Image.new("RGB", (64, 64), colour)
        framed.paste(good(seed).resize((64 - 2 * box[0], 64 - 2 * box[1]), LANCZOS), box)
        return framed

    found = warnings_of(write_made(tmp_path / "framed", make))["letterbox"]
    assert found.measured == 1.0 and found.examples[0] == "0.png"


def test_an_object_on_a_plain_ground_is_no_letterbox() -> None:
    y, x = np.mgrid[:64, :64]
    disc = np.where((x - 32) ** 2 + (y - 32) ** 2 < 24**2, 90.0, 250.0).astype(np.float32)
    assert bars_of(disc) == 0
    assert bars_of(np.full((64, 64), 7.0, np.float32)) == 0
    barred = disc.copy()
    barred[:8] = barred[-8:] = 0
    assert bars_of(barred) == 0.25


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_strong_compression_from_tables_or_from_the_blocks_it_left(tmp_path: Path, suffix: str) -> None:
    def make(seed: int) -> Image.Image:
        stream = io.BytesIO()
        good(seed, side=128).save(stream, "JPEG", quality=30)
        return Image.open(stream).convert("RGB")

    folder = tmp_path / "compressed"
    if suffix == "png":
        write_made(folder, make)
    else:
        folder.mkdir()
        for seed in range(10):
            good(seed, side=128).save(folder / f"{seed}.jpg", quality=30)
    found = warnings_of(folder)["compressed"]
    assert found.measured == 1.0 and ("JPEG quality 30" in found.text) is (suffix == "jpg")
    assert "compressed" not in warnings_of(folder, resolution=32)  # a fourth of the size: the blocks are gone


@pytest.mark.parametrize("quality", [10, 50, 75, 90, 100])
def test_the_quality_of_a_jpeg_is_read_from_its_tables(quality: int) -> None:
    stream = io.BytesIO()
    good(0).save(stream, "JPEG", quality=quality)
    assert jpeg_quality(stream.getvalue()) == pytest.approx(quality, abs=2)
    stream = io.BytesIO()
    good(0).save(stream, "PNG")
    assert np.isnan(jpeg_quality(stream.getvalue()))


@pytest.mark.parametrize("filter_", [BICUBIC, LANCZOS, NEAREST])
def test_enlarged_pictures(tmp_path: Path, filter_: Image.Resampling) -> None:
    folder = write_made(tmp_path / "large", lambda seed: good(seed).resize((128, 128), filter_))
    found = warnings_of(folder)
    assert found["upscaled"].measured == 1.0 and "point-sampled" not in found


def test_pictures_enlarged_while_building(tmp_path: Path) -> None:
    assert warnings_of(write_folder(tmp_path / "small", 10), resolution=96)["upscaled"].measured == 1.0


def test_point_sampled_and_sharpened_pictures(tmp_path: Path) -> None:
    point = write_made(tmp_path / "point", lambda seed: Image.fromarray(texture(256, seed=seed)[::4, ::4]))
    sharp = ImageFilter.UnsharpMask(radius=1, percent=300, threshold=0)
    sharpened = write_made(tmp_path / "sharp", lambda seed: good(seed).filter(sharp))
    for folder in (point, sharpened):
        found = warnings_of(folder)
        assert found["point-sampled"].measured > 0.8 and "upscaled" not in found


def test_a_flat_picture_says_nothing_of_its_spectrum() -> None:
    assert np.isnan(fall_of(np.full((64, 64), 100.0, np.float32)))


def test_mixed_sizes_and_aspects(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mixed", 8)
    assert "mixed-sizes" not in warnings_of(folder, resolution=32)
    for seed in range(20, 24):
        good(seed, side=256).save(folder / f"{seed}.png")
        good(seed + 9, side=64).resize((64, 96), LANCZOS).save(folder / f"tall{seed}.png")
    assert warnings_of(folder)["mixed-sizes"].measured == 3
    found = warnings_of(folder, resolution=32)
    assert "mixed-sizes" not in found and found["mixed-aspects"].measured == 0.25
    for seed in range(30, 34):
        good(seed, side=320).save(folder / f"{seed}.png")
    assert warnings_of(folder, resolution=32)["mixed-sizes"].measured == pytest.approx(5, abs=0.5)


def test_grey_pictures_among_colour(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "grey", 8)
    for seed in range(2):
        good(50 + seed).convert("L").save(folder / f"grey{seed}.png")
    found = warnings_of(folder)
    assert found["grey-among-colour"].measured == 0.2
    assert found["grey-among-colour"].examples[0] == "grey0.png" and "all-grey" not in found


def test_grey_pictures_in_three_channels(tmp_path: Path) -> None:
    folder = write_made(tmp_path / "grey", lambda seed: good(seed).convert("L").convert("RGB"))
    assert set(warnings_of(folder)) == {"all-grey"}


def test_nothing_to_warn_of_where_there_is_nothing() -> None:
    measures: list[Measures] = []
    assert find_warnings([], measures, crop=Crop(), channels=3) == []

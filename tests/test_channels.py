"""Generators of grey pictures and of pictures with alpha: trained on such data, and opened by everything else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from project_fixtures import make_photo
from toy_pictures import write_toys

from editkit.cli import main
from editkit.colour import as_grey, as_rgb, split_alpha
from editkit.errors import UsageError
from editkit.generator import load_generator, random_generator
from editkit.photo import Photo, image_from_uint8, image_to_uint8, psnr, read_photo, write_image
from editkit.rendering import render
from editkit.sampling import sample_w
from projector import Optimise, project
from train.dataset import open_dataset
from train.metrics.equivariance import equivariance
from train.metrics.pictures import Pictures

CHANNELS = (1, 4)


def cut_out(folder: Path, *, count: int, side: int = 16) -> Path:
    """Discs of a colour on nothing: RGBA."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / side
    for index in range(count):
        across, along, radius = *rng.uniform(0.3, 0.7, 2), rng.uniform(0.2, 0.35)
        alpha = np.clip((radius - np.hypot(x - across, y - along)) * side / 1.5 + 0.5, 0, 1) * 255
        colour = np.full((side, side, 3), rng.uniform(60, 255, 3))
        Image.fromarray(np.dstack((colour, alpha)).astype(np.uint8)).save(folder / f"{index:04d}.png")
    return folder


@pytest.fixture(scope="module", params=CHANNELS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path, Path]:
    """Channels, the data set and the folder of a run of 32 pictures, as the commands make them."""
    channels, place = request.param, tmp_path_factory.mktemp("channels")
    source = (cut_out if channels == 4 else write_toys)(place / "pictures", count=24)
    data, out = place / "data.zip", place / "run"
    build = ["dataset", "build", source, "--channels", channels, "--out", data, "--near", "0", "--quiet"]
    assert main([str(word) for word in build]) == 0
    train = ["train", "--data", data, "--out", out, "--recipe", "tiny", "--batch", "8", "--kimg", "0.032"]
    fixed = ["--device", "cpu", "--threads", "1", "--quiet"]
    assert main([str(word) for word in (*train, *fixed)]) == 0
    return channels, data, out


def make(out: Path, *words: object) -> int:
    return main([str(word) for word in (*words, "--generator", out / "generator.safetensors", "--device", "cpu")])


@pytest.mark.parametrize("channels", CHANNELS)
def test_pictures_become_rgb(channels: int) -> None:
    images = torch.rand(2, channels, 5, 5) * 2 - 1
    shown = as_rgb(images)
    if channels == 1:
        assert torch.equal(shown, images.expand(-1, 3, -1, -1)) and split_alpha(images)[1] is None
        return
    images[:, 3, 0], images[:, 3, 1] = -1.5, 1.0  # clear and beyond; opaque
    shown, alpha = split_alpha(images)
    assert torch.equal(shown[:, :, 0], torch.ones(2, 3, 5)), "what is clear is white"
    assert torch.equal(shown[:, :, 1], images[:, :3, 1]) and float(alpha.min()) == 0 and float(alpha.max()) == 1
    with pytest.raises(UsageError, match="1, 3 or 4"):
        as_rgb(torch.zeros(1, 2, 4, 4))


def test_grey_is_the_grey_that_data_are_read_as() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    grey = image_to_uint8(as_grey(image_from_uint8(pixels)))[0].numpy().astype(int)
    wanted = np.asarray(Image.fromarray(pixels).convert("L")).astype(int)
    assert (grey == grey[..., :1]).all() and np.abs(grey[..., 0] - wanted).max() <= 1


def test_a_picture_with_alpha_goes_into_a_file_and_back(tmp_path: Path) -> None:
    images = torch.rand(1, 4, 16, 16) * 2 - 1
    shown, alpha = split_alpha(images)
    write_image(tmp_path / "a.png", shown, alpha=alpha)
    read = read_photo(tmp_path / "a.png")
    assert read.alpha is not None and (read.alpha - alpha).abs().max() < 0.003
    assert (read.image - shown).abs().max() < 0.02


def test_a_run_has_a_grid_and_a_walk(run: tuple[int, Path, Path]) -> None:
    channels, _, out = run
    grid = np.asarray(Image.open(sorted((out / "samples").glob("*.png"))[-1])).astype(int)
    assert grid.shape == (4 * 16, 8 * 16, 3) and (out / "samples" / "walk.mp4").stat().st_size > 1000
    assert (grid == grid[..., :1]).all() == (channels == 1)
    G = load_generator(out / "generator.safetensors", device="cpu")
    assert G.spec.channels == channels
    first = image_to_uint8(render(G, sample_w(G, [0])))[0].numpy().astype(int)
    assert np.abs(first - grid[:16, :16]).max() <= 1, "the grid shows what everything else does"


def test_generate(run: tuple[int, Path, Path], tmp_path: Path) -> None:
    channels, _, out = run
    assert make(out, "generate", "--out", tmp_path, "--seeds", "0-1", "--grid", "--quiet") == 0
    made, sheet = Image.open(tmp_path / "seed0000.png"), Image.open(tmp_path / "grid.png")
    assert made.mode == ("RGBA" if channels == 4 else "RGB") and sheet.mode == "RGB"
    G = load_generator(out / "generator.safetensors", device="cpu")
    own = G.synthesize_channels(sample_w(G, [0]))
    expected = image_to_uint8(own)[0].numpy().astype(int)
    found = np.asarray(made).astype(int)
    if channels == 1:
        assert np.abs(found - expected).max() <= 1
    else:
        assert np.abs(found[..., 3] - expected[..., 3]).max() <= 1
        seen = expected[..., 3] > 16  # below, the file rounds colours that hardly show
        assert seen.any() and np.abs(found - expected)[seen].max() <= 9
    assert render(G, sample_w(G, [0]), alpha=True).shape[1] == (4 if channels == 4 else 3)


def test_video_shows_rgb_on_white(run: tuple[int, Path, Path], tmp_path: Path) -> None:
    _, _, out = run
    assert make(out, "video", "--seeds", "0,1", "--frames", "4", "--out", tmp_path / "frames", "--quiet") == 0
    G = load_generator(out / "generator.safetensors", device="cpu")
    found = np.asarray(Image.open(tmp_path / "frames" / "frame_00000.png")).astype(int)
    expected = image_to_uint8(as_rgb(G.synthesize_channels(sample_w(G, [0]))))[0].numpy().astype(int)
    assert found.shape == (16, 16, 3) and np.abs(found - expected).max() <= 1
    assert make(out, "video", "--seeds", "0,1", "--frames", "4", "--out", tmp_path / "a.mp4", "--quiet") == 0


def test_every_metric(run: tuple[int, Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    _, data, out = run
    names = "fd_faces,kid_faces,pr_faces,spectra,ppl_faces,eqt,eqr"
    assert make(out, "metrics", "run", "--metrics", names, "--data", data, "--samples", "16", "--json") == 0
    figures = json.loads(capsys.readouterr().out)["metrics"]
    wanted = {"fd_faces", "kid_faces", "precision_faces", "spectra_gap_db", "ppl_faces", "eqt_integer_db", "eqr_db"}
    assert wanted <= set(figures) and all(np.isfinite(value) for value in figures.values())


def test_real_pictures_are_read_as_the_generator_makes_them(tmp_path: Path) -> None:
    clear, colour = cut_out(tmp_path / "clear", count=3), write_toys(tmp_path / "colour", count=3)
    (grey,) = Pictures(colour, resolution=16, channels=1).batches(8)
    raw = image_from_uint8(open_dataset(colour, channels=1).__getitems__(range(3)).images)
    assert torch.equal(grey, raw.expand(-1, 3, -1, -1))
    (shown,) = Pictures(clear, resolution=16, channels=4).batches(8)
    photos = torch.cat([read_photo(path).image for path in sorted(clear.glob("*.png"))])
    assert (shown - photos).abs().max() < 0.01 and float(shown[:, :, 0, 0].min()) == 1


def test_equivariance_is_of_the_networks_own_channels() -> None:
    """On white, what is clear would count as equivariant."""
    G = random_generator(resolution=32, img_channels=4)
    own = equivariance(G, samples=2, kinds=["eqt_fractional"])
    variances = G.synthesize_channels(G.map(torch.randn([2, 32], generator=torch.Generator().manual_seed(0))))
    assert own.deviation == pytest.approx(float(variances.double().var((2, 3)).mean().sqrt()), rel=1e-3)


def test_a_photo_is_projected_grey(
    run: tuple[int, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    channels, _, out = run
    photo = make_photo(tmp_path / "me.png")
    words = ("project", photo, "--out", tmp_path / "out", "--steps", "3", "--edit", "none", "--quiet")
    if channels == 4:
        assert make(out, *words) == 2 and "RGB or grey" in capsys.readouterr().err
        assert not (tmp_path / "out" / "me").exists()
        return
    assert make(out, *words) == 0
    inverted = np.asarray(Image.open(tmp_path / "out" / "me" / "inverted.png")).astype(int)
    assert (inverted == inverted[..., :1]).all()


def test_the_search_looks_at_the_grey_photo() -> None:
    G = random_generator(resolution=32, img_channels=1)
    image = torch.rand(1, 3, 32, 32) * 2 - 1
    seen = project(G, Photo(image=image), Optimise(steps=2))
    again = project(G, Photo(image=as_grey(image)), Optimise(steps=2))
    assert torch.allclose(seen.image, again.image, atol=1e-4)
    assert seen.metrics["psnr"] == pytest.approx(again.metrics["psnr"], abs=0.05), "measured against the grey photo"
    assert float(psnr(seen.image, image)[0]) < seen.metrics["psnr"] - 1


@pytest.mark.parametrize("channels", CHANNELS)
def test_the_page_takes_grey_and_refuses_alpha(channels: int) -> None:
    pytest.importorskip("gradio")
    from editkit.page.studio import _checked

    G = random_generator(resolution=32, img_channels=channels)
    if channels == 1:
        assert _checked(G) is G
        return
    with pytest.raises(UsageError, match="RGB or grey"):
        _checked(G)


def test_directions_are_found_of_them(run: tuple[int, Path, Path]) -> None:
    _, _, out = run
    assert make(out, "directions", "find", "--method", "sefa", "--count", "1", "--quiet") == 0

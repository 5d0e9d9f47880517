"""`editkit project` in S and with noise maps: found, written, edited again without another search."""

from __future__ import annotations

from pathlib import Path

import pytest
from project_fixtures import G, checkpoint, photo, pixels, project, warmth

from editkit import cli
from editkit.generator import random_generator, save_generator
from editkit.latent_file import read_latent
from editkit.photo import image_to_uint8
from editkit.rendering import render


def test_the_command_finds_edits_and_edits_again_in_s(project, warmth, checkpoint, photo: Path, tmp_path: Path) -> None:
    assert project(photo, "--method", "s", "--edit", "warmth=1", "--steps", "6") == 0
    folder = tmp_path / "out" / "me"
    latent = read_latent(folder / "latent.safetensors").latent
    assert latent.space == "s"
    again = tmp_path / "again.png"
    arguments = ["edit", folder, "--edit", "warmth=1", "--out", again, "--generator", checkpoint]
    assert cli.main([str(word) for word in arguments]) == 0
    assert (pixels(again) == pixels(folder / "edited.png")).all()
    assert (pixels(again) != pixels(folder / "inverted.png")).any()


def test_the_command_fits_noise_maps(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two = random_generator(kind="stylegan2", resolution=32)
    save_generator(two, tmp_path / "two.safetensors")
    common = ["project", photo, "--out", tmp_path / "two", "--device", "cpu", "--align", "centre", "--edit", "none"]
    options = ["--noise-maps", "--steps", "4", "--generator", tmp_path / "two.safetensors"]
    assert cli.main([str(word) for word in [*common, *options]]) == 0
    latent = read_latent(tmp_path / "two" / "me" / "latent.safetensors").latent
    assert latent.noise is not None and latent.space == "w+"
    shown = image_to_uint8(render(two, latent).clamp(-1, 1))[0]
    assert (pixels(tmp_path / "two" / "me" / "inverted.png") == shown.numpy()).all()
    for wrong in (["--noise-maps"], ["--mixed-precision"], ["--method", "encode", "--noise-maps"]):
        assert cli.main([str(word) for word in [*common, *wrong]]) == 2
    assert "NVIDIA GPUs" in capsys.readouterr().err

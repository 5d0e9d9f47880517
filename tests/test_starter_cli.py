"""``editkit train starter`` as it is typed: begin, go on, and what it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from face_set_fixtures import faces_zip

from editkit.cli import main
from editkit.generator import load_generator
from train.starter_config import medium_config
from train.state_file import load_state, save_state
from train.transfer import read_networks


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return faces_zip(tmp_path_factory.mktemp("data") / "faces.zip")


def _train(faces: Path, out: Path, *options: str) -> int:
    arguments = ["--data", str(faces), "--out", str(out), "--features", "bundled", "--measure-every", "0"]
    return main(["train", "starter", *arguments, "--threads", "1", *options])


def test_it_begins_goes_on_and_exports(faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, made, small = tmp_path / "run", tmp_path / "g.safetensors", tmp_path / "small.safetensors"
    assert _train(faces, out, "--set", "batch=4", "--set", "reconstruction_images=4", "--until-images", "8") == 0
    assert "8 images seen" in capsys.readouterr().out
    options = ["--until-images", "12", "--export", str(made), "--discriminator-images", "4", "--transport", str(small)]
    assert _train(faces, out, *options) == 0
    said = capsys.readouterr().out
    assert "going on from 8 images" in said and "12 images seen" in said
    state = load_state(out / "state.safetensors")
    assert state["seen"] == 12 and state["config"]["batch"] == 4  # settings are kept
    assert state["features"].startswith("bundled-")
    assert load_generator(made, device="cpu").spec.resolution == 64
    assert read_networks(made).discriminator is not None
    again = tmp_path / "again"
    assert _train(faces, again, "--from", str(small), "--until-images", "16") == 0
    assert "going on from 12 images" in capsys.readouterr().out


def test_a_generator_grows_once(faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    options = ("--set", "batch=4", "--set", "reconstruction_images=4")
    assert _train(faces, out, *options, "--until-images", "4") == 0
    before = load_state(out / "state.safetensors")
    assert _train(faces, out, "--size", "medium", "--until-images", "8") == 0
    after = load_state(out / "state.safetensors")
    assert after["seen"] == 8 and after["config"]["batch"] == 4
    assert after["config"]["generator"] == medium_config().generator
    assert set(after["optimizers"]) == set(before["optimizers"])
    assert _train(faces, out, "--size", "medium", "--minutes", "0") == 0  # it is medium
    assert _train(faces, out, "--size", "wide", "--minutes", "0") != 0
    assert "these differ too: magnitude_ema_beta, num_layers" in capsys.readouterr().err
    assert load_state(out / "state.safetensors")["seen"] == 8


def test_distances_of_another_network(faces: Path, tmp_path: Path, lite0: Path) -> None:
    measured = ("--measure-every", "60", "--measure-in", f"efficientnet-lite0={lite0}")
    assert _train(faces, tmp_path, "--until-images", "16", *measured) == 0
    journal = tmp_path / "fd_efficientnet-lite0.jsonl"
    assert json.loads(journal.read_text())["fd_efficientnet-lite0"] > 0
    assert load_state(tmp_path / "best_elsewhere.safetensors")["seen"] == 16


def test_weights_that_are_not_there_are_named(faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = ["--features", "efficientnet-lite1=" + str(tmp_path / "none.pth")]
    assert _train(faces, tmp_path, *missing) != 0
    assert "none.pth" in capsys.readouterr().err


def test_a_copy_of_the_earlier_recipe_is_refused(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_state(tmp_path / "old.safetensors", {"config": {}, "average": {}, "lossy": True})
    assert _train(faces, tmp_path / "run", "--from", str(tmp_path / "old.safetensors")) != 0
    assert "earlier recipe" in capsys.readouterr().err

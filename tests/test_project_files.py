"""`editkit project`: what it writes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from project_fixtures import ROOT, G, checkpoint, photo, pixels, project, rows, warmth

from editkit.direction import Direction
from editkit.edits import Recipe
from editkit.latent_file import read_latent
from editkit.option_types import seconds
from editkit.photo import image_to_uint8
from editkit.rendering import render
from projector import Stop
from projector.job import FILES


def test_one_photo_writes_the_layout(project, photo: Path, warmth: Direction, tmp_path: Path, capsys) -> None:
    assert project(photo, "--edit", "warmth=+1.5", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["manifest.sqlite", "me", "report.html"]
    assert sorted(path.name for path in (out / "me").iterdir()) == sorted(FILES)
    for name in ("aligned.png", "inverted.png", "edited.png"):
        assert pixels(out / "me" / name).shape == (32, 32, 3)
    assert pixels(out / "me" / "compare.png").shape == (256 + 16, 3 * 256 + 32, 3)
    assert pixels(out / "me" / "pasted.png").shape == (48, 48, 3)
    assert (pixels(out / "me" / "edited.png") != pixels(out / "me" / "inverted.png")).any()
    told = json.loads((out / "me" / "report.json").read_text(encoding="utf-8"))
    assert told["metrics"].keys() == {"psnr", "ssim", "mse", "perceptual"}
    assert all(isinstance(value, float) for value in told["metrics"].values())
    assert "data range 255" in told["metrics_are"]
    assert told["photo"] == {"name": "me.png", "size": [48, 48]}
    assert told["stop"] == "max-steps" and told["advice"] == Stop.MAX_STEPS.advice and told["steps"] == 3
    assert told["edits"] == [
        {"direction": "warmth", "strength": 1.5, "layers": None, "range": [-2.0, 3.0], "unit": "one of them"}
    ]
    assert told["zero_edit_is_identity"] is True and told["edit_change"]["mse"] > 0
    assert told["method"]["space"] == "w+" and told["method"]["seed"] == 0
    assert told["perceptual"]["name"] and told["perceptual"]["unit"] and told["versions"]["torch"] == torch.__version__
    assert told["seconds"]["total"] >= told["seconds"]["search"] > 0 and told["files"] == list(FILES)
    assert str(tmp_path) not in (out / "me" / "report.json").read_text(encoding="utf-8")  # no path of this machine
    (entry,) = said["photos"]
    assert entry["status"] == "done" and entry["metrics"] == told["metrics"] and entry["folder"] == str(out / "me")
    assert rows(out)["me.png"]["psnr"] == pytest.approx(told["metrics"]["psnr"])


def test_the_check_of_ci_accepts_it(project, photo: Path, warmth: Direction, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("check_main_job", ROOT / ".ci" / "check_main_job.py")
    check = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(check)
    assert project(photo) == 0
    check.main(tmp_path / "out")
    assert project(photo, "--edit", "none") == 0
    with pytest.raises(SystemExit, match="edit changed nothing"):
        check.main(tmp_path / "out")


def test_the_latent_renders_the_inverted_picture_again(project, photo: Path, G, tmp_path: Path) -> None:
    assert project(photo) == 0
    kept = read_latent(tmp_path / "out" / "me" / "latent.safetensors")
    kept.latent.check(G.spec)
    image = render(G, kept.latent, transform=kept.transform)
    assert (image_to_uint8(image)[0].numpy() == pixels(tmp_path / "out" / "me" / "inverted.png")).all()
    assert kept.alignment["photo_size"] == [48, 48] and kept.alignment["convention"] == "centre"


def test_an_edit_of_strength_zero_changes_nothing(project, photo: Path, warmth: Direction, tmp_path: Path) -> None:
    assert project(photo, "--edit", "warmth=0") == 0
    folder = tmp_path / "out" / "me"
    assert (pixels(folder / "edited.png") == pixels(folder / "inverted.png")).all()
    assert json.loads((folder / "report.json").read_text())["edit_change"] == {
        "psnr": None, "ssim": 1.0, "mse": 0.0, "perceptual": 0.0
    }  # fmt: skip


def test_the_same_seed_writes_the_same_pictures(project, photo: Path, tmp_path: Path) -> None:
    taken = []
    for seed in ("0", "0", "1"):
        assert project(photo, "--method", "w+", "--seed", seed, "--force") == 0
        taken.append((tmp_path / "out" / "me" / "inverted.png").read_bytes())
    assert taken[0] == taken[1] != taken[2]


def test_pictures_hold_the_recipe_unless_that_is_not_wanted(project, photo: Path, warmth, G, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "me"
    assert project(photo, "--edit", "warmth=2") == 0
    for name in ("edited.png", "compare.png", "pasted.png"):
        text = Image.open(folder / name).text
        assert "edited with editkit" in text["editkit"]
        assert Recipe.from_json(text["recipe"]).edits[0].strength == 2
        assert torch.equal(Recipe.from_json(text["recipe"]).edits[0].direction.vector, warmth.vector)
    assert Image.open(folder / "aligned.png").text == {}
    assert project(photo, "--edit", "warmth=2", "--no-metadata") == 0
    for name in FILES[:5]:
        assert Image.open(folder / name).text == {}


def test_transparency_is_put_back(project, tmp_path: Path) -> None:
    picture = np.full((48, 48, 4), 200, np.uint8)
    picture[:8, :, 3] = 0
    Image.fromarray(picture).save(tmp_path / "logo.png")
    assert project(tmp_path / "logo.png") == 0
    assert (pixels(tmp_path / "out" / "logo" / "pasted.png")[..., 3] == picture[..., 3]).all()


def test_the_sample_photo_is_used_where_none_is_given(project, tmp_path: Path, capsys) -> None:
    assert project("--steps", "2", quick=False) == 0
    told = json.loads((tmp_path / "out" / "astronaut" / "report.json").read_text())
    assert told["crop"] == {"convention": "faces128", "side": 32}
    assert "compare.png" in capsys.readouterr().out


@pytest.mark.parametrize(("method", "space"), [("auto", "w+"), ("w", "w"), ("w+", "w+")])
def test_the_method_chooses_the_space(project, photo: Path, tmp_path: Path, method: str, space: str) -> None:
    assert project(photo, "--method", method) == 0
    assert read_latent(tmp_path / "out" / "me" / "latent.safetensors").latent.space == space


def test_the_budget_governs(project, photo: Path, tmp_path: Path) -> None:
    assert project(photo, "--align", "centre", "--budget", "0.5s", quick=False) == 0
    told = json.loads((tmp_path / "out" / "me" / "report.json").read_text())
    assert told["stop"] == "budget" and told["method"]["steps"] > 10_000 and 0.5 <= told["seconds"]["search"] < 10


@pytest.mark.parametrize(("text", "wanted"), [("60s", 60), ("2m", 120), ("90", 90), ("1.5h", 5400), ("0.5 min", 30)])
def test_times(text: str, wanted: float) -> None:
    assert seconds(text) == wanted


def test_quiet_prints_nothing(project, photo: Path, capsys) -> None:
    assert project(photo, "--quiet") == 0
    assert capsys.readouterr() == ("", "")

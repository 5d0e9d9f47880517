"""`editkit edit`: a latent that is kept, edited again."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from project_fixtures import (
    G,
    checkpoint,
    close,
    make_photo,
    one_line,
    photo,
    pixels,
    project,
    warmth,
)

from directions import catalog
from editkit import cli
from editkit.direction import Direction
from editkit.edits import Edit, Recipe
from editkit.generator import NetworkGenerator, load_generator, random_generator, save_generator
from editkit.latent import Latent, concatenate
from editkit.latent_file import read_latent
from editkit.photo import image_to_uint8
from editkit.rendering import render
from editkit.transform import Transform


@pytest.fixture
def me(project, photo: Path, warmth: Direction, tmp_path: Path) -> Path:
    """The folder that `editkit project` wrote of a photo, with an edit."""
    assert project(photo, "--edit", "warmth=1.5") == 0
    return tmp_path / "out" / "me"


@pytest.fixture
def edit(checkpoint: Path) -> Callable[..., int]:
    """``edit(latent, *options)`` with the small generator."""

    def run(*arguments: str | Path) -> int:
        return cli.main([str(word) for word in ["edit", *arguments, "--generator", checkpoint, "--device", "cpu"]])

    return run


def test_the_same_edit_gives_the_pictures_of_project(edit, me: Path, photo: Path, tmp_path: Path, capsys) -> None:
    capsys.readouterr()
    before = {path: path.read_bytes() for path in me.iterdir()}
    assert edit(me, "--edit", "warmth=1.5", "--photo", photo, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    for name in ("edited.png", "pasted.png"):
        assert (pixels(me / "edit" / name) == pixels(me / name)).all()
        assert Image.open(me / "edit" / name).text == Image.open(me / name).text
    assert said["edited"] == str(me / "edit" / "edited.png") and said["pasted"] == str(me / "edit" / "pasted.png")
    assert said["edits"] == "warmth +1.5" and said["latent"] == str(me / "latent.safetensors")
    assert {path: path.read_bytes() for path in before} == before


def test_another_edit_gives_another_picture_that_python_gives_too(edit, me: Path, G, warmth, tmp_path: Path) -> None:
    assert edit(me / "latent.safetensors", "--edit", "warmth=-2", "--out", tmp_path / "cold.png") == 0
    held = read_latent(me / "latent.safetensors")
    codes = held.latent.tensor - 2 * warmth.vector
    image = render(G, Latent(space="w+", codes=codes, generator=G.spec.id), transform=held.transform)
    assert (pixels(tmp_path / "cold.png") == image_to_uint8(image)[0].numpy()).all()
    assert (pixels(tmp_path / "cold.png") != pixels(me / "edited.png")).any()


def test_with_a_photo_a_file_is_the_whole_photo(edit, me: Path, photo: Path, tmp_path: Path) -> None:
    assert edit(me, "--edit", "warmth=1.5", "--photo", photo, "--out", tmp_path / "whole.png") == 0
    assert (pixels(tmp_path / "whole.png") == pixels(me / "pasted.png")).all()
    assert edit(me, "--edit", "none", "--out", tmp_path / "new" / "folder") == 0
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["edited.png"]
    assert (pixels(tmp_path / "new" / "folder" / "edited.png") == pixels(me / "inverted.png")).all()


def test_transparency_is_put_back(edit, project, tmp_path: Path) -> None:
    image = Image.open(make_photo(tmp_path / "a.png")).convert("RGBA")
    image.putpixel((3, 3), (10, 20, 30, 0))
    image.save(tmp_path / "logo.png")
    assert project(tmp_path / "logo.png") == 0
    latent = tmp_path / "out" / "logo"
    assert edit(latent, "--edit", "none", "--photo", tmp_path / "logo.png", "--out", tmp_path / "b.png") == 0
    assert pixels(tmp_path / "b.png")[3, 3, 3] == 0


def test_a_recipe_and_a_placement_are_kept_in_the_picture(edit, me: Path, G, warmth, tmp_path: Path) -> None:
    moved = Transform.translate(0.25, 0.0)
    Recipe(name="mine", edits=(Edit("warmth", 1.0),), transform=moved).save(tmp_path / "mine.json")
    out = tmp_path / "placed.png"
    assert edit(me, "--recipe", tmp_path / "mine.json", "--rotate", "90", "--translate", "-0.1,0", "--out", out) == 0
    recipe = Recipe.from_json(Image.open(out).text["recipe"])
    wanted = Transform.translate(-0.1, 0.0) @ Transform.rotate(90) @ moved
    assert torch.allclose(recipe.transform.matrix, wanted.matrix) and recipe.edits[0].strength == 1
    again = tmp_path / "again.png"
    recipe.save(tmp_path / "again.json")
    assert edit(me, "--recipe", tmp_path / "again.json", "--out", again) == 0
    assert (pixels(again) == pixels(out)).all()
    assert edit(me, "--recipe", tmp_path / "again.json", "--out", out, "--no-metadata") == 0
    assert Image.open(out).text == {}


def test_the_placement_moves_the_picture(edit, me: Path, tmp_path: Path) -> None:
    assert edit(me, "--scale", "1.5", "--out", tmp_path / "large.png") == 0
    assert (pixels(tmp_path / "large.png") != pixels(me / "inverted.png")).any()


def test_one_of_several_codes(edit, G: NetworkGenerator, tmp_path: Path, capsys) -> None:
    codes = [G.map(torch.full((1, G.spec.z_dim), value)) for value in (0.5, -1.0)]
    concatenate(codes).save(tmp_path / "two.safetensors")
    assert edit(tmp_path / "two.safetensors", "--edit", "none") == 2
    assert "--sample 0 to --sample 1" in one_line(capsys)
    assert edit(tmp_path / "two.safetensors", "--edit", "none", "--sample", "2") == 2
    assert "--sample 2 is not there" in one_line(capsys)
    assert edit(tmp_path / "two.safetensors", "--edit", "none", "--sample", "1") == 0
    shown = pixels(tmp_path / "edit" / "edited.png")
    assert (shown == image_to_uint8(render(G, codes[1]))[0].numpy()).all()
    capsys.readouterr()
    photo = make_photo(tmp_path / "me.png")
    assert edit(tmp_path / "two.safetensors", "--edit", "none", "--sample", "1", "--photo", photo) == 2
    assert "leave --photo out" in one_line(capsys)


def test_quiet_prints_nothing(edit, me: Path, capsys) -> None:
    capsys.readouterr()
    assert edit(me, "--edit", "warmth=1", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_beyond_the_range_is_warned_of(edit, me: Path, capsys) -> None:
    assert edit(me, "--edit", "warmth=9") == 0
    assert "warmth +9 is outside -2 to +3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ([], "say what to change"),
        (["--edit", "warmht=1"], "warmth"),
        (["--edit", "warmth"], "NAME=STRENGTH"),
        (["--edit", "warmth=1", "--recipe", "r.json"], "not allowed with"),
        (["--edit", "none", "--scale", "0"], "above 0"),
    ],
)
def test_wrong_use_exits_2(edit, me: Path, options: list[str], hint: str, capsys) -> None:
    capsys.readouterr()
    assert edit(me, *options) == 2
    err = capsys.readouterr().err
    assert hint in err and "Traceback" not in err
    assert not (me / "edit").exists()


def test_another_photo_is_refused(edit, me: Path, tmp_path: Path, capsys) -> None:
    capsys.readouterr()
    other = make_photo(tmp_path / "other.png", side=60)
    assert edit(me, "--edit", "none", "--photo", other) == 2
    assert "48 x 48" in (message := one_line(capsys)) and "60 x 60" in message and "give the original" in message


def test_a_latent_of_another_generator_is_refused(edit, me: Path, tmp_path: Path, capsys) -> None:
    capsys.readouterr()
    other = random_generator(seed=1, resolution=32)
    save_generator(other, tmp_path / "other.safetensors")
    command = ["edit", str(me), "--edit", "none", "--generator", str(tmp_path / "other.safetensors"), "--device", "cpu"]
    assert cli.main(command) == 1
    assert other.spec.id[:12] in one_line(capsys)


def test_folders_without_a_latent(edit, me: Path, tmp_path: Path, capsys) -> None:
    capsys.readouterr()
    assert edit(me.parent, "--edit", "none") == 1
    assert str(me) in one_line(capsys)
    (tmp_path / "empty").mkdir()
    assert edit(tmp_path / "empty", "--edit", "none") == 1
    assert "holds no latent.safetensors" in one_line(capsys)
    assert edit(tmp_path / "nobody", "--edit", "none") == 1
    assert "no such file" in one_line(capsys)


def test_a_closed_folder_is_one_line(edit, tmp_path: Path, monkeypatch, capsys) -> None:
    close(monkeypatch, tmp_path / "private")
    assert edit(tmp_path / "private" / "me", "--edit", "none") == 1
    assert "check its permissions" in one_line(capsys)


def test_the_pictures_of_a_report_are_not_replaced(edit, me: Path, capsys) -> None:
    capsys.readouterr()
    before = (me / "edited.png").read_bytes()
    for out in (me, me / "edited.png"):
        assert edit(me, "--edit", "none", "--out", out) == 1
        assert "choose another --out" in one_line(capsys)
    assert (me / "edited.png").read_bytes() == before


def test_an_unknown_kind_of_picture_is_refused(edit, me: Path, tmp_path: Path, capsys) -> None:
    capsys.readouterr()
    assert edit(me, "--edit", "none", "--out", tmp_path / "me.tga") == 1
    assert ".tga" in one_line(capsys)


def test_the_edits_in_the_help_are_at_hand_for_the_bundled_generator(capsys) -> None:
    bundled = load_generator(device="cpu")
    assert cli.main(["edit", "--help"]) == 0
    named = re.findall(r"--edit ([a-z_]+)=([-+0-9.]+)", capsys.readouterr().out)
    assert len(named) > 1
    for name, strength in named:
        low, high = catalog.load(bundled, name).strength
        assert low <= float(strength) <= high, f"{name}={strength} is outside {low} to {high}"


def test_the_example_of_the_help_works_on_the_bundled_generator(project, tmp_path: Path, monkeypatch) -> None:
    """As the README says: the sample photo, and its latent edited again."""
    monkeypatch.chdir(tmp_path)
    assert cli.main(["project", "--out", "out", "--steps", "2", "--quiet"]) == 0
    assert cli.main(["edit", "out/astronaut", "--edit", "yaw=+2", "--quiet"]) == 0
    assert os.listdir("out/astronaut/edit") == ["edited.png"]
    shutil.rmtree("out")

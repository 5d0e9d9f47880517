"""`editkit project`: which edits it makes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from project_fixtures import G, checkpoint, one_line, photo, pixels, project, warmth

from directions import catalog
from editkit import cli
from editkit.direction import Direction
from editkit.edits import Edit, Recipe
from editkit.generator import load_generator, random_generator


def test_the_default_edit_is_the_first_at_hand(project, photo: Path, warmth: Direction, tmp_path: Path) -> None:
    assert project(photo) == 0
    told = json.loads((tmp_path / "out" / "me" / "report.json").read_text())
    assert [(edit["direction"], edit["strength"]) for edit in told["edits"]] == [("warmth", pytest.approx(0.35 * 3))]
    assert "no --edit was given" in told["edit_note"]


def test_the_default_edit_is_one_that_is_offered_where_any_is(project, photo, warmth, G, tmp_path: Path) -> None:
    judged = {f"{half}:tint": 1.0 for half in ("low", "high", "effect")} | {"leakage": 0.1, "monotonicity": 1.0}
    catalog.save(G, replace(warmth, name="tint", target="tint", scores=judged))
    catalog.save(G, replace(warmth, name="smile_width"))  # first among the names, and never judged
    assert catalog.offered(G) == ("tint",) and project(photo) == 0
    told = json.loads((tmp_path / "out" / "me" / "report.json").read_text())
    assert [edit["direction"] for edit in told["edits"]] == ["tint"]


def test_no_direction_at_hand_is_said_and_nothing_is_edited(project, photo: Path, tmp_path: Path, capsys) -> None:
    assert project(photo) == 0
    folder = tmp_path / "out" / "me"
    assert "no directions are at hand" in capsys.readouterr().out
    assert "no directions are at hand" in json.loads((folder / "report.json").read_text())["edit_note"]
    assert (pixels(folder / "edited.png") == pixels(folder / "inverted.png")).all()


def test_edit_none_edits_nothing(project, photo: Path, warmth: Direction, tmp_path: Path) -> None:
    assert project(photo, "--edit", "none") == 0
    told = json.loads((tmp_path / "out" / "me" / "report.json").read_text())
    assert told["edits"] == [] and told["edit_note"] is None


def test_beyond_the_range_is_warned_of(project, photo: Path, warmth: Direction, capsys) -> None:
    assert project(photo, "--edit", "warmth=9") == 0
    assert "warmth +9 is outside -2 to +3" in capsys.readouterr().err


def test_a_recipe_is_used_and_named_directions_are_looked_up(project, photo, warmth, tmp_path: Path) -> None:
    Recipe(name="mine", edits=(Edit("warmth", 1.0),)).save(tmp_path / "mine.json")
    assert project(photo, "--recipe", tmp_path / "mine.json") == 0
    named = (tmp_path / "out" / "me" / "edited.png").read_bytes()
    Recipe(name="mine", edits=(Edit(warmth, 1.0),)).save(tmp_path / "mine.json")
    assert project(photo, "--recipe", tmp_path / "mine.json", "--force") == 0
    assert (tmp_path / "out" / "me" / "edited.png").read_bytes() == named


def test_a_recipe_of_another_generator_is_refused(project, photo: Path, tmp_path: Path, capsys) -> None:
    other = random_generator(seed=1, resolution=32)
    foreign = Direction(name="warmth", vector=torch.ones(32), space="w", generator=other.spec.id)
    Recipe(name="theirs", edits=(Edit(foreign, 1.0),)).save(tmp_path / "theirs.json")
    assert project(photo, "--recipe", tmp_path / "theirs.json") == 1
    assert other.spec.id[:12] in one_line(capsys)
    assert not (tmp_path / "out").exists()


def test_the_edits_in_the_help_are_at_hand_for_the_bundled_generator(capsys) -> None:
    bundled = load_generator(device="cpu")
    assert cli.main(["project", "--help"]) == 0
    named = re.findall(r"--edit ([a-z_]+)=([-+0-9.]+)", capsys.readouterr().out)
    assert len(named) > 1
    for name, strength in named:
        low, high = catalog.load(bundled, name).strength
        assert low <= float(strength) <= high, f"{name}={strength} is outside {low} to {high}"

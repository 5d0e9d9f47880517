"""`editkit directions`: list, show, find and build on a generator of two matrices."""

from __future__ import annotations

import json

import pytest
import torch
from linear_generator import LinearGenerator

from directions import catalog, score
from editkit import cli
from editkit.direction import Direction
from editkit.option_types import number_list


@pytest.fixture
def G(tmp_path, monkeypatch):
    generator = LinearGenerator(resolution=16, scales=[2.0, 1.0, 0.5, 0.1])
    monkeypatch.setenv("EDITKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(catalog, "bundled_directions", lambda: tmp_path / "bundled")
    monkeypatch.setattr("editkit.generator.load_generator", lambda source, *, device="auto": generator)
    return generator


def run(capsys, *arguments):
    code = cli.main(["directions", *map(str, arguments)])
    return code, capsys.readouterr()


def test_nothing_at_hand(G, capsys):
    code, printed = run(capsys, "list")
    assert code == 0 and "none for linear; make some with `editkit directions find`" in printed.out
    code, printed = run(capsys, "show", "warmth")
    assert code == 1 and printed.err.startswith("editkit: error: no directions are at hand")


def test_list_and_show(G, capsys, tmp_path):
    warmth = Direction(
        name="warmth", vector=torch.ones(4), space="w", generator=G.spec.id, unit="one sd", scores={"leakage": 0.25}
    )
    catalog.save(G, warmth)
    for action in (["list"], []):
        code, printed = run(capsys, *action)
        assert code == 0 and printed.out.split() == ["warmth", "-3.0", "to", "+3.0", "w", "one", "sd"]
    code, printed = run(capsys, "show", "warmth", "--image", tmp_path / "w.png", "--samples", 2)
    assert code == 0 and "touches_placement  True" in printed.out and "+0.250" in printed.out
    from PIL import Image

    with Image.open(tmp_path / "w.png") as picture:
        assert picture.size == (5 * 18 + 2, 2 * 18 + 2)
    code, printed = run(capsys, "show", "warmht")
    assert code == 1 and "there are: warmth" in printed.err
    code, printed = run(capsys, "list", "--json")
    assert json.loads(printed.out)["directions"][0]["name"] == "warmth"


def test_find(G, capsys, tmp_path):
    code, printed = run(
        capsys, "find", "--count", 2, "--samples", 300, "--layers", "1-2", "--out", tmp_path / "mine", "--json"
    )
    assert code == 0, printed.err
    found = json.loads(printed.out)["directions"]
    assert [one["name"] for one in found] == ["pca-0", "pca-1"]
    assert found[0]["does"] in {one.name for one in score.default_scorers(faces=False)}
    kept = Direction.load(tmp_path / "mine" / G.spec.id[:12] / "pca-0.safetensors")
    assert not kept.touches_placement and f"effect:{found[0]['does']}" in kept.scores


def test_build(G, capsys, tmp_path):
    code, printed = run(
        capsys, "build", "--leakage", 0.9, "--out", tmp_path / "made", "--sheet", tmp_path / "sheets", "--json"
    )
    assert code == 0, printed.err
    made = json.loads(printed.out)
    names = [one["name"] for one in made["directions"]]
    assert names and set(names) <= {"brightness", "contrast", "warmth", "saturation"}
    assert sorted(p.stem for p in (tmp_path / "sheets").iterdir()) == sorted(names)
    assert sorted(p.stem for p in (tmp_path / "made" / G.spec.id[:12]).iterdir()) == sorted(names)


@pytest.mark.parametrize("arguments", [["dance"], ["find", "--method", "magic"], ["find", "--layers", "a"], ["show"]])
def test_wrong_use(G, capsys, arguments):
    assert run(capsys, *arguments)[0] == 2


def test_layer_ranges():
    assert number_list("1-3,7") == (1, 2, 3, 7) and number_list("0") == (0,)

"""`editkit directions find` by every method here, and `import`, `name` and `disentangle`, on a styled generator."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from painter import pixel
from styled_generator import StyledGenerator

from directions import catalog, score, unsupervised_cli
from directions.activations import LayerGanSpace
from directions.sefa import SeFa
from directions.style_gradient import StyleGradient
from directions.stylespace import StyleCorrelation
from editkit import cli
from editkit.direction import Direction
from editkit.errors import UsageError

SCORERS = (pixel("first", 0), pixel("third", 2))


@pytest.fixture
def G(tmp_path, monkeypatch):
    generator = StyledGenerator(resolution=8, scales=[2.0, 1.0, 0.5, 1.0])
    monkeypatch.setattr(catalog, "bundled_directions", lambda: tmp_path / "bundled")
    monkeypatch.setattr("editkit.generator.load_generator", lambda source, *, device="auto": generator)
    monkeypatch.setattr(score, "default_scorers", lambda *, faces=True: SCORERS)
    return generator


def run(capsys, *arguments):
    code = cli.main(["directions", *map(str, arguments)])
    return code, capsys.readouterr()


def asked(**changes):
    options = {
        "method": "x", "count": 3, "samples": None, "seed": 5, "layers": None, "label": None, "layer": 1,
        "channels": None, "keep": None, "attribute": ["warmth"], "name": None, "neutral": None, "target": None,
        "clip": None, "clip_model": "ViT-B-32",
    }  # fmt: skip
    return argparse.Namespace(**{**options, **changes})


def test_options_become_methods(G):
    def method(name, **changes):
        (found,) = unsupervised_cli.METHODS[name](asked(method=name, **changes), G)
        return found[0]

    assert method("sefa", layers=(1, 2)) == SeFa(count=3, layers=(1, 2), seed=5)
    assert method("ganspace-layer", samples=99) == LayerGanSpace(layer=1, count=3, samples=99, seed=5)
    one = method("style-correlation", layers=(2,), samples=70)
    assert isinstance(one, StyleCorrelation) and (one.channels, one.count, one.samples, one.layers) == (
        1,
        3,
        70,
        ("L2",),
    )
    one = method("style-gradient", channels=9, keep=["age"], layers=("L1",))
    assert isinstance(one, StyleGradient) and (one.channels, one.count, one.layers) == (9, 1, ("L1",))
    assert one.scorer.name == "warmth" and [kept.name for kept in one.keep] == ["age"]
    assert len(unsupervised_cli.METHODS["style-gradient"](asked(attribute=["age", "yaw"]), G)) == 2
    for name, changes, message in (
        ("sefa", {"layers": ("L1",)}, "rows of W"),
        ("style-gradient", {"attribute": None}, "needs --attribute"),
        ("style-gradient", {"keep": ["beard"]}, "No scorer is called 'beard'; there are brightness"),
        ("text", {}, "needs --from"),
    ):
        with pytest.raises(UsageError, match=message):
            method(name, **changes)


def test_find_by_sefa(G, capsys):
    code, printed = run(capsys, "find", "--method", "sefa", "--count", 2, "--samples", 300, "--json")
    assert code == 0, printed.err
    found = json.loads(printed.out)["directions"]
    assert [one["name"] for one in found] == ["sefa-0", "sefa-1"] and found[0]["does"] == "third"
    assert Direction.load(catalog.find_files(G.spec)["sefa-0"]).method == "sefa"


def test_find_by_gradient(G, capsys):
    code, printed = run(
        capsys,
        "find",
        "--method",
        "style-gradient",
        "--attribute",
        "brightness",
        "--channels",
        2,
        "--samples",
        8,
        "--json",
    )
    assert code == 0, printed.err
    (found,) = json.loads(printed.out)["directions"]
    assert found["name"] == "brightness" and found["space"] == "s" and found["scores"]["channels"] == 2


def test_text_without_weights(G, capsys, tmp_path):
    code, printed = run(
        capsys, "find", "--method", "text", "--from", "a", "--to", "b", "--name", "x", "--clip", tmp_path / "none.pt"
    )
    assert code == 1 and "nothing is downloaded" in printed.err


def test_import(G, capsys, tmp_path):
    np.save(tmp_path / "b.npy", np.eye(4, dtype=np.float32)[:2])
    code, printed = run(capsys, "import", tmp_path / "b.npy", "--name", "b")
    assert code == 2 and "--generator SOURCE" in printed.err
    code, printed = run(
        capsys,
        "import",
        tmp_path / "b.npy",
        "--name",
        "b",
        "--generator",
        "g",
        "--index",
        "0-1",
        "--layers",
        "1",
        "--json",
    )
    assert code == 0, printed.err
    assert [one["name"] for one in json.loads(printed.out)["directions"]] == ["b-0", "b-1"]
    assert catalog.load(G, "b-0").vector[1, 0] == pytest.approx(2, rel=0.05)
    code, printed = run(capsys, "import", tmp_path / "b.npy", "--name", "b", "--generator", "g", "--made-for", "other")
    assert code == 1 and "--refit ATTRIBUTE" in printed.err


def test_name(G, capsys):
    for name, vector in (("pca-0", [-2.0, 0, 0, 0]), ("pca-1", [0, 1.0, 0, 0])):
        catalog.save(G, Direction(name=name, vector=torch.tensor(vector), space="w", generator=G.spec.id))
    code, printed = run(capsys, "name", "--samples", 200)
    assert code == 0, printed.err
    assert "pca-0: first (-1.00)" in printed.out and "pca-1: no name" in printed.out
    assert catalog.names(G) == ("pca-0", "pca-1")
    code, printed = run(capsys, "name", "pca-0", "--samples", 200, "--apply", "--json")
    assert json.loads(printed.out)["proposals"][0]["name"] == "first" and len(json.loads(printed.out)["kept"]) == 1
    assert float(catalog.load(G, "first").vector[0]) == 2.0


def test_what_is_called_for_what_it_is_for_keeps_its_name(G, capsys):
    one = Direction(name="third", vector=torch.tensor([-2.0, 0, 0, 0]), space="w", generator=G.spec.id, target="third")
    catalog.save(G, one)
    code, printed = run(capsys, "name", "third", "--samples", 200, "--apply", "--json")
    told = json.loads(printed.out)
    assert code == 0 and told["proposals"][0]["name"] == "first" and told["kept"] == []
    catalog.save(G, replace(one, name="first", target="first"))
    catalog.save(G, replace(one, name="pca-0", target=""))
    code, printed = run(capsys, "name", "--samples", 200, "--apply", "--json")
    assert [path.endswith("first-2.safetensors") for path in json.loads(printed.out)["kept"]] == [True]
    assert catalog.load(G, "first").target == "first", "what keeps its name is not written over"


def test_disentangling_judges_by_a_score_that_does_not_count_as_a_rule(G, capsys, monkeypatch):
    monkeypatch.setattr(score, "all_scorers", lambda *, faces=True: (*SCORERS, pixel("second", 1)))
    for name, vector in (("first", [2.0, 0, 0.2, 0]), ("second", [0.8, 0.5, 0, 0])):
        catalog.save(G, Direction(name=name, vector=torch.tensor(vector), space="w", generator=G.spec.id))
    code, printed = run(capsys, "disentangle", "first", "second", "--json")
    assert code == 0 and json.loads(printed.out)["before"]["scores"] == ["first", "third", "second"]
    alone = catalog.load(G, "second-alone")
    assert alone.target == "second" and alone.unit.startswith("one standard deviation of second")


def test_disentangle(G, capsys):
    for name, vector in (("first", [2.0, 0, 0.2, 0]), ("third", [0.8, 0, 0.5, 0])):
        catalog.save(G, Direction(name=name, vector=torch.tensor(vector), space="w", generator=G.spec.id))
    code, printed = run(capsys, "disentangle", "first", "third", "--json")
    assert code == 0, printed.err
    told = json.loads(printed.out)
    assert told["before"]["worst"] > 0.35
    alone = catalog.load(G, "third-alone")  # at right angles to what "first" was
    assert float(alone.vector @ torch.tensor([2.0, 0, 0.2, 0])) == pytest.approx(0, abs=1e-5)
    first, high = catalog.load(G, "first-alone"), 3.0 * 2.01  # as far as it went: three units of a vector of 2.01
    assert first.strength[1] * float(first.vector.norm()) <= high * 1.001
    assert {"monotonicity", "leakage"} <= set(alone.scores)  # judged, so that it can be offered
    assert alone.scores["effect:third"] == pytest.approx(1, rel=0.1) and "one standard deviation of third" in alone.unit
    code, printed = run(capsys, "disentangle", "third", "--search")
    assert code == 0, printed.err
    assert "third: layers 2" in printed.out and "leakage after: 0.00 at most" in printed.out
    code, printed = run(capsys, "disentangle", "third")
    assert code == 1 and "at least two directions" in printed.err

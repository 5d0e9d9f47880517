"""``projector.Auto``: which method it takes, for which generator, steps and time, and that it says so."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from project_fixtures import G, checkpoint, photo, project

import projector
from editkit.errors import UsageError
from editkit.generator import Generator, load_generator
from editkit.perceptual import Bundled
from projector import Auto, Encode, EncodeThenOptimise, Optimise, Pivotal, Placement, Refine, auto
from projector.losses import EDITABLE
from projector.methods import method_named


@pytest.fixture(scope="module")
def bundled() -> Generator:
    return load_generator(device="cpu")


def chosen(made: Auto, G: Generator, **options):
    return made.chosen(G, perceptual=Bundled(), **options)


def test_from_the_encoder_where_one_fits(bundled: Generator) -> None:
    method, why = chosen(Auto(), bundled)
    assert method == EncodeThenOptimise(steps=Optimise().steps, weights=EDITABLE)
    assert why.startswith("encode+optimise for 200 steps: loss 0.103, refine 0.11, w+ 0.128")
    assert chosen(Auto(steps=7), bundled)[0] == EncodeThenOptimise(steps=7, weights=EDITABLE)


@pytest.mark.parametrize(("a_step", "wanted"), [(0.05, EncodeThenOptimise), (10.0, Encode)])
def test_a_budget_is_counted_in_steps_of_this_machine(
    bundled: Generator, monkeypatch: pytest.MonkeyPatch, a_step: float, wanted: type
) -> None:
    """Where not one step fits, a look is all there is."""
    monkeypatch.setattr(auto, "seconds_a_step", lambda G, perceptual: a_step)
    method, why = chosen(Auto(budget=5), bundled)
    assert type(method) is wanted and "5 s at" in why
    if isinstance(method, EncodeThenOptimise):
        assert method.budget == 5 and method.steps > 10_000 and "for 100 steps" in why


def test_without_an_encoder_what_was_nearer_after_so_many_steps(G: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    for steps in (10, 100_000):
        assert chosen(Auto(steps=steps), G)[0] == Refine(steps=steps, weights=EDITABLE)
    assert chosen(Auto(), G)[0] == Refine(steps=200, weights=EDITABLE)
    monkeypatch.setitem(auto.MEASURED, "w+", ((1, 2.0), (30, 0.4), (200, 0.01)))
    assert chosen(Auto(), G)[0] == Optimise(steps=200, weights=EDITABLE)
    assert isinstance(chosen(Auto(steps=30), G)[0], Refine)


def test_what_only_one_method_finds(bundled: Generator) -> None:
    method, why = chosen(Auto(placement=Placement()), bundled)
    assert isinstance(method, Optimise) and method.placement == Placement() and "nothing else" in why


def test_the_table_falls_and_ends_are_held() -> None:
    for points in auto.MEASURED.values():
        assert all(a[0] < b[0] and a[1] >= b[1] for a, b in pairwise(points))
    name = "encode+optimise"
    (few, high), *_, (many, low) = auto.MEASURED[name]
    assert auto.expected(name, 0.1) == high and auto.expected(name, 1e6) == low
    assert low < auto.expected(name, (few + many) / 2) < high


def test_a_step_is_timed_once(G: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "_TIMES", {})
    first = auto.seconds_a_step(G, Bundled())
    assert 0 < first < 60 and auto.seconds_a_step(G, Bundled()) == first


def test_settings_that_make_no_sense(G: Generator) -> None:
    for options in ({"steps": 0}, {"budget": -1.0}, {"encoder": "e.safetensors", "placement": Placement()}):
        with pytest.raises(UsageError):
            Auto(**options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="takes no encoder"):
        method_named("auto", G, encoder="e.safetensors", classes=0)
    with pytest.raises(UsageError, match="takes no encoder"):
        chosen(Auto(encoder="e.safetensors"), G, classes=0)


def test_the_result_says_what_was_chosen_and_why(
    project, G: Generator, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from editkit import align, read_photo

    face = align(read_photo(photo), G.spec, convention="centre")
    found = projector.project(G, face, Auto(steps=3))
    assert found.method["name"] == "refine" and "for 3 steps" in found.method["chosen"]
    tuned = projector.project(G, face, Pivotal(inner=Auto(steps=2), steps=2))
    assert tuned.method["inner"]["name"] == "refine" and "for 2 steps" in tuned.method["chosen"]
    assert "chosen" not in projector.project(G, face, Refine(steps=2)).method
    ((_, one),) = projector.project_many(G, [face], Auto(steps=3), batch=1)
    assert one.method == found.method

    capsys.readouterr()
    options = ("--align", "centre", "--method", "auto", "--budget", "0.2", "--edit", "none")
    assert project(photo, *options, quick=False) == 0
    report = json.loads((tmp_path / "out" / photo.stem / "report.json").read_text())
    assert "0.2 s at" in report["method"]["chosen"] and report["method"]["budget"] == 0.2
    assert project(photo, *options, quick=False) == 0  # the time a step took is no setting
    assert "done before" in capsys.readouterr().out

"""Ranges of found directions end where pictures leave what samples look like; where that cannot be said, it is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from linear_generator import LinearGenerator

from directions import cutting
from directions.attributes import Scorer
from directions.likeness import Likeness
from directions.score import measure
from editkit.direction import Direction
from editkit.errors import DirectionError

TONE = Scorer(name="tone", unit="", measure=lambda images: -images[:, 0].mean((1, 2)))


@pytest.fixture(scope="module")
def G() -> LinearGenerator:
    made = LinearGenerator(resolution=16)
    made.spec = replace(made.spec, domain="faces")
    return made


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EDITKIT_HOME", str(tmp_path))
    made = Likeness.of
    monkeypatch.setattr(Likeness, "of", classmethod(lambda cls, G: made(G, samples=200)))


def push(G: LinearGenerator, low: float, high: float) -> Direction:
    vector = torch.tensor([1.0, 0, 0, 0])
    return Direction(name="push", vector=vector, space="w", generator=G.spec.id, strength=(low, high))


def test_a_range_is_cut_and_its_unit_measured_again(G: LinearGenerator, monkeypatch) -> None:
    whole = push(G, -20.0, 10.0)
    ends = cutting.cut(G, whole).strength
    assert -20 < ends[0] < -0.1 and 0.1 < ends[1] < 10
    assert torch.equal(cutting.cut(G, whole).vector, whole.vector), "without a score a unit stays"
    one = cutting.cut(G, whole, TONE)
    assert one.strength[0] / ends[0] == pytest.approx(one.strength[1] / ends[1], rel=1e-3)
    against = cutting.known_baseline(G, [TONE])
    seen = measure(G, one, [TONE], against=against, samples=64, seed=5)
    assert 0.98 < seen.effects["tone"] < 1.3, "a standard deviation at least, within what is left"
    short = push(G, ends[0] / 4, ends[1] / 4)
    assert cutting.cut(G, short, TONE) is short, "a short range stays as it is"


def test_what_samples_look_like_is_kept_and_read_again(G: LinearGenerator, monkeypatch) -> None:
    assert cutting.why_not(G, asked=True) == ""
    first = cutting.cut(G, push(G, -20.0, 10.0))
    monkeypatch.setattr(Likeness, "of", classmethod(lambda cls, G: pytest.fail("it was drawn again")))
    monkeypatch.setattr(cutting, "PATIENCE", 0.0)
    assert cutting.why_not(G) == "", "what is kept takes no time"
    assert cutting.cut(G, push(G, -20.0, 10.0)).strength == pytest.approx(first.strength, rel=1e-3)


@pytest.mark.parametrize("change", ["damaged", "other samples"])
def test_a_file_that_does_not_fit_is_made_again(G: LinearGenerator, monkeypatch, change: str) -> None:
    cutting.cut(G, push(G, -20.0, 10.0))
    if change == "damaged":
        cutting._path(G).write_bytes(b"no tensors")
    else:
        monkeypatch.setattr(cutting, "SAMPLES", 7)
    assert cutting._kept(G) is None
    cutting.cut(G, push(G, -20.0, 10.0))
    assert cutting._kept(G) is not None


def test_why_a_range_is_not_cut(G: LinearGenerator, monkeypatch, tmp_path) -> None:
    assert "only known of faces" in cutting.why_not(LinearGenerator(), asked=True)
    monkeypatch.setattr(cutting, "PATIENCE", 0.0)
    assert "minutes here the first time: --cut" in cutting.why_not(G)
    assert cutting.why_not(G, asked=True) == ""
    monkeypatch.setattr(cutting, "bundled_weights", lambda: tmp_path / "none")
    assert "weights are not at hand" in cutting.why_not(G, asked=True)


def test_a_direction_of_which_nothing_is_left_is_refused(G: LinearGenerator, monkeypatch) -> None:
    monkeypatch.setattr(Likeness, "ends", lambda *_: (0.0, 0.0))
    with pytest.raises(DirectionError, match="as soon as 'push' is applied"):
        cutting.cut(G, push(G, -2.0, 1.0))
    monkeypatch.setattr(Likeness, "ends", lambda *_: (-1.0, 0.5))
    falling = replace(TONE, name="tone2", measure=lambda images: images[:, 0].mean((1, 2)))
    with pytest.raises(DirectionError, match="does not move tone2"):
        cutting.cut(G, push(G, -2.0, 1.0), falling)

"""Judging: figures of a case worked out by hand, bars, and what is offered."""

from __future__ import annotations

import pytest
import torch
from linear_generator import LinearGenerator
from painter import SCORERS, no_bundled_directions, pixel

import directions
from directions import catalog, judging, score
from directions.attributes import Scorer
from directions.bars import Bars, failures, target_of
from directions.judging import judge
from directions.score import baseline, default_scorers
from editkit.direction import Direction
from editkit.errors import DirectionError, GeneratorMismatchError
from editkit.generator import random_generator


class Painter(LinearGenerator):
    """Three pixels show w[0], w[1] and w[0] + w[1] / 4, averaged over rows."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.basis = torch.eye(4)
        self.paint = torch.zeros_like(self.paint)
        self.paint[0, 0] = self.paint[1, 1] = self.paint[2, 1] = 1.0
        self.paint[2, 0] = 0.25


def push(name="first", vector=(1.0, 0.0, 0.0, 0.0), G=None, **options):
    generator = (G or Painter()).spec.id
    return Direction(name=name, vector=torch.tensor(vector), space="w", generator=generator, **options)


def test_figures_and_the_bars():
    G = Painter()
    against = baseline(G, SCORERS, samples=4000)
    found = judge(G, push(vector=(1.1, 0, 0, 0)), scorers=SCORERS, against=against, samples=8)
    assert found.target == "first" and found.measurement.effects["first"] == pytest.approx(1.1, rel=0.05)
    assert found.measurement.leakage("first")["third"] == pytest.approx(0.25 / 1.0625**0.5, rel=0.06)
    assert found.failures == () and found.measurement.samples == 8
    weak = judge(G, push(vector=(0.5, 0, 0, 0)), scorers=SCORERS, against=against, samples=8)
    assert len(weak.failures) == 1 and "below 1" in weak.failures[0]
    mixed = judge(G, push(vector=(1.1, 1.1, 0, 0)), scorers=SCORERS, against=against, samples=8)
    assert len(mixed.failures) == 1 and "leakage" in mixed.failures[0]
    assert (
        judge(G, push(name="x", vector=(0, 0.5, 0, 0)), scorers=SCORERS, against=against, samples=8).target == "second"
    )
    asked = judge(G, push(name="x", vector=(0, 0.5, 0, 0)), scorers=SCORERS, target="third", against=against, samples=8)
    assert asked.target == "third"


def test_scores_beside_are_told_and_do_not_count():
    G = Painter()
    against = baseline(G, SCORERS, samples=4000)
    one = push(vector=(1.1, 1.1, 0, 0))
    found = judge(G, one, scorers=SCORERS[:1], against=against, samples=8, beside=SCORERS)
    assert found.failures == () and set(found.measurement.effects) == {"first"}
    assert set(found.beside) == {"second", "third"} and found.beside["second"] == pytest.approx(1, rel=0.1)
    counted = judge(G, one, scorers=SCORERS, against=against, samples=8)
    assert found.beside == counted.measurement.leakage("first")
    with pytest.raises(DirectionError, match="background, detail"):
        judge(G, one, target="charm", samples=8)
    assert counted.beside == {} and not any(n.endswith("second") for n in found.applied(one).scores)


def test_the_target_is_the_one_in_the_file_before_that_of_the_name():
    G = Painter()
    against = baseline(G, SCORERS, samples=400)
    found = judge(G, push(target="third"), scorers=SCORERS, against=against, samples=8)
    assert found.target == "third" and found.applied(push()).target == "third"
    made = found.applied(push(name="second"))
    assert target_of(made) == "third" and failures(made) == found.failures
    unknown = judge(G, push(target="charm"), scorers=SCORERS, against=against, samples=8)
    assert unknown.target == "first", "no such score is measured: the name decides"
    old = push(scores={"kept": 0.1, "leakage": 9.0, "accuracy": 0.9})
    assert found.applied(old).scores["accuracy"] == 0.9 and found.applied(old).scores["leakage"] < 9


def test_codes_of_ones_own_are_judged_in_place_of_samples():
    G = Painter()
    against = baseline(G, SCORERS, samples=400)
    latents = score.sample_latents(G, samples=5, seed=7)
    found = judge(G, push(), scorers=SCORERS, against=against, latents=latents)
    asked = judge(G, push(), scorers=SCORERS, against=against, samples=5, seed=7)
    assert found.measurement.samples == 5 and found.measurement.effects == asked.measurement.effects
    assert found.kept == asked.kept


def test_a_direction_that_goes_up_and_down_is_not_monotone():
    G = Painter()
    bent = Scorer(name="first", unit="", measure=lambda images: (images[:, 0, 0, 0] - G.w_avg[0] - 1).square())
    found = judge(G, push(), scorers=[bent], samples=16)
    assert found.measurement.monotonicity["first"] < 0.9 and any("monotone" in words for words in found.failures)


def test_half_the_vector_over_twice_the_range_is_the_same():
    G = Painter()
    against = baseline(G, SCORERS, samples=400)
    half = push(vector=(0.5, 0, 0, 0), strength=(-4.0, 4.0))
    seen = judge(G, push(strength=(-2.0, 2.0)), scorers=SCORERS, against=against, samples=8).measurement.scaled(0.5)
    again = judge(G, half, scorers=SCORERS, against=against, samples=8)
    assert seen.effects["first"] == pytest.approx(again.measurement.effects["first"], rel=1e-4)
    assert seen.strengths == again.measurement.strengths
    told = judge(G, half, scorers=SCORERS, against=against, measured=seen)  # nothing is measured again
    assert told.measurement is seen
    assert [words[:20] for words in told.failures] == [words[:20] for words in again.failures] != []


def test_what_is_kept():
    G = random_generator(seed=1, resolution=16)
    vector = torch.randn(G.spec.w_dim, generator=torch.Generator().manual_seed(0))
    small, large = (
        judging.kept(G, Direction(name="x", vector=size * vector, space="w", generator=G.spec.id), samples=4)
        for size in (1e-3, 1.0)
    )
    assert 0.9 < small <= 1 and large < small


def test_separability_comes_from_the_sample_bank():
    from directions.bank import labelled

    G = Painter()
    assert judge(G, push(), scorers=SCORERS, samples=4).separability is None  # too few are known
    labelled(G, SCORERS, samples=1000)
    assert 1.0 <= judge(G, push(), scorers=SCORERS, samples=4).separability < 1.2


def test_figures_go_into_the_file_and_decide_what_is_offered():
    G = Painter()
    against = baseline(G, SCORERS, samples=1000)
    for direction in (push(vector=(1.1, 0, 0, 0)), push("third", (0, 0.1, 0, 0)), push("never")):
        found = judge(G, direction, scorers=SCORERS, against=against, samples=4)
        catalog.save(G, direction if direction.name == "never" else found.applied(direction))
    assert directions.names(G) == ("first", "never", "third") and directions.offered(G) == ("first",)
    loaded = directions.load(G, "first")
    assert target_of(loaded) == "first" and not failures(loaded) and loaded.scores["monotonicity"] == 1
    assert failures(directions.load(G, "never")) == ("it was never judged",) and target_of(push("never")) is None
    assert failures(directions.load(G, "third"), Bars(effect=0.01, leakage=1.1)) == ()
    assert [words[:6] for words in failures(directions.load(G, "third"))] == ["a unit", "leakag"]


def test_new_figures_replace_old_ones_and_leave_the_accuracy():
    old = push(scores={"effect:gone": 3.0, "leakage": 9.0, "accuracy": 0.97})
    G = Painter()
    scores = judge(G, old, scorers=SCORERS, samples=4).applied(old).scores
    assert "effect:gone" not in scores and scores["accuracy"] == 0.97 and scores["leakage"] < 1


def test_wrong_use():
    G = Painter()
    with pytest.raises(DirectionError, match="no score 'charm' is measured; there are first, second, third"):
        judge(G, push(), scorers=SCORERS, target="charm")
    with pytest.raises(GeneratorMismatchError):
        judge(Painter(name="other"), push(), scorers=SCORERS)
    flat = Scorer(name="flat", unit="", measure=lambda images: torch.ones(len(images)))
    with pytest.raises(DirectionError, match="flat does not vary"):
        judge(G, push("flat"), scorers=[*SCORERS, flat], target="flat", samples=4)
    broken = Scorer(name="broken", unit="", measure=lambda images: images[:, 0, 0, 0] * float("nan"))
    with pytest.raises(DirectionError, match="'broken' gives NaN"):
        judge(G, push(), scorers=[broken], samples=4)


def test_a_direction_is_judged_by_the_built_in_score_of_its_name(monkeypatch):
    extra = Scorer(name="extra", unit="", measure=lambda images: images[:, 0, 0, 1])
    monkeypatch.setattr(score, "default_scorers", lambda *, faces=True: SCORERS)
    monkeypatch.setattr(score, "all_scorers", lambda *, faces=True: (*SCORERS, extra))
    named = judge(Painter(), push("extra"), samples=4)
    assert named.target == "extra" and "extra" in named.measurement.effects
    assert "extra" not in judge(Painter(), push("first"), samples=4).measurement.effects


def test_faces_are_judged_by_what_the_network_reads():
    names = {one.name for one in default_scorers()}
    assert {"age", "gender_presentation", "yaw", "smile_width", "brightness", "background", "sharpness"} <= names

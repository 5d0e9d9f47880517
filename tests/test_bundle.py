"""Bundling: what boundaries and components mix is separated, judged, and written with its sample bank."""

from __future__ import annotations

import itertools

import pytest
import torch
from painter import SCORERS, Painter, no_bundled_directions, pixel
from styled_generator import StyledGenerator

from directions import bank, bars, bundle, catalog, filling, remembered, settling
from directions.attributes import Scorer
from directions.bank import SampleBank
from directions.bars import Bars, is_judged
from directions.calibration import known_baseline
from directions.candidates import boundary_candidates, gram_matrix, row_ranges
from directions.combining import Combination, combine, corrected, search
from directions.judging import ACCEPTANCE_SEED, REPORT_SEED, SAMPLES, judge
from directions.score import baseline
from editkit.direction import Direction
from editkit.errors import DirectionError


def test_a_bundle_separates_what_boundaries_and_components_mix(tmp_path):
    G = Painter(num_ws=4)
    stale = catalog.folder_of(G.spec.id, tmp_path / "made") / "old.safetensors"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"old")
    steps, options = [], {"scorers": SCORERS, "samples": 500, "count": 4, "labels": 600, "root": tmp_path / "made"}
    made = bundle.build(G, on_progress=lambda *step: steps.append(step), **options)
    assert [one.direction.name for one in made] == ["first", "second", "third"]
    for one in made:
        name, seen = one.direction.name, one.judgement.measurement
        assert seen.effects[name] == pytest.approx(1, abs=0.01) and seen.effects[name] >= 1
        assert seen.worst_leakage(name) < 0.16 and seen.monotonicity[name] == 1.0
        assert one.direction.strength[1] >= 1 and not one.direction.touches_placement
        again = Direction.load(stale.parent / f"{name}.safetensors")
        assert torch.equal(again.vector, one.direction.vector) and not bars.failures(again)
        fresh = judge(G, again, scorers=SCORERS)
        assert fresh.measurement.effects[name] == pytest.approx(seen.effects[name], rel=0.05) and not fresh.failures
    assert not stale.exists()
    assert steps[-1][0] == steps[-1][1] and steps == sorted(steps)
    kept = SampleBank.load(tmp_path / "made" / f"{G.spec.id[:12]}{bank.BUNDLED_SUFFIX}")
    assert len(kept) == 600 and set(kept.scores) == {"first", "second", "third"}
    again = bundle.build(G, **options)
    assert all(torch.equal(a.direction.vector, b.direction.vector) for a, b in zip(made, again, strict=True))


def test_what_w_cannot_separate_is_looked_for_in_s(tmp_path):
    """Both channels of a layer follow the same w: no row moves one score alone, a channel does."""
    G = StyledGenerator(resolution=8)
    G.matrices["L1"][1, 0], G.matrices["L1"][1, 1] = 2.0, 0.0
    said = []
    made = bundle.build(
        G, scorers=(pixel("one", 0), pixel("two", 1)), labels=300, wanted=1, root=tmp_path / "made", say=said.append
    )
    assert [one.direction.name for one in made] == ["one", "two"] and {one.direction.space for one in made} == {"s"}
    for one, channel in zip(made, (0, 1), strict=True):
        vector = one.direction.vector["L1"]
        assert abs(float(vector[1 - channel])) < 0.05 * float(vector[channel]) and not one.direction.touches_placement
        assert one.judgement.measurement.worst_leakage(one.direction.name) < 0.05
    assert [line.split(":")[0] for line in said] == ["one", "one", "two", "two"] and "not accepted: leakage" in said[0]


def test_what_misses_fewer_bars_is_kept_and_then_what_goes_further():
    G = Painter(num_ws=4)
    against = baseline(G, SCORERS, samples=400)

    def made(other: float, units: float) -> bundle.Bundled:
        one = Direction(
            name="first",
            vector=torch.tensor([3.6, -1.8, other, 0]),  # what it does to "second" besides is taken back
            space="w",
            generator=G.spec.id,
            strength=(-units, units),
        )
        return bundle.Bundled(direction=one, judgement=judge(G, one, scorers=SCORERS, against=against, samples=8))

    order = [made(2.2, 2.0), made(2.2, 3.0), made(0.0, 1.0), made(0.0, 2.0)]
    assert [one.passes for one in order] == [False, False, True, True]
    assert all(a.rank < b.rank for a, b in itertools.pairwise(order))


def test_a_range_is_shortened_until_its_ends_keep_the_bars(tmp_path):
    """The score falls again far out: the whole range is not monotone on enough samples, its middle is."""
    G, said = Painter(num_ws=4), []

    def measure(images):
        x = images[:, 0, 0, 0]
        return x - 2 * (x.abs() - 9).relu() * x.sign()

    scorers = (Scorer(name="bent", unit="", measure=measure), *SCORERS[1:])
    options = {"labels": 400, "count": 4, "samples": 500, "wanted": 1, "root": tmp_path / "made"}
    bent, *others = (one.direction for one in bundle.build(G, scorers=scorers, **options, say=said.append))
    assert bent.name == "bent" and bent.scores["monotonicity"] >= 0.9
    assert 1 <= bent.strength[1] < 2.2 and all(one.strength[1] > 2.9 for one in others)


def test_what_the_report_does_not_confirm_is_hidden(tmp_path, monkeypatch):
    """Accepted on some samples, beyond the bars on those of the report: written, not offered, and said so."""
    judged, measure, seeds = settling.judge, remembered.measure, []

    def counted(*given, **options):
        seeds.append((options["samples"], options["seed"]))
        return measure(*given, **options)

    def report(*given, **options):
        bars = Bars(leakage=-1.0) if options["target"] == "second" else Bars()
        return judged(*given, **{**options, "bars": bars})

    monkeypatch.setattr(settling, "judge", report)
    monkeypatch.setattr(remembered, "measure", counted)
    G, said = Painter(num_ws=4), []
    options = {"scorers": SCORERS, "labels": 400, "count": 4, "samples": 500, "wanted": 1, "root": tmp_path / "made"}
    made = bundle.build(G, **options, say=said.append)
    assert [one.direction.name for one in made if not one.passes] == ["second"]
    assert any("hidden, leakage" in line for line in said)
    assert {seed for samples, seed in seeds if samples == SAMPLES} == {ACCEPTANCE_SEED, REPORT_SEED}
    known = known_baseline(G, SCORERS)
    again = measure(G, made[0].direction, SCORERS, against=known, samples=SAMPLES, seed=REPORT_SEED)
    assert made[0].judgement.measurement.effects == pytest.approx(again.effects, rel=0.05), "figures are the report's"
    for one in made:
        assert (catalog.folder_of(G.spec.id, tmp_path / "made") / f"{one.direction.name}.safetensors").is_file()


@pytest.mark.parametrize(("vague", "samples"), [(settling._VAGUE, SAMPLES), (0.0, 2 * SAMPLES)])
def test_a_vague_report_is_of_twice_as_many_samples(tmp_path, monkeypatch, vague, samples):
    monkeypatch.setattr(settling, "_VAGUE", vague)
    options = {"scorers": SCORERS, "labels": 400, "count": 4, "samples": 500, "wanted": 1, "root": tmp_path / "made"}
    made = bundle.build(Painter(num_ws=4), **options)
    assert {one.judgement.measurement.samples for one in made} == {samples}


def test_a_near_miss_of_a_usual_score_is_kept_hidden(tmp_path):
    """No row of W+ moves one score alone: it leaks, is not offered, and works for those who ask for it by name."""
    G = StyledGenerator(resolution=8)
    G.matrices["L1"][1, 0], G.matrices["L1"][1, 1] = 2.0, 0.0
    scorers = (pixel("one", 0), pixel("two", 1), pixel("third", 2))
    found = bundle._Places._make
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle._Places, "_make", lambda self, space: found(self, space) if space == "w+" else None)
        made = bundle.build(G, scorers=scorers, labels=300, wanted=1, root=tmp_path / "made")
    missed = [one for one in made if not one.passes]
    assert len(missed) > 0 and any(one.passes for one in made)
    for one in missed:
        assert one.direction.scores["accepted"] == 0.0
        assert bars.failures(one.direction)[0].startswith(
            "it missed the bars on the samples that decide (with doubts, "
        )
        assert one.direction.scores["decided:leakage"] > 0.3
        assert not is_judged("accepted"), "judging it again on other samples does not overrule that"


def test_what_somebody_has_looked_at_and_left_out_is_not_made(tmp_path):
    options = {"scorers": SCORERS, "labels": 400, "count": 4, "samples": 500, "wanted": 1, "root": tmp_path / "made"}
    made = bundle.build(Painter(num_ws=4), **options, leave_out=("second",))
    assert [one.direction.name for one in made] == ["first", "third"]


def test_components_and_factors_fill_up_by_what_they_do(tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "_supervised", lambda *_: [])
    G, said = StyledGenerator(resolution=8), []
    scorers = (pixel("first", 0), pixel("third", 2))
    options = {"scorers": scorers, "labels": 300, "root": tmp_path / "made"}
    made = bundle.build(G, **options, say=said.append)
    names = [one.direction.name for one in made]
    assert sorted(names) == ["first-factor", "third-factor"]  # their channels make the same pictures
    for one in made:
        assert bars.target_of(one.direction) == one.judgement.target == one.direction.name.split("-")[0]
        assert one.judgement.measurement.effects[one.judgement.target] == pytest.approx(1, abs=0.01)
    assert any("makes the pictures of another" in line for line in said)
    (single,) = bundle.build(G, **options, wanted=1)
    assert single.direction.name == names[0]


def test_further_scores_fill_up_last(tmp_path, monkeypatch):
    """A score of the bank that directions are not judged by gets one that leaks onto none of those that they are."""
    usual, further = pixel("first", 0), pixel("third", 2)
    monkeypatch.setattr(bundle, "default_scorers", lambda *, faces: (usual,))
    monkeypatch.setattr(bundle, "all_scorers", lambda *, faces: (usual, further))
    monkeypatch.setattr(bundle, "_filled", lambda *_: [])
    G = StyledGenerator(resolution=8)
    made = bundle.build(G, labels=300, wanted=2, root=tmp_path / "made")
    assert [one.direction.name for one in made] == ["first", "third"]
    assert made[1].judgement.measurement.leakage("third") == {"first": pytest.approx(0, abs=0.05)}
    assert len(bundle.build(G, labels=300, wanted=1, root=tmp_path / "made")) == 1


def test_a_stopped_build_goes_on(tmp_path, monkeypatch):
    G, options = Painter(num_ws=4), {"scorers": SCORERS, "labels": 300, "wanted": 1}
    calls, measure = [], remembered.measure

    def counted(*arguments, **keywords):
        calls.append(1)
        return measure(*arguments, **keywords)

    monkeypatch.setattr(remembered, "measure", counted)
    whole = bundle.build(G, **options, root=tmp_path / "whole")
    needed = len(calls)
    said = []

    def stop(line):
        said.append(line)
        if len(said) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bundle.build(G, **options, root=tmp_path / "cut", say=stop)
    assert not (tmp_path / "cut").exists()
    calls.clear()
    rest = bundle.build(G, **options, root=tmp_path / "cut")
    assert 0 < len(calls) < needed / 2
    for a, b in zip(whole, rest, strict=True):
        assert torch.equal(a.direction.vector, b.direction.vector) and a.direction.scores == b.direction.scores
    assert not remembered.scratch(G.spec.id).exists()


def test_changes_that_are_the_same_and_those_that_are_not():
    G = Painter()
    pushes = [
        Direction(name="x", vector=torch.tensor(vector), space="w", generator=G.spec.id)
        for vector in ([1.0, 0, 0, 0], [-3.0, 0, 0, 0], [0, 1.0, 0, 0])
    ]
    first, turned, other = (filling.change(G, one) for one in pushes)
    assert filling.alike(first, [turned]) and not filling.alike(first, [other]) and not filling.alike(first, [])
    assert filling.free_name("a", ["a", "a-2"]) == "a-3" and filling.free_name("b", ["a"]) == "b"


def test_nothing_to_bundle():
    with pytest.raises(DirectionError, match="no direction of 'linear'"):
        bundle.build(Painter(), scorers=SCORERS, samples=100, labels=200, bars=Bars(effect=1000.0))


def test_scores_that_go_together_cannot_pass(tmp_path):
    """Two scores of the same pixel leak onto each other whatever the direction."""
    G = Painter()
    with pytest.raises(DirectionError, match="within the bars"):
        bundle.build(G, scorers=(pixel("one", 0), pixel("two", 0)), samples=100, labels=200, root=tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_reach_limits_how_far_an_edit_goes():
    gram = torch.eye(6, dtype=torch.float64) / 3
    effects = torch.tensor([[0.4, 0.4, 0.4, 0, 0, 0], [0, 0, 0, 0.1, 0.1, 0.1]], dtype=torch.float64)
    found = combine(effects, gram, 0, bars=Bars(reach=3.0), ridge=0.1)
    assert float(effects[0] @ found.weights) == pytest.approx(1)
    assert found.length == pytest.approx(1 / 1.2)  # 0.4 from each range of rows
    assert combine(effects, gram, 1, bars=Bars(reach=3.0), ridge=0.1) is None  # 0.3 a deviation: 0.9 within reach
    assert combine(effects, gram, 1, bars=Bars(reach=3.5), ridge=0.1) is not None


def test_the_search_follows_what_is_measured_and_not_what_is_predicted():
    """Candidates seem to be clean, and are not: only a correction by what is measured of them helps."""
    gram, seeming = torch.eye(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    true = torch.tensor([[1.0, 0.0], [0.5, 1.0]], dtype=torch.float64)

    def measured(one: Combination) -> torch.Tensor:
        return (true @ one.weights).expand(2, -1)

    found = search(seeming, gram, 0, measured, bars=Bars())
    effects = true @ found.weights
    assert float(effects[1].abs() / effects[0]) < 0.15
    assert search(seeming, gram, 0, measured, bars=Bars(reach=0.5)) is None


def test_of_two_halves_the_search_takes_the_worse():
    """Opposite leaks at the two ends cancel in the mean: a combination is the better one where neither end leaks."""
    gram, effects = torch.eye(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    ends = [[[1.0, -0.6], [1.0, 0.6]], [[1.0, 0.3], [1.0, 0.3]], *[[[1.0, -0.9], [1.0, 0.9]]] * 20]
    seen, asked = iter(torch.tensor(ends, dtype=torch.float64)), []

    def measured(one: Combination) -> torch.Tensor:
        asked.append(one)
        return next(seen)

    assert search(effects, gram, 0, measured, bars=Bars()) is asked[1]


def test_a_correction_that_makes_it_worse_is_not_taken():
    gram, effects = torch.eye(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    seen = iter([torch.tensor([[1.0, 0.4]] * 2), *[torch.tensor([[0.1, 5.0]] * 2)] * 20])
    found = search(effects, gram, 0, lambda one: next(seen), bars=Bars())
    assert found.weights.tolist() == pytest.approx([1.0, 0.0])


def test_a_correction_removes_what_was_measured():
    gram, effects = torch.eye(2, dtype=torch.float64), torch.tensor([[1.0, 0.0], [0.5, 1.0]], dtype=torch.float64)
    begun = Combination(weights=torch.tensor([1.0, 0.0], dtype=torch.float64), length=1.0, ridge=1e-6)
    found = corrected(begun, effects, gram, 0, effects @ begun.weights)
    assert (effects @ found.weights).tolist() == pytest.approx([1.0, 0.0], abs=1e-4)
    assert found.length == pytest.approx(1.25**0.5, rel=1e-3)


def test_candidates_and_their_gram_matrix():
    G = Painter(num_ws=4)
    assert row_ranges(G) == [[1], [2], [3]] and row_ranges(Painter(num_ws=1)) == [[0]]
    found = bank.labelled(
        G, [*SCORERS, Scorer(name="flat", unit="", measure=lambda i: torch.ones(len(i)))], samples=300
    )
    made = boundary_candidates(G, found, SCORERS)
    assert [one.name for one in made] == ["first"] * 3 + ["second"] * 3 + ["third"] * 3
    gram = gram_matrix(G, made, deviation=2.0)
    assert float(gram[0, 1]) == 0 and float(gram[0, 0]) == pytest.approx(float(made[0].vector.square().sum()) / 4 / 3)
    flat = Scorer(name="flat", unit="", measure=lambda i: torch.ones(len(i)))
    assert not boundary_candidates(G, found, [flat])

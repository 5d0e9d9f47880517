"""Bundling: what boundaries and components mix is separated, judged, and written with its sample bank."""

from __future__ import annotations

import pytest
import torch
from linear_generator import LinearGenerator

from directions import bank, bars, bundle, catalog
from directions.attributes import Scorer
from directions.bank import SampleBank
from directions.bars import Bars
from directions.combining import Combination, boundary_candidates, combine, corrected, gram_matrix, row_ranges, search
from directions.judging import judge
from editkit.direction import Direction
from editkit.errors import DirectionError

SCALES = [3.0, 1.0, 2.0, 0.1]


class Painter(LinearGenerator):
    """Score "first" is w[0], "second" w[1] + w[0] / 2 and "third" w[2], averaged over rows, read off three pixels."""

    def __init__(self, **options) -> None:
        super().__init__(scales=SCALES, **options)
        self.basis = torch.eye(4)
        self.paint = torch.zeros_like(self.paint)
        self.paint[0, 0] = 1.0
        self.paint[1, 1], self.paint[1, 0] = 1.0, 0.5
        self.paint[2, 2] = 1.0


def pixel(name, column):
    return Scorer(name=name, unit="", measure=lambda images: images[:, 0, 0, column])


SCORERS = (pixel("first", 0), pixel("second", 1), pixel("third", 2))


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("EDITKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(catalog, "bundled_directions", lambda: tmp_path / "bundled")


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
    found = search(seeming, gram, 0, lambda one: true @ one.weights, bars=Bars())
    effects = true @ found.weights
    assert float(effects[1].abs() / effects[0]) < 0.15
    assert search(seeming, gram, 0, lambda one: true @ one.weights, bars=Bars(reach=0.5)) is None


def test_a_correction_that_makes_it_worse_is_not_taken():
    gram, effects = torch.eye(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    seen = iter([torch.tensor([1.0, 0.4]), *[torch.tensor([0.1, 5.0])] * 20])
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

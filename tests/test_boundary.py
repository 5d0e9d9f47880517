"""Linear boundaries find what a score is made of, in W, in rows of W+ and in S; bad labels are refused."""

from __future__ import annotations

import math

import pytest
import torch
from linear_generator import LinearGenerator
from painter import pixel

import directions
from directions import attributes, bank
from directions.accuracy import balanced, separability, told, wilson
from directions.attributes import Scorer
from directions.boundary import LinearSVM, ends
from directions.labels import Labelled
from directions.score import baseline, measure
from editkit.errors import DirectionError, UsageError
from editkit.generator import random_generator
from editkit.sampling import sample_w


class Painter(LinearGenerator):
    """Three pixels show w[0], w[1] and w[0] + w[1], averaged over rows."""

    def __init__(self, **options) -> None:
        super().__init__(scales=[1.0, 2.0, 0.5, 1.0], **options)
        self.basis = torch.eye(4)
        self.paint = torch.zeros_like(self.paint)
        self.paint[0, 0] = self.paint[1, 1] = self.paint[2, 0] = self.paint[2, 1] = 1.0


FIRST, SECOND, BOTH = pixel("first", 0), pixel("second", 1), pixel("both", 2)


def test_a_score_of_one_coordinate_is_found():
    G = Painter()
    (found,) = directions.find(G, LinearSVM(scorer=FIRST, samples=1000))
    assert found.name == "first" and found.space == "w" and found.method == "linear svm"
    unit = found.vector / found.vector.norm()
    assert float(unit[0]) > 0.98
    assert float(found.vector[0]) == pytest.approx(1.0, rel=0.1)  # one standard deviation of the score a unit
    assert found.strength == (-3.0, 3.0) and "standard deviation of first" in found.unit
    scores = found.scores
    assert scores["accuracy"] > 0.97 and scores["held_out"] == 60 and scores["positive_share"] == 0.5
    assert scores["accuracy_low"] < scores["accuracy"] <= scores["accuracy_high"] <= 1
    assert scores["separability"] < 1.15


def test_more_of_the_score_is_always_the_positive_side():
    G = Painter()
    less = Scorer(name="less", unit="", measure=lambda images: -images[:, 0, 0, 0])
    (found,) = directions.find(G, LinearSVM(scorer=less, samples=600))
    assert float(found.vector[0]) < -0.8


def test_rows_of_w_plus_move_alone_and_by_one_deviation():
    G = Painter()
    (found,) = directions.find(G, LinearSVM(scorer=FIRST, samples=600, space="w+", layers=(1, 2)))
    assert found.space == "w+" and not found.touches_placement and not found.vector[0].any()
    seen = measure(G, found, [FIRST], against=baseline(G, [FIRST], samples=1000), samples=4)
    assert seen.effects["first"] == pytest.approx(1, rel=0.1) and seen.monotonicity["first"] == 1


def test_layers_limit_a_direction_of_w():
    (found,) = directions.find(Painter(), LinearSVM(scorer=FIRST, samples=400, layers=(2,)))
    assert found.space == "w+" and found.vector[2].any() and not found.vector[:2].any()


def test_style_space_of_a_real_network():
    G = random_generator(seed=1, resolution=16)
    (found,) = directions.find(G, LinearSVM(scorer="brightness", samples=96, space="s", share=0.4))
    assert found.space == "s" and "input" not in found.vector and found.name == "brightness"
    seen = measure(
        G,
        found,
        [attributes.scorer("brightness")],
        against=baseline(G, [attributes.scorer("brightness")], samples=32),
        samples=32,
    )
    assert seen.means["brightness"] > 0.2  # untrained: its halves differ, and mean slopes of single samples by 0.9


def test_the_pattern_follows_the_covariance_and_the_normal_does_not():
    """Among samples with much of "both", w[1] differs four times as much as w[0]; the normal weighs them equally."""
    G, options = Painter(), {"scorer": BOTH, "samples": 2000, "share": 0.3}
    (normal,) = directions.find(G, LinearSVM(**options))
    (pattern,) = directions.find(G, LinearSVM(pattern=True, **options))
    assert float(normal.vector[1] / normal.vector[0]) == pytest.approx(1, abs=0.3)
    assert float(pattern.vector[1] / pattern.vector[0]) == pytest.approx(4, abs=1.2)


def test_the_same_twice():
    options = {"scorer": FIRST, "samples": 300}
    (one,), (two,) = (directions.find(Painter(), LinearSVM(**options)) for _ in range(2))
    assert torch.equal(one.vector, two.vector) and one.scores == two.scores


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_nothing(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        (found,) = directions.find(Painter(), LinearSVM(scorer=FIRST, samples=300))
    finally:
        torch.set_num_threads(before)
    assert float(found.vector[0]) == pytest.approx(1.0, rel=0.15)


def test_labels_of_ones_own_need_no_scorer_and_can_be_calibrated_by_one():
    G = Painter()
    latents = sample_w(G, range(400))
    labels = Labelled(name="many", latents=latents, scores=(latents.tensor[:, 0, 0] > G.w_avg[0]).float(), source="me")
    (plain,) = directions.find(G, LinearSVM(labels=labels, name="mine"))
    assert plain.name == "mine" and "boundary's score" in plain.unit and plain.reference.startswith("me; ")
    (scaled,) = directions.find(G, LinearSVM(labels=labels, scorer=FIRST))
    assert "standard deviation of first" in scaled.unit and float(scaled.vector[0]) == pytest.approx(1, rel=0.1)


def test_fewer_samples_than_dimensions_use_what_was_seen(caplog):
    G = LinearGenerator(z_dim=64, w_dim=64, resolution=8)
    latents = sample_w(G, range(40))
    axis = G.basis[:, 0]
    values = (latents.tensor[:, 0] - G.w_avg) @ axis
    labels = Labelled(name="axis", latents=latents, scores=values, source="40")
    (found,) = directions.find(G, LinearSVM(labels=labels, share=0.5))
    assert "28 samples to learn from in 64 dimensions" in caplog.text
    unit = found.vector / found.vector.norm()
    assert float(unit @ axis) > 0.3  # 64 dimensions: chance is 0.125


def labels_of(scores, G=None):
    G = G or Painter()
    return Labelled(name="x", latents=sample_w(G, range(len(scores))), scores=torch.tensor(scores), source="test")


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ([1.0] * 20, "all labels of 'x' are the same"),
        ([0.0] * 5, "all labels"),
        ([1.0], "all labels"),
        ([0.0, float("nan")] * 8, "NaN"),
        ([0.0, float("inf")] * 8, "NaN"),
    ],
)
def test_labels_that_say_nothing(scores, words):
    with pytest.raises(DirectionError, match=words):
        labels_of(scores)


def test_as_many_labels_as_latents():
    with pytest.raises(DirectionError, match="3 latents need as many labels"):
        Labelled(name="x", latents=sample_w(Painter(), range(3)), scores=torch.ones(2), source="test")


def test_too_few_of_one_class():
    with pytest.raises(DirectionError, match="3 samples with much x and 97 with little"):
        LinearSVM(labels=labels_of([1.0] * 3 + [0.0] * 97)).find(Painter())


def test_unbalanced_classes_count_the_same(caplog):
    G = Painter()
    latents = sample_w(G, range(1000))
    first = latents.tensor[:, 0, 0]
    scores = (first > first.sort().values[-30]).float()
    (found,) = LinearSVM(labels=Labelled(name="rare", latents=latents, scores=scores, source="")).find(G)
    assert "29 samples on one side and 971 on the other" in caplog.text
    assert found.scores["positive_share"] == pytest.approx(0.029) and found.scores["balanced_accuracy"] > 0.85
    assert float(found.vector[0] / found.vector.norm()) > 0.9


def test_a_scorer_that_is_constant_or_nan():
    constant = Scorer(name="constant", unit="", measure=lambda images: torch.ones(len(images)))
    broken = Scorer(name="broken", unit="", measure=lambda images: images[:, 0, 0, 0] * math.nan)
    with pytest.raises(DirectionError, match="all labels of 'constant' are the same"):
        LinearSVM(scorer=constant, samples=64).find(Painter())
    with pytest.raises(DirectionError, match="'broken' gives NaN"):
        LinearSVM(scorer=broken, samples=64).find(Painter())
    assert (
        not bank.user_bank(Painter().spec.id).exists()
        or "broken" not in bank.SampleBank.load(bank.user_bank(Painter().spec.id)).scores
    )


def test_noise_is_not_called_a_direction():
    """Labels that have nothing to do with the latents: the held-out accuracy says so."""
    G = Painter()
    coins = torch.randint(0, 2, (400,), generator=torch.Generator().manual_seed(3)).float()
    (found,) = LinearSVM(labels=Labelled(name="coins", latents=sample_w(G, range(400)), scores=coins, source="")).find(
        G
    )
    assert found.scores["accuracy_low"] < 0.5 < found.scores["accuracy_high"] and found.scores["separability"] > 1.9


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "needs a scorer"),
        ({"scorer": FIRST, "share": 0.0}, "share"),
        ({"scorer": FIRST, "share": 0.6}, "share"),
        ({"scorer": FIRST, "margin": -1.0}, "margin"),
        ({"scorer": FIRST, "validation": 1.0}, "validation"),
        ({"scorer": FIRST, "regularisation": 0.0}, "regularisation"),
        ({"scorer": FIRST, "space": "z"}, "w, w\\+ or s"),
        ({"scorer": FIRST, "layers": ()}, "no layers"),
    ],
)
def test_wrong_options(options, words):
    with pytest.raises(DirectionError, match=words):
        LinearSVM(**options)


def test_an_unknown_scorer_or_layer():
    with pytest.raises(UsageError, match="there are brightness"):
        LinearSVM(scorer="charm")
    with pytest.raises(DirectionError, match="no layer 9"):
        LinearSVM(scorer=FIRST, samples=64, layers=(9,), space="w+", share=0.5).find(Painter())


def test_ends_by_share_and_by_margin():
    values = torch.linspace(-2, 2, 101)
    labels = labels_of(values.tolist())
    chosen, sides = ends(labels, share=0.1)
    assert sorted(chosen[sides > 0].tolist()) == list(range(91, 101)) and int((sides < 0).sum()) == 10
    chosen, sides = ends(labels, share=0.1, margin=1.0)
    away = (labels.scores - labels.scores.mean()) / labels.scores.std()
    assert sorted(chosen[sides > 0].tolist()) == (away >= 1).nonzero()[:, 0].tolist()
    with pytest.raises(DirectionError, match="larger share"):
        ends(labels, share=0.1, margin=5.0)


def test_equal_labels_are_never_on_both_sides():
    tied = labels_of([0.0] * 50 + [1.0] * 40 + [2.0] * 10)
    chosen, sides = ends(tied, share=0.5)
    assert set(tied.scores[chosen[sides < 0]].tolist()) == {0.0} and len(chosen) == 100
    many = labels_of([0.0] * 20 + [1.0] * 60 + [2.0] * 20)
    chosen, sides = ends(many, share=0.5)
    assert set(many.scores[chosen].tolist()) == {0.0, 2.0} and int((sides > 0).sum()) == 20
    with pytest.raises(DirectionError, match="0 samples with much x"):
        ends(labels_of([0.0] * 10 + [0.5] + [1.0] * 90), share=0.5)


def test_the_interval_is_wilsons():
    low, high = wilson(9, 10)  # worked out by hand: (0.9 + 0.19208 -+ 1.96 sqrt(0.009 + 0.009604)) / 1.38416
    assert (low, high) == pytest.approx((0.5958, 0.9821), abs=1e-3)
    assert wilson(10, 10)[1] == pytest.approx(1.0) and wilson(0, 0) == (0.0, 1.0)


def test_two_sides_of_different_size_count_the_same():
    assert balanced((9, 10), (9, 10)) == pytest.approx((0.9, 0.9 - 0.3042 / 2**0.5, 0.9 + 0.0821 / 2**0.5), abs=1e-3)
    mean, low, high = balanced((95, 95), (0, 5))  # says "it" every time
    assert mean == 0.5 and low < 0.5 < high < 0.75


def test_a_boundary_at_chance_is_said_to_be_one() -> None:
    latents = sample_w(Painter(), range(400))
    side = torch.randint(0, 2, (400,), generator=torch.Generator().manual_seed(3)).double()
    labels = Labelled(name="x", latents=latents, scores=side, source="")
    (found,) = directions.find(Painter(), LinearSVM(labels=labels))
    assert found.scores["accuracy_low"] <= 0.5 and told(found.scores).endswith("; no better than a guess: label more")


def test_what_is_told_of_unbalanced_labels_is_the_balanced_accuracy():
    G = Painter()
    latents = sample_w(G, range(400))
    level = latents.tensor[:, 0, 0]
    for share, word in ((0.5, "tells"), (0.1, "balanced accuracy: tells")):
        side = (level > level.quantile(1 - share)).double()
        (found,) = directions.find(G, LinearSVM(labels=Labelled(name="x", latents=latents, scores=side, source="")))
        said = told(found.scores)
        assert "guess" not in said and said.startswith(word) and f"{share:.0%} positive" in said
        assert ("each side counts the same" in said) == (share < 0.5)
        assert found.scores["balanced_accuracy_low"] <= found.scores["balanced_accuracy"]
        assert found.scores["balanced_accuracy"] <= found.scores["balanced_accuracy_high"]


def test_separability_is_one_for_a_perfect_and_two_for_a_blind_boundary():
    sides = torch.tensor([1.0] * 10 + [-1.0] * 10)
    assert separability(sides, torch.ones(20, dtype=torch.bool)) == pytest.approx(1.0)
    half = torch.tensor([True, False] * 10)
    assert separability(sides, half) == pytest.approx(2.0)
    assert separability(sides, ~torch.ones(20, dtype=torch.bool)) == pytest.approx(1.0)  # always wrong tells too


def test_by_default_the_shipped_samples_are_taken(tmp_path, monkeypatch):
    G = Painter()
    monkeypatch.setattr(bank, "bundled_bank", lambda generator: tmp_path / "shipped.safetensors")
    assert bank.usual_samples(G, [FIRST]) == 10_000
    bank.labelled(G, [FIRST], samples=300, path=tmp_path / "shipped.safetensors")
    assert bank.usual_samples(G, [FIRST]) == 300
    assert bank.usual_samples(G, [FIRST, SECOND]) == bank.usual_samples(G, [FIRST], seed=1) == 10_000
    G.batches.clear()
    (found,) = LinearSVM(scorer=FIRST).find(G)
    assert found.scores["held_out"] == 18 and sum(G.batches) == 192  # for the unit; nothing is labelled

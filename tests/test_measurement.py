"""Figures in halves: what counts of a direction is its weaker half, and of what it leaks the stronger one."""

from __future__ import annotations

import pytest
import torch

from directions.bars import Bars, is_judged, told
from directions.judging import ACCEPTANCE_SEED, REPORT_SEED, SAMPLES
from directions.measurement import Measurement, Part
from directions.score import MEASURED_SEED
from directions.settling import _CORRECTION_SEED, SCREEN_SEED
from editkit.direction import Direction
from editkit.errors import DirectionError

STRENGTHS = (-2.0, -1.0, 0.0, 1.0, 2.0)
DEVIATION = {"own": 2.0, "other": 0.5, "still": 1.0}


def rows(values: list[float], *, noise: float = 0.0) -> torch.Tensor:
    """[strengths, 6 samples] of a score, whose slopes differ by sample where there is noise."""
    spread = 1 + noise * torch.tensor([-1.0, 1.0, -1.0, 1.0, -1.0, 1.0])
    return torch.tensor(values)[:, None] * spread[None]


def seen(own: list[float], other: list[float], *, noise: float = 0.0) -> Measurement:
    scores = {"own": rows(own, noise=noise), "other": rows(other), "still": torch.zeros(5, 6)}
    return Measurement.of(STRENGTHS, scores, DEVIATION)


def test_opposite_leaks_do_not_cancel() -> None:
    found = seen([-4, -2, 0, 2, 4], [0.8, 0.3, 0, 0.3, 0.8])
    assert found.means["other"] == pytest.approx(0), "what a mean slope over both ends says"
    assert found.low.slopes["other"] == pytest.approx(-0.8) and found.high.slopes["other"] == pytest.approx(0.8)
    assert found.leakage("own") == {"other": pytest.approx(0.8), "still": 0.0}
    assert found.effects == {"own": pytest.approx(1.0), "other": 0.0, "still": 0.0} and found.target == "own"
    assert any("leakage of 0.80" in line for line in Bars().failures(found.as_scores("own"), "own"))


def test_the_weaker_half_is_the_effect_and_leakage_a_share_of_it() -> None:
    found = seen([-2, -1, 0, 3, 6], [-0.1, -0.05, 0, 0.1, 0.2])
    assert found.effects["own"] == pytest.approx(0.5) and found.leaks["own"] == pytest.approx(1.5)
    assert found.leakage("own")["other"] == pytest.approx(0.2 / 0.5)
    assert found.judged("own") == {"own": pytest.approx(0.5), "other": pytest.approx(0.2), "still": 0.0}
    figures = found.as_scores("own")
    assert figures["low:own"] == 0.5 and figures["high:own"] == 1.5 and figures["effect:own"] == 0.5
    assert figures["leakage"] == pytest.approx(0.4) and all(is_judged(name) for name in figures)
    assert any("moves own by 0.50 sd" in line for line in Bars().failures(figures, "own"))
    with pytest.raises(DirectionError, match="no score 'gone'"):
        found.judged("gone")


def test_halves_that_go_opposite_ways_have_no_effect() -> None:
    found = seen([4, 2, 0, 2, 4], [0, 0, 0, 0, 0])
    assert found.effects["own"] == 0.0 and "leakage" not in found.as_scores("own")
    (said,) = Bars().failures(found.as_scores("own"), "own")
    assert "opposite ways" in said


def test_the_worse_half_is_monotone_or_not() -> None:
    own = rows([-4, -2, 0, 2, 4])
    own[3, :2] = -1.0  # two of six dip on the way up
    found = Measurement.of(STRENGTHS, {"own": own}, {"own": 1.0})
    assert found.low.rising["own"] == 1.0 and found.monotonicity["own"] == pytest.approx(4 / 6)
    down = Measurement.of(STRENGTHS, {"own": -own}, {"own": 1.0})
    assert down.monotonicity["own"] == pytest.approx(4 / 6) and down.effects["own"] < 0


def test_a_slope_comes_with_its_standard_error_and_is_doubted_by_it() -> None:
    found = seen([-4, -2, 0, 2, 4], [-0.2, -0.1, 0, 0.1, 0.2], noise=0.3)
    error = 0.3 * (6 / 5) ** 0.5 / 6**0.5
    assert found.errors["own"] == pytest.approx(error, rel=1e-5) and found.as_scores()["error"] == round(error, 4)
    doubted = found.doubted("own", 2.0)
    assert doubted["effect:own"] == pytest.approx(1 - 2 * error) and doubted["monotonicity"] == 1.0
    assert doubted["leakage"] == pytest.approx(0.2 / (1 - 2 * error))
    assert found.doubted("own", 100.0)["effect:own"] == 0.0, "never the other way"
    assert Bars().failures(found.doubted("own", 0.0), "own") == () != Bars().failures(doubted, "own")


def test_a_longer_vector_over_a_shorter_range_is_the_same_and_a_turned_one_swaps_its_halves() -> None:
    found = seen([-2, -1, 0, 3, 6], [-0.1, -0.05, 0, 0.1, 0.2])
    longer = found.scaled(2.0)
    assert longer.strengths == (-1.0, -0.5, 0.0, 0.5, 1.0) and longer.effects["own"] == pytest.approx(1.0)
    assert longer.leakage("own") == pytest.approx(found.leakage("own"))
    turned = found.scaled(-1.0)
    assert turned.strengths == STRENGTHS and turned.low.slopes["own"] == pytest.approx(-1.5)
    assert turned.monotonicity == found.monotonicity


def test_part_of_a_range_is_judged_by_its_own_ends() -> None:
    found = seen([-4, -2, 0, 2, 4], [0.8, 0.1, 0, 0.1, 0.8])
    inner = found.within(-1.0, 1.0)
    assert inner.strengths == (-1.0, 0.0, 1.0) and inner.leakage("own")["other"] == pytest.approx(0.2)
    one_way = found.within(0.0, 2.0)
    assert one_way.low is None and len(one_way.halves) == 1 and one_way.effects["own"] == pytest.approx(1.0)
    assert not any(name.startswith("low:") for name in one_way.as_scores("own"))


def test_a_single_sample_has_no_error() -> None:
    found = Measurement.of((-1.0, 0.0, 1.0), {"own": torch.tensor([[-1.0], [0.0], [1.0]])}, {"own": 1.0})
    assert found.errors["own"] == 0.0 and found.effects["own"] == 1.0 and isinstance(found.parts[0], Part)


def test_directions_are_accepted_and_reported_on_other_samples() -> None:
    """Seeds from each first one on, as many as are looked at, never meet."""
    first = (ACCEPTANCE_SEED, REPORT_SEED, SCREEN_SEED, _CORRECTION_SEED, MEASURED_SEED)
    spans = [set(range(seed, seed + max(SAMPLES, 512))) for seed in first]
    assert ACCEPTANCE_SEED != REPORT_SEED and sum(map(len, spans)) == len(set().union(*spans))


def test_a_file_of_an_older_editkit_is_judged_again_before_it_is_offered() -> None:
    old = {"effect:own": 1.0, "leakage": 0.1, "monotonicity": 1.0}
    (said,) = Bars().failures(old, "own")
    assert "not in halves" in said
    one = Direction(name="own", vector=torch.ones(2), space="w", generator="g", scores=old)
    assert told(one) == ""


def test_a_few_words_say_both_halves() -> None:
    figures = seen([-2, -1, 0, 3, 6], [-0.1, -0.05, 0, 0.1, 0.2]).as_scores("own")
    one = Direction(name="own", vector=torch.ones(2), space="w", generator="g", scores=figures, target="own")
    assert told(one) == "sd a unit low +0.50, high +1.50, leakage 0.40"

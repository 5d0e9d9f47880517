"""Where a range ends: pictures are compared with the generator's own samples, before an edit and after it."""

from __future__ import annotations

import pytest
import torch
from linear_generator import LinearGenerator

from directions import remembered
from directions.likeness import Likeness, crossing
from directions.remembered import Remembered
from directions.score import sample_latents
from editkit.direction import Direction
from editkit.latent import Latent


@pytest.fixture(scope="module")
def G() -> LinearGenerator:
    return LinearGenerator(resolution=16)


@pytest.fixture(scope="module")
def likeness(G: LinearGenerator) -> Likeness:
    return Likeness.of(G, samples=300)


def push(G: LinearGenerator, low: float, high: float) -> Direction:
    vector = torch.tensor([1.0, 0, 0, 0])
    return Direction(name="push", vector=vector, space="w", generator=G.spec.id, strength=(low, high))


def test_the_bound_is_crossed_on_a_straight_line_between_two_looks() -> None:
    def strain(strength: float) -> float:
        return 1 + 0.1 * abs(strength)

    assert crossing([0, 1, 2, 3], strain, 1.25) == pytest.approx(2.5)
    assert crossing([0, -1, -2, -3], strain, 1.05) == pytest.approx(-0.5)
    assert crossing([0, 1, 2], strain, 1.25) == 2
    assert crossing([0.0, 0.0, 0.0], strain, 1.25) == 0.0, "a direction with one side only"


def test_samples_are_near_and_what_they_never_are_is_far(G: LinearGenerator, likeness: Likeness) -> None:
    fresh = sample_latents(G, samples=40, seed=1)
    near = likeness.distances(G, fresh)
    assert near.shape == (2, 40)
    wild = Latent(space="w", codes=G.w_avg + 8 * (fresh.tensor - G.w_avg), generator=G.spec.id)
    assert bool((likeness.distances(G, wild).median(1).values > 2 * near.median(1).values).all())


def test_a_range_is_cut_where_pictures_leave_the_samples(G: LinearGenerator, likeness: Likeness) -> None:
    low, high = likeness.ends(G, push(G, -20.0, 10.0))
    assert -5 < low < -0.1 and 0.1 < high < 2.5
    inside = push(G, low / 4, high / 4)
    assert likeness.ends(G, inside) == inside.strength, "a short range stays as it is"
    wider = likeness.ends(G, push(G, -20.0, 10.0), farther=2.0)
    assert wider[0] < low and wider[1] > high


def test_ends_are_remembered_and_nothing_is_sampled_for_them_again(
    G: LinearGenerator, likeness: Likeness, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Remembered(tmp_path / "kept.json")
    found = memory.ends(G, push(G, -20.0, 10.0), lambda: likeness)
    memory.keep()
    again = Remembered(tmp_path / "kept.json")
    assert again.ends(G, push(G, -20.0, 10.0), lambda: pytest.fail("it was sampled again")) == found
    monkeypatch.setattr(remembered, "FARTHER", 2.0)
    assert again.ends(G, push(G, -20.0, 10.0), lambda: likeness) == found and again.known == 1, "another bound: anew"

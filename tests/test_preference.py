"""A direction from what is liked and disliked."""

from __future__ import annotations

import pytest
import torch

from directions import bank, preference
from directions.boundary import LEAST
from directions.preference import from_examples, judged, told
from editkit.direction import Direction
from editkit.edits import Edit, apply_edits
from editkit.errors import DirectionError, GeneratorMismatchError
from editkit.generator import NetworkGenerator, random_generator
from editkit.latent import Latent
from editkit.page.grouping import MINE, group_of
from editkit.sampling import sample_w


@pytest.fixture(scope="module")
def G() -> NetworkGenerator:
    return random_generator()


def sides(G: NetworkGenerator, count: int, other: int) -> tuple[Latent, Latent]:
    """Samples with much, and with little, of the first component of w."""
    latents = sample_w(G, range(200))
    order = latents.tensor[:, 0, 0].argsort()
    return latents[order[-count:].tolist()], latents[order[:other].tolist()]


def test_it_leads_from_the_disliked_to_the_liked(G: NetworkGenerator) -> None:
    liked, disliked = sample_w(G, [1, 2, 3]), sample_w(G, [4, 5])
    made = from_examples(G, "mine", liked, disliked)
    assert made.method == "examples" and made.reference == "3 liked, 2 disliked" and not made.touches_placement
    away = (liked.tensor.mean(0) - disliked.tensor.mean(0))[1:]
    assert torch.nn.functional.cosine_similarity(made.vector[1:].flatten(), away.flatten(), dim=0) > 0.9999
    moved = apply_edits(disliked, Edit(made, 1.0)).tensor.mean(0)[1:]
    aim = liked.tensor.mean(0)[1:]
    assert (moved - aim).norm() < (disliked.tensor.mean(0)[1:] - aim).norm()
    assert "accuracy" not in made.scores and "too few to test" in told(made, None)


def test_with_eight_of_each_it_is_a_boundary_that_is_tested(G: NetworkGenerator) -> None:
    made = from_examples(G, "mine", *sides(G, 12, LEAST))
    assert made.method == "examples, linear svm" and group_of(made) == MINE and not made.touches_placement
    assert made.reference.startswith("12 liked, 8 disliked; Shen")
    assert made.scores["held_out"] == 6 and made.scores["accuracy"] == 1.0
    assert 0.4 < made.scores["accuracy_low"] < made.scores["accuracy_high"] == 1.0
    liked, disliked = sides(G, 40, 40)
    along = lambda latents: (latents.tensor * made.vector).sum((1, 2))  # noqa: E731
    assert (along(liked).min() > along(disliked).mean()) and along(disliked).max() < along(liked).mean()
    said = told(made, None)
    assert "A linear SVM between 12 liked, 8 disliked" in said and "95 % interval" in said and "Not judged" in said


@pytest.mark.parametrize(("liked", "disliked"), [(LEAST, LEAST - 1), (LEAST - 1, LEAST), (20, 0)])
def test_with_fewer_on_either_side_it_is_the_difference_of_means(
    G: NetworkGenerator, liked: int, disliked: int
) -> None:
    up, down = sides(G, liked, max(1, disliked))
    made = from_examples(G, "mine", up, down if disliked else None)
    assert made.method == "examples" and made.scores == {}


def test_examples_with_rows_of_their_own_work_too(G: NetworkGenerator) -> None:
    up, down = sides(G, LEAST, LEAST)
    tensor = up.as_w_plus().tensor.clone()
    tensor[:, -1] = 0.5
    up = Latent(space="w+", codes=tensor, generator=up.generator)
    assert from_examples(G, "mine", up, down).scores["held_out"] == 4


def test_it_is_judged_where_that_takes_seconds(G: NetworkGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preference, "_PATIENCE", 1e9)  # whatever else this machine does
    made = from_examples(G, "mine", *sides(G, 10, 10))
    found = judged(G, made)
    assert found is not None and found.measurement.samples == 16
    kept = found.applied(made)
    assert kept.target == found.target and kept.scores["accuracy"] == made.scores["accuracy"]
    said = told(kept, found)
    assert f"it moves {found.target} most" in said and "leakage" in said
    assert f"Range: -{made.strength[1]:g} to +{made.strength[1]:g}, as far as samples go; look at the strip." in said
    assert "afe range" not in said, "it is not cut where faces break"
    assert bank.user_bank(G.spec.id).exists()
    monkeypatch.setattr(preference, "_PATIENCE", 0.0)
    assert judged(G, made) is None


def test_without_dislikes_it_leads_from_the_mean(G: NetworkGenerator) -> None:
    liked = sample_w(G, [1])
    made = from_examples(G, "mine", liked)
    away = (liked.tensor[0] - G.w_avg)[1:]
    assert torch.nn.functional.cosine_similarity(made.vector[1:].flatten(), away.flatten(), dim=0) > 0.9999


@pytest.mark.parametrize("count", [3, 20])
def test_a_unit_is_a_standard_deviation_of_w(G: NetworkGenerator, count: int) -> None:
    made: Direction = from_examples(G, "mine", *sides(G, count, count))
    unit = made.vector / made.vector.norm()
    spread = (sample_w(G, range(5000, 6000)).tensor * unit).sum((1, 2)).std()
    assert made.vector.norm() == pytest.approx(float(spread), rel=0.1)
    assert made.strength[0] == -made.strength[1] and 0 < made.strength[1] <= 3


def test_the_same_on_both_sides_is_refused(G: NetworkGenerator) -> None:
    with pytest.raises(DirectionError, match="the same on average"):
        from_examples(G, "mine", sample_w(G, [1]), sample_w(G, [1]))
    many = sample_w(G, range(LEAST))
    with pytest.raises(DirectionError, match="the same on average"):
        from_examples(G, "mine", many, many)


def test_another_generator_is_refused(G: NetworkGenerator) -> None:
    with pytest.raises(GeneratorMismatchError):
        from_examples(G, "mine", sample_w(random_generator(seed=9), [1]))

"""A direction from what is liked and disliked."""

from __future__ import annotations

import pytest
import torch

from directions.preference import from_examples
from editkit.edits import Edit, apply_edits
from editkit.errors import DirectionError, GeneratorMismatchError
from editkit.generator import NetworkGenerator, random_generator
from editkit.sampling import sample_w


@pytest.fixture(scope="module")
def G() -> NetworkGenerator:
    return random_generator()


def test_it_leads_from_the_disliked_to_the_liked(G: NetworkGenerator) -> None:
    liked, disliked = sample_w(G, [1, 2, 3]), sample_w(G, [4, 5])
    made = from_examples(G, "mine", liked, disliked)
    assert made.method == "examples" and made.reference == "3 liked, 2 disliked" and not made.touches_placement
    away = (liked.tensor.mean(0) - disliked.tensor.mean(0))[1:]
    assert torch.nn.functional.cosine_similarity(made.vector[1:].flatten(), away.flatten(), dim=0) > 0.9999
    moved = apply_edits(disliked, Edit(made, 1.0)).tensor.mean(0)[1:]
    aim = liked.tensor.mean(0)[1:]
    assert (moved - aim).norm() < (disliked.tensor.mean(0)[1:] - aim).norm()


def test_without_dislikes_it_leads_from_the_mean(G: NetworkGenerator) -> None:
    liked = sample_w(G, [1])
    made = from_examples(G, "mine", liked)
    away = (liked.tensor[0] - G.w_avg)[1:]
    assert torch.nn.functional.cosine_similarity(made.vector[1:].flatten(), away.flatten(), dim=0) > 0.9999


def test_a_unit_is_a_standard_deviation_of_w(G: NetworkGenerator) -> None:
    made = from_examples(G, "mine", sample_w(G, [1, 2]), sample_w(G, [3]))
    unit = made.vector / made.vector.norm()
    spread = (sample_w(G, range(5000, 6000)).tensor * unit).sum((1, 2)).std()
    assert made.vector.norm() == pytest.approx(float(spread), rel=0.1)


def test_the_same_on_both_sides_is_refused(G: NetworkGenerator) -> None:
    with pytest.raises(DirectionError, match="the same on average"):
        from_examples(G, "mine", sample_w(G, [1]), sample_w(G, [1]))


def test_another_generator_is_refused(G: NetworkGenerator) -> None:
    with pytest.raises(GeneratorMismatchError):
        from_examples(G, "mine", sample_w(random_generator(seed=9), [1]))

"""The strength of augmentation: its steps, its ends, ranks, and its state."""

from __future__ import annotations

import pytest
import torch

from editkit.errors import UsageError
from train.adaptive import AdaptiveOptions, AdaptiveStrength


def run(controller: AdaptiveStrength, logits: torch.Tensor, batches: int) -> None:
    for _ in range(batches):
        controller.observe(logits)
        controller.step(len(logits))


def together(ranks: list[AdaptiveStrength], logits: torch.Tensor) -> None:
    """A batch shared among ranks."""
    parts = logits.chunk(len(ranks))
    total = torch.tensor([logits.sign().sum(), len(logits)], dtype=torch.float64)
    for rank, part in zip(ranks, parts, strict=True):
        rank.observe(part)
        rank.step(len(logits), reduce=lambda tensor: tensor.copy_(total))


def test_it_goes_from_0_to_1_in_the_time_given_and_stops_there() -> None:
    controller = AdaptiveStrength(AdaptiveOptions(speed_kimg=1.0, interval=4))
    run(controller, torch.ones(10, 1), 3)
    assert controller.strength == 0 and controller.overfitting is None
    run(controller, torch.ones(10, 1), 1)
    assert controller.strength == pytest.approx(40 / 1000) and controller.overfitting == 1
    run(controller, torch.ones(10, 1), 150)
    assert controller.strength == 1
    run(controller, -torch.ones(10, 1), 400)
    assert controller.strength == 0


def test_at_the_target_it_stays() -> None:
    controller = AdaptiveStrength(AdaptiveOptions(interval=1), strength=0.25)
    run(controller, torch.tensor([1.0, 1.0, 1.0, 1.0, -1.0]), 1)  # r_t = 0.6
    assert controller.strength == 0.25


def test_two_ranks_agree_with_one() -> None:
    logits = torch.tensor([2.0, 1.0, 0.5, -1.0, 3.0, 0.1, 0.2, 0.3])
    alone = AdaptiveStrength(AdaptiveOptions(interval=1), strength=0.5)
    run(alone, logits, 1)
    ranks = [AdaptiveStrength(AdaptiveOptions(interval=1), strength=0.5) for _ in range(2)]
    together(ranks, logits)
    assert [rank.strength for rank in ranks] == [alone.strength] * 2
    assert alone.overfitting == ranks[0].overfitting == 0.75


def test_ranks_that_are_taken_up_between_two_adjustments_go_on_as_they_would_have() -> None:
    """From one file, the first rank's, though the ranks saw opposite signs."""
    logits = torch.tensor([1.0] * 4 + [-1.0] * 4)
    ranks = [AdaptiveStrength(strength=0.5) for _ in range(2)]
    for _ in range(3):
        together(ranks, logits)
    taken_up = [AdaptiveStrength() for _ in range(2)]
    for rank in taken_up:
        rank.load_state_dict(ranks[0].state_dict())
    for pair in (ranks, taken_up):
        together(pair, logits)
    assert ranks[0].overfitting == 0
    assert {str(rank.state_dict()) for rank in (*ranks, *taken_up)} == {str(ranks[0].state_dict())}


def test_the_state_goes_on_where_it_was() -> None:
    first, second = AdaptiveStrength(), AdaptiveStrength()
    run(first, torch.tensor([1.0, 1.0, 1.0, -1.0]), 6)
    second.load_state_dict(first.state_dict())
    second.observe(-torch.ones(4))  # a batch that diverges, and is given up
    second.load_state_dict(first.state_dict())
    for controller in (first, second):
        run(controller, torch.ones(4), 2)
    assert first.state_dict() == second.state_dict() and first.strength > 0


def test_bad_options_and_no_logits() -> None:
    with pytest.raises(UsageError, match="target"):
        AdaptiveOptions(target=1.0)
    with pytest.raises(UsageError, match="no logits"):
        AdaptiveStrength(AdaptiveOptions(interval=1)).step(4)

"""What the starter's discriminator is shown: the whole picture moved, and a square from close by."""

from __future__ import annotations

import copy
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from starter_fixtures import CONFIG, Toy, equal, plain_pictures, started, taken_up

from editkit.errors import CheckpointError, UsageError
from train.feature_objectives import feature_distance
from train.starter_config import changed
from train.starter_looks import Looks, moved, windows


@pytest.fixture
def images() -> np.ndarray:
    return plain_pictures()


def test_pictures_are_moved_by_whole_pixels() -> None:
    picture = torch.arange(16.0).view(1, 1, 4, 4) + 1
    found = moved(picture.expand(3, 1, 4, 4), torch.tensor([[0, 0], [1, 0], [0, -2]]))
    assert torch.equal(found[0], picture[0])
    assert torch.equal(found[1, 0, 1:], picture[0, 0, :3]) and not found[1, 0, 0].any()
    assert torch.equal(found[2, 0, :, :2], picture[0, 0, :, 2:]) and not found[2, 0, :, 2:].any()


def test_a_square_is_what_lies_at_its_corner() -> None:
    picture = torch.arange(32.0).view(1, 2, 4, 4).expand(2, 2, 4, 4)
    found = windows(picture, torch.tensor([[0, 0], [2, 1]]), 2)
    assert torch.equal(found[0], picture[0, :, :2, :2])
    assert torch.equal(found[1], picture[0, :, 2:, 1:3])


def test_squares_lie_everywhere_and_repeat_by_position() -> None:
    looks = Looks(Toy(), side=16, shift=2, close=12)
    drawn = looks.drawn(500, seed=1, seen=64)
    assert set(drawn["corners"].flatten().tolist()) == set(range(5))
    assert set(drawn["shifts"].flatten().tolist()) == set(range(-2, 3))
    again, other = looks.drawn(500, seed=1, seen=64), looks.drawn(500, seed=1, seen=68)
    for name, where in drawn.items():
        assert torch.equal(where, again[name]) and not torch.equal(where, other[name])


def test_what_is_near_is_judged_beside_the_whole(images: np.ndarray) -> None:
    near, far = started(CONFIG, images), started(replace(CONFIG, close=0), images)
    real = near.batches.at(0)
    drawn = near.looks.drawn(4, seed=0, seen=0)
    both, whole = near.looks(real, drawn), far.looks(real, drawn)
    assert len(both) == 8 and all(map(torch.equal, both, whole))
    assert torch.equal(both[4], near.features(windows(real, drawn["corners"], CONFIG.close))[0])
    assert near.discriminator.judge(both).shape[1] == 2 * far.discriminator.judge(whole).shape[1]


@pytest.mark.parametrize(("before", "after"), [(0, 8), (8, 0), (8, 12)])
def test_a_look_is_added_or_taken_away(before: int, after: int, images: np.ndarray) -> None:
    training = started(replace(CONFIG, close=before), images)
    for _ in range(3):
        training.step()
    state = training.state_dict()
    config = {**state["config"], "close": after}
    resumed = taken_up(state, images, replace(CONFIG, close=after))
    kept = {name for name in training.discriminator.state_dict() if name in resumed.discriminator.state_dict()}
    assert kept and all(equal(resumed.discriminator.state_dict()[n], state["discriminator"][n]) for n in kept)
    fresh = not resumed.optimizers["discriminator"].state
    assert fresh == (0 in (before, after)) and resumed.optimizers["synthesis"].state
    resumed.step()
    assert resumed.state_dict()["config"] == config


def test_a_square_is_smaller_than_the_picture() -> None:
    assert changed(CONFIG, ["close=15"]).close == 15 and changed(CONFIG, ["close=0"]).close == 0
    for close in ("16", "7", "-1"):
        with pytest.raises(UsageError, match=f"from 8 up to below 16 pixels, got {close}"):
            changed(CONFIG, [f"close={close}"])


def test_a_damaged_discriminator_is_refused(images: np.ndarray) -> None:
    training = started(CONFIG, images)
    state = training.state_dict()
    for lost in ("scales.0.out.weight", "scales.5.out.weight"):
        damaged = {name: x for name, x in state["discriminator"].items() if name != lost}
        with pytest.raises(CheckpointError, match=re.escape(lost)):
            training.load_state_dict(state | {"discriminator": damaged})


def test_real_and_made_pictures_are_seen_alike_and_features_compared_in_the_mean(
    images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    training, seen = started(CONFIG, images), []
    look = Looks.__call__

    def watched(looks: Looks, pictures: torch.Tensor, drawn: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        seen.append((drawn, [x.detach() for x in look(looks, pictures, drawn)]))
        return look(looks, pictures, drawn)

    monkeypatch.setattr(Looks, "__call__", watched)
    report = training.step()
    (first, real), (second, made) = seen
    assert equal(first["shifts"], second["shifts"]) and equal(first["corners"], second["corners"])
    wanted = (feature_distance(made[:4], real[:4]) + feature_distance(made[4:], real[4:])) / 2
    torch.testing.assert_close(report["features"], wanted)


def test_a_state_can_be_gone_back_to_twice(images: np.ndarray) -> None:
    training = started(CONFIG, images)
    training.step()
    state = copy.deepcopy(training.state_dict())
    kept = copy.deepcopy(state)
    training.load_state_dict(state)
    training.step()
    assert equal(state, kept)

"""Linear separability: its formula by hand, extremes, of generators, and bad input."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from linear_generator import LinearGenerator
from torch import Tensor

from editkit.cli import main
from editkit.errors import UsageError
from editkit.generator import random_generator
from editkit.networks.features import FaceAttributes
from train.metrics.panel import measure_panel
from train.metrics.separability import attribute_entropy, conditional_entropy, linear_separability, separability


def test_conditional_entropy_by_hand() -> None:
    seen = np.array([True, True, True, False])
    assert conditional_entropy(seen, seen) == 0
    alone = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert conditional_entropy(seen, np.ones(4, bool)) == pytest.approx(alone)


def test_a_linear_attribute_is_separable_and_a_ring_is_not() -> None:
    codes = torch.randn(400, 3)
    assert attribute_entropy(codes, codes[:, 0]) < 0.01
    assert attribute_entropy(codes, codes.norm(dim=1) - 1.6) > 0.4
    assert separability([0.0, math.log(2)]) == pytest.approx(2)


def test_bad_input() -> None:
    with pytest.raises(UsageError, match="80 samples"):
        attribute_entropy(torch.randn(20, 10), torch.randn(20))
    with pytest.raises(UsageError, match="both sides"):
        attribute_entropy(torch.randn(50, 2), torch.ones(50))


def seen_by(monkeypatch: pytest.MonkeyPatch, age: Any, gender: Any) -> None:
    """The classifiers' place is taken by functions of pictures, [N] each."""

    def attributes(images: Tensor, *, network: Any) -> FaceAttributes:
        flat = images.flatten(1)
        zeros = torch.zeros(len(flat))
        odds = age(flat)
        ages = torch.stack([zeros, zeros, odds, odds, zeros - 99, zeros - 99], 1)  # log-odds of 40 and above: odds
        return FaceAttributes(age_logits=ages, gender_logit=gender(flat), yaw=zeros, landmarks=torch.zeros(1))

    monkeypatch.setattr("directions.attributes.face_attributes", attributes)


def test_of_a_generator_whose_attributes_are_planes_or_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of this generator are linear in z and in w: a plane of pixels is a plane of codes."""
    G = LinearGenerator(z_dim=3, w_dim=3)
    G.w_avg, G.paint = torch.zeros(3), G.paint * 0.5
    normals = torch.randn(2, 192, generator=torch.Generator().manual_seed(0))
    seen_by(monkeypatch, lambda flat: flat @ normals[0], lambda flat: flat @ normals[1])
    linear = linear_separability(G, samples=400, batch=64)
    assert set(linear.values) == {"z", "w"} and set(linear.entropies["z"]) == {"age", "gender_presentation"}
    assert 1 <= linear.values["z"] < 1.05 and 1 <= linear.values["w"] < 1.05
    seen_by(monkeypatch, lambda flat: (flat * 1e4).sin().sum(1), lambda flat: flat @ normals[1])
    noise = linear_separability(G, samples=400, batch=64, spaces=["w"])
    assert noise.entropies["w"]["age"] > 0.6 and noise.values["w"] == pytest.approx(
        math.exp(sum(noise.entropies["w"].values()))
    )  # ln 2 = 0.693 is what nothing is known of
    seen_by(monkeypatch, lambda flat: flat @ normals[0], lambda flat: flat[:, 0] * 0 + 3)
    with pytest.raises(UsageError, match=r"gender_presentation of .linear.*both sides"):
        linear_separability(G, samples=400)


def test_the_command_names_it_after_the_network(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the real heads: what they see in coloured noise of three dimensions."""
    G = LinearGenerator(z_dim=3, w_dim=3, resolution=16)
    G.w_avg, G.paint = torch.zeros(3), G.paint * 4
    monkeypatch.setattr("editkit.generator.load_generator", lambda source, device: G)
    assert main(["metrics", "run", "--metrics", "separability", "--samples", "64", "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["metrics"]) == {"ls_faces_z", "ls_faces_w"}
    for space in ("z", "w"):
        entropies = found["separability"][space]
        assert found["metrics"][f"ls_faces_{space}"] == pytest.approx(math.exp(sum(entropies.values())))
        assert all(0 < value < math.log(2) for value in entropies.values())


def test_bad_use_of_the_whole() -> None:
    G = LinearGenerator()
    with pytest.raises(UsageError, match="32 samples at least, got 31"):
        measure_panel(G, metrics=["separability"], samples=31)
    with pytest.raises(UsageError, match="got w\\+"):
        linear_separability(G, spaces=["w+"])
    with pytest.raises(UsageError, match="1 channel"):
        linear_separability(random_generator(resolution=32, img_channels=1), samples=8192)

"""Kernel distance, precision and recall, inception score, path length: the given cases, definitions, and bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import fixture_path
from torch import Tensor

from editkit.errors import UsageError
from editkit.generator import random_generator
from train.metrics.inception_score import inception_score, probabilities_of
from train.metrics.kid import kernel_distance, squared_discrepancy, subsets
from train.metrics.ppl import path_length, slerp, trimmed_mean
from train.metrics.precision_recall import precision_recall


@pytest.fixture(scope="module")
def arrays() -> dict[str, Tensor]:
    """The full set, or all of it but the features themselves."""
    path = fixture_path("metrics/feature_metrics.npz") or fixture_path("metrics/feature_metrics_small.npz")
    assert path is not None
    with np.load(path) as stored:
        return {key: torch.from_numpy(value) for key, value in stored.items()}


@pytest.fixture
def given(fixture_file: Callable[[str], Path]) -> dict[str, Any]:
    return json.loads(fixture_file("metrics/feature_metrics.json").read_text())


def test_the_given_distances(arrays: dict[str, Tensor], given: dict[str, Any]) -> None:
    if "real" not in arrays:  # the features are in the full set only; definitions are tested below
        assert set(given["pr_k3_fp32dist"]) == {"precision", "recall"}
        return
    real, fake = arrays["real"], arrays["fake"]
    pairs = zip(arrays["kid_real_idx"].long(), arrays["kid_fake_idx"].long())
    found = np.mean([squared_discrepancy(real[r], fake[f]) for r, f in pairs])
    assert found == pytest.approx(given["kid"], rel=1e-4)
    for name, neighbours, dtype in (
        ("pr_k3_fp32dist", 3, torch.float32),
        ("pr_k3_fp16dist", 3, torch.float16),
        ("pr_k5_fp32dist", 5, torch.float32),
    ):
        half = (real.half().float(), fake.half().float())  # the features were rounded first
        shares = precision_recall(*half, neighbours=neighbours, rows=250, distance_dtype=dtype)
        tolerance = 2e-3 if dtype == torch.float16 else 1e-6  # one picture of 500 may fall on the other side
        assert shares.precision == pytest.approx(given[name]["precision"], abs=tolerance), name
        assert shares.recall == pytest.approx(given[name]["recall"], abs=tolerance), name


def test_the_given_score_and_path_length(arrays: dict[str, Tensor], given: dict[str, Any]) -> None:
    mean, deviation = inception_score(arrays["is_probs"], splits=given["is_num_splits"])
    assert mean == pytest.approx(given["is_mean"], rel=1e-5) and deviation == pytest.approx(given["is_std"], rel=1e-5)
    assert trimmed_mean(arrays["ppl_dist"].numpy()) == pytest.approx(given["ppl_from_dist"], rel=1e-6)
    a, b, t = arrays["slerp_a"], arrays["slerp_b"], arrays["slerp_t"]
    assert (slerp(a, b, t) - arrays["slerp_y"]).abs().max() <= 1e-6
    assert (slerp(a, b, t + 1e-4) - arrays["slerp_y_eps"]).abs().max() <= 1e-6
    distances = (arrays["lpips_t0"] - arrays["lpips_t1"]).square().sum(1) / 1e-4**2
    assert torch.allclose(distances, arrays["lpips_dist"], rtol=1e-5)


def test_the_kernel_distance_is_its_definition() -> None:
    """Equation 4 of Bińkowski et al., term by term."""
    real, fake = torch.randn(5, 3).double(), torch.randn(5, 3).double() + 0.5
    kernel = lambda x, y: (float(x @ y) / 3 + 1) ** 3  # noqa: E731
    within = sum(kernel(s[i], s[j]) for s in (real, fake) for i in range(5) for j in range(5) if i != j) / 20
    across = sum(kernel(x, y) for x in real for y in fake) * 2 / 25
    assert squared_discrepancy(real, fake) == pytest.approx(within - across, rel=1e-10)
    assert kernel_distance(real, fake, count=2) == pytest.approx(within - across, rel=1e-10)  # every subset is all


def test_the_kernel_distance_sees_a_shift_and_averages_to_zero_without_one() -> None:
    features = torch.randn(400, 8)
    same = kernel_distance(features[:200], features[200:], largest=100)
    assert abs(same) < 0.1 < kernel_distance(features[:200], features[200:] + 1, largest=100)
    chosen = list(subsets(50, 40, count=3, largest=30))
    assert all(len(set(r)) == len(set(f)) == 30 and max(f) < 40 for r, f in chosen)


def test_precision_and_recall_by_hand() -> None:
    """Reals on a line; one fake on it, one a step outside, one far off: two of three are precise, and recall."""
    real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    fake = torch.tensor([[1.5], [3.9], [50.0]])
    found = precision_recall(real, fake, neighbours=1, rows=2)
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == 1.0  # the balls of 1.5 and 3.9 reach 2.4 far
    same = precision_recall(real, real, neighbours=1)
    assert same.precision == same.recall == 1
    assert precision_recall(real, real + 100, neighbours=1).precision == 0


def test_the_inception_score_of_perfect_and_useless_samples() -> None:
    sure = torch.eye(4).repeat(5, 1)
    assert inception_score(sure, splits=5)[0] == pytest.approx(4, rel=1e-9)
    assert inception_score(torch.full((20, 4), 0.25), splits=2) == (pytest.approx(1), pytest.approx(0))
    assert probabilities_of(torch.tensor([[0.0, np.log(3)]])).tolist() == [[pytest.approx(0.25), pytest.approx(0.75)]]


class Pixels:
    """A distance that is a plain square, so that path lengths scale with the image."""

    name, unit = "pixels", "square"

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        return (first.double() - second.double()).square().mean((1, 2, 3))

    def prepare(self, target: Tensor) -> Any:
        raise AssertionError("not used")


def test_path_length_is_the_squared_slope() -> None:
    """On a smooth generator d / epsilon^2 hardly depends on epsilon; Z and W, end and full all measure something."""
    G = random_generator(resolution=32)
    options: dict[str, Any] = {"samples": 6, "batch": 4}
    coarse, fine = (path_length(G, Pixels(), epsilon=e, **options) for e in (1e-2, 3e-3))
    assert coarse == pytest.approx(fine, rel=0.3) and fine > 0
    assert path_length(G, Pixels(), epsilon=1e-2, samples=6, batch=3) == pytest.approx(coarse, rel=1e-3)
    assert path_length(G, Pixels(), epsilon=1e-2, space="z", sampling="full", **options) > 0


def test_bad_input() -> None:
    features = torch.zeros(4, 2)
    with pytest.raises(UsageError, match="kernel distance"):
        kernel_distance(features, torch.zeros(4, 3))
    with pytest.raises(UsageError, match="kernel distance"):
        kernel_distance(features[:1], features)
    with pytest.raises(UsageError, match="3 neighbours"):
        precision_recall(features[:3], features)
    with pytest.raises(UsageError, match="one length"):
        precision_recall(features, torch.zeros(4, 3))
    with pytest.raises(UsageError, match="probabilities"):
        inception_score(torch.ones(10, 3))
    with pytest.raises(UsageError, match="10 parts"):
        inception_score(torch.ones(3, 3) / 3)
    with pytest.raises(UsageError, match="samples"):
        path_length(random_generator(), Pixels(), samples=0)

"""The Frechet distance: the given case, closed forms, and bad input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import fixture_path

from editkit.errors import UsageError
from train.metrics.frechet import FeatureStatistics, distance_from, fd_faces, frechet_distance, statistics


def gaussian(mean: list[float], covariance: list[list[float]]) -> FeatureStatistics:
    return FeatureStatistics(mean=np.array(mean), covariance=np.array(covariance), count=100)


def test_the_formula_on_independent_features() -> None:
    # Diagonal covariances: the sum over features of (difference of means)^2 + (difference of deviations)^2.
    a, b = gaussian([0.0, 1.0], [[4.0, 0.0], [0.0, 9.0]]), gaussian([2.0, 1.0], [[1.0, 0.0], [0.0, 16.0]])
    assert frechet_distance(a, b) == pytest.approx(4.0 + 1.0 + 1.0, rel=1e-12)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-12)


def test_correlated_features_against_the_defining_square_root() -> None:
    random = np.random.default_rng(0)
    a, b = (statistics(random.normal(size=(300, 6)) @ random.normal(size=(6, 6)) + shift) for shift in (0.0, 0.4))
    # The eigenvalues of a product of two covariances are real and positive: the trace of its root is theirs.
    root = np.sqrt(np.linalg.eigvals(a.covariance @ b.covariance).real).sum()
    wanted = np.square(a.mean - b.mean).sum() + np.trace(a.covariance + b.covariance) - 2 * root
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-9)


def test_equal_sets_are_at_zero_also_where_the_covariance_is_singular() -> None:
    features = np.random.default_rng(1).normal(size=(5, 20))  # rank 4 at most
    found = statistics(features)
    assert frechet_distance(found, found) == pytest.approx(0.0, abs=1e-6)


def test_statistics_divide_by_the_count() -> None:
    features = np.random.default_rng(2).normal(size=(7, 3))
    found = statistics(torch.from_numpy(features))
    np.testing.assert_allclose(found.covariance, np.cov(features.T, ddof=0), rtol=1e-12)
    np.testing.assert_allclose(found.mean, features.mean(0), rtol=1e-12)
    assert found.count == 7


def test_the_given_statistics(fixture_file: Callable[[str], Path]) -> None:
    """The reference value, computed elsewhere, to 1e-6 relative."""
    data = np.load(fixture_file("metrics/frechet.npz"))
    real, fake = (
        FeatureStatistics(mean=data[f"mean_{name}"], covariance=data[f"cov_{name}"], count=count)
        for name, count in (("real", 600), ("fake", 500))
    )
    assert frechet_distance(real, fake) == pytest.approx(float(data["distance"]), rel=1e-6)
    full = fixture_path("metrics/feature_metrics.npz")
    if full is not None:  # the features themselves are in the full set only
        features = np.load(full)
        found = frechet_distance(statistics(features["real"]), statistics(features["fake"]))
        assert found == pytest.approx(float(data["distance"]), rel=1e-6)


@pytest.mark.parametrize("features", [np.zeros((1, 4)), np.zeros(4), np.full((3, 4), np.nan)])
def test_features_that_have_no_statistics(features: np.ndarray) -> None:
    with pytest.raises(UsageError, match="Statistics need"):
        statistics(features)


def test_features_of_different_length() -> None:
    with pytest.raises(UsageError, match="same length"):
        frechet_distance(statistics(np.eye(3)), statistics(np.eye(4)))


def test_fd_faces_sees_blur_and_is_zero_for_equal_sets() -> None:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(24, 3, 8, 8, generator=generator) * 2 - 1
    pictures = torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bilinear")
    pictures = (pictures + 0.2 * torch.randn(pictures.shape, generator=generator)).clamp(-1, 1)
    little, much = (torch.nn.functional.avg_pool2d(pictures, w, stride=1, padding=w // 2) for w in (3, 9))
    assert fd_faces(pictures, pictures) == pytest.approx(0.0, abs=1e-4)
    assert fd_faces(pictures, iter(pictures.split(7))) == pytest.approx(0.0, abs=1e-4)  # batches from anywhere
    assert 0.01 < fd_faces(pictures, little) < fd_faces(pictures, much)


def test_fd_faces_of_nothing() -> None:
    with pytest.raises(UsageError, match="got none"):
        fd_faces([], torch.zeros(2, 3, 64, 64))


def test_a_distance_from_pictures_looks_at_them_once() -> None:
    def features(images: torch.Tensor) -> torch.Tensor:
        looked.append(len(images))
        return images.flatten(1)

    looked: list[int] = []
    real, made = torch.randn(2, 10, 1, 2, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    distance = distance_from(real, features, batch=4)
    assert looked == [4, 4, 2]
    wanted = frechet_distance(statistics(made.flatten(1)), statistics(real.flatten(1)))
    assert distance(made) == pytest.approx(wanted, rel=1e-6) and distance(real) == pytest.approx(0.0, abs=1e-6)
    assert len(looked) == 9

"""Frechet distance between two sets of feature vectors, and ``fd_faces`` on the bundled feature network.

The distance is that between two Gaussians fitted to the sets (Dowson and Landau 1982; Heusel et al. 2017, equation 6):

    |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))

On features of the network trained here it is called ``fd_faces``. It is no FID: its numbers compare with nobody else's,
only with each other, at the same number of pictures (fewer pictures give larger values, see the card of the network).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from editkit.errors import UsageError
from editkit.perceptual import Bundled


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureStatistics:
    """Mean [D] and covariance [D, D] (divided by count) of ``count`` feature vectors, float64."""

    mean: np.ndarray
    covariance: np.ndarray
    count: int


def statistics(features: Tensor | np.ndarray) -> FeatureStatistics:
    """Fit a Gaussian to features [N, D]. Raises UsageError where N < 2 or a value is not finite."""
    values = np.asarray(features.detach().cpu() if isinstance(features, Tensor) else features, dtype=np.float64)
    if values.ndim != 2 or len(values) < 2:
        raise UsageError(f"Statistics need features [N, D] with N of 2 or more, got shape {values.shape}.")
    if not np.isfinite(values).all():
        raise UsageError("Statistics need finite features, got infinity or NaN: check the pictures.")
    mean = values.mean(axis=0)
    centred = values - mean
    return FeatureStatistics(mean=mean, covariance=centred.T @ centred / len(values), count=len(values))


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """The squared Frechet distance between the two Gaussians; zero or more.

    The trace of (C_a C_b)^(1/2) is the sum of the square roots of the eigenvalues of C_a^(1/2) C_b C_a^(1/2), which is
    symmetric: no complex square root, and it holds for singular covariances too. Raises UsageError where D differs.
    """
    if a.mean.shape != b.mean.shape:
        raise UsageError(f"Features of the same length are needed, got {a.mean.shape[0]} and {b.mean.shape[0]}.")
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ b.covariance @ root), 0.0, None)).sum()
    distance = np.square(a.mean - b.mean).sum() + np.trace(a.covariance) + np.trace(b.covariance) - 2.0 * shared
    return max(float(distance), 0.0)


def picture_statistics(
    images: Tensor | Iterable[Tensor], features: Callable[[Tensor], Tensor], *, batch: int = 64
) -> FeatureStatistics:
    """Statistics of ``features``, pictures to [N, D], over pictures, ``batch`` at a time.

    images: [N, C, R, R] in [-1, 1], or an iterable of such batches (for sets that do not fit into memory).
    Raises UsageError where there are fewer than 2.
    """
    batches = [images] if isinstance(images, Tensor) else images
    with torch.no_grad():
        found = [features(part).cpu() for whole in batches for part in whole.split(batch)]
    if not found:
        raise UsageError("A Frechet distance needs pictures, got none.")
    return statistics(torch.cat(found))


def distance_from(
    images: Tensor | Iterable[Tensor], features: Callable[[Tensor], Tensor], *, batch: int = 64
) -> Callable[[Tensor | Iterable[Tensor]], float]:
    """A function of other pictures: their Frechet distance from ``images``, which are looked at once, now.

    All as for ``picture_statistics``. What measures a training again and again takes this.
    """
    wanted = picture_statistics(images, features, batch=batch)

    def distance(others: Tensor | Iterable[Tensor]) -> float:
        return frechet_distance(picture_statistics(others, features, batch=batch), wanted)

    return distance


def fd_faces(
    images_a: Tensor | Iterable[Tensor],
    images_b: Tensor | Iterable[Tensor],
    *,
    network: Bundled | None = None,
    batch: int = 64,
) -> float:
    """Frechet distance between two sets of faces on the bundled embedding; zero for equal sets. Not FID.

    Each set is [N, 3, R, R] in [-1, 1], aligned as the generator's training faces, or an iterable of such batches.
    Compare only values at the same numbers of pictures; say the numbers beside the value.
    """
    return distance_from(images_b, (network or Bundled()).features, batch=batch)(images_a)

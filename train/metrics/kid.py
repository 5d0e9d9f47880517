"""Kernel distance between two sets of features; on Inception features it is KID.

Source: Bińkowski et al. 2018, "Demystifying MMD GANs", section 4 and equation 4: the unbiased squared maximum mean
discrepancy under the cubic kernel (x . y / D + 1)^3, averaged over random subsets.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from editkit.errors import UsageError

Subset = tuple[np.ndarray, np.ndarray]


def subsets(real: int, fake: int, *, count: int = 100, largest: int = 1000, seed: int = 0) -> Iterator[Subset]:
    """``count`` pairs of indices (of real, of fake), drawn without replacement, as many of each."""
    size = min(real, fake, largest)
    stream = np.random.RandomState(seed)
    for _ in range(count):
        picked = stream.choice(fake, size, replace=False)
        yield stream.choice(real, size, replace=False), picked


def kernel_distance(real: Tensor, fake: Tensor, *, count: int = 100, largest: int = 1000, seed: int = 0) -> float:
    """KID of features [N, D] and [M, D], not multiplied by anything; about 0 for equal distributions, also below.

    Args:
        count: subsets; largest: pictures in each. Fewer pictures than that make one subset size of the smaller set.

    Raises:
        UsageError: fewer than two pictures in a set, or features of different length.
    """
    _check(real, fake)
    chosen = subsets(len(real), len(fake), count=count, largest=largest, seed=seed)
    return float(
        np.mean([squared_discrepancy(real[torch.from_numpy(r)], fake[torch.from_numpy(f)]) for r, f in chosen])
    )


def squared_discrepancy(real: Tensor, fake: Tensor) -> float:
    """Equation 4 for two sets of the same size m >= 2."""
    m = len(real)
    x, y = fake.double(), real.double()
    within = _kernel(x, x) + _kernel(y, y)
    off_diagonal = within.sum() - within.diagonal().sum()
    return float(off_diagonal / (m * (m - 1)) - 2 * _kernel(x, y).mean())


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _check(real: Tensor, fake: Tensor) -> None:
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1] or min(len(real), len(fake)) < 2:
        raise UsageError(
            f"a kernel distance needs two sets of features [2 or more, D], got {tuple(real.shape)} and "
            f"{tuple(fake.shape)}"
        )

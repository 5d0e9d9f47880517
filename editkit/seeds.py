"""Per-sample randomness: the same seed gives the same code on any device and in any batch split.

Convention: numbers are drawn on the CPU, one stream a seed, and moved afterwards. The stream is NumPy's legacy
``RandomState``, which is frozen for good (NEP 19) and is what the official StyleGAN scripts draw from: seed 85 here
is seed 85 there. Seeds are integers from 0 to 2**32 - 1.
"""

import operator
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from editkit.errors import UsageError

SEED_LIMIT = 2**32


def normal(seed: int, shape: Sequence[int]) -> Tensor:
    """Standard-normal numbers of ``shape`` for one seed: float32 on the CPU. Raises UsageError for a bad seed."""
    return torch.from_numpy(np.random.RandomState(_checked(seed)).standard_normal(tuple(shape)).astype(np.float32))


def z_from_seeds(seeds: Sequence[int], z_dim: int) -> Tensor:
    """Z codes [N, z_dim], one row a seed: float32 on the CPU, each row independent of the others.

    Raises:
        UsageError: no seed, or one that is not an integer from 0 to 2**32 - 1.
    """
    if isinstance(seeds, str | bytes | int) or len(seeds) == 0:
        raise UsageError(f"seeds is {seeds!r}; give a sequence with at least one integer, such as [0, 1, 2]")
    rows = np.empty((len(seeds), z_dim), dtype=np.float32)
    stream = np.random.RandomState(0)
    for row, seed in zip(rows, seeds, strict=True):
        stream.seed(_checked(seed))  # the same as a new RandomState(seed), a hundred times faster
        row[:] = stream.standard_normal(z_dim)
    return torch.from_numpy(rows)


def _checked(seed: int) -> int:
    try:
        number = operator.index(seed)
    except TypeError:
        raise UsageError(f"seed {seed!r} is not an integer; give one from 0 to {SEED_LIMIT - 1}") from None
    if not 0 <= number < SEED_LIMIT:
        raise UsageError(f"seed {number} is out of range; give one from 0 to {SEED_LIMIT - 1}")
    return number

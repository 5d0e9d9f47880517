"""Random numbers of training: named, and one stream a sample.

A number depends on the seed of its sample and on its name, never on the rest of the batch, the order of draws or the
device, so a total batch gives the same training whatever the number of ranks it is split over, and a category of
augmentation that is switched on leaves the others as they were.

Convention: numbers are drawn on the CPU, float32; the caller moves them. ``count`` is the number of samples: the first
ones of the stream's seeds.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from editkit.errors import UsageError

_GAMMA = np.uint64(
    0x9E3779B97F4A7C15
)  # SplitMix64 (Steele et al. 2014, "Fast Splittable Pseudorandom Number Generators")


class Source(Protocol):
    """Where random numbers come from."""

    def uniform(self, name: str, count: int, size: int = 1) -> Tensor:
        """[count, size] from 0 to 1."""
        ...

    def normal(self, name: str, count: int, size: int = 1) -> Tensor:
        """[count, size], standard normal."""
        ...

    def field(self, name: str, count: int, shape: Sequence[int]) -> Tensor:
        """[count, *shape], standard normal; for pictures."""
        ...


class SampleStreams:
    """A stream for every sample, of a seed of 0 to 2**63 - 1 each. See ``mixed_seed`` for making them."""

    def __init__(self, seeds: Sequence[int]) -> None:
        """Raises UsageError for a seed out of range."""
        if any(not 0 <= seed < 2**63 for seed in seeds):
            raise UsageError(f"seeds of samples are integers from 0 to 2**63 - 1, got {list(seeds)[:4]}")
        self.seeds = np.array(seeds, dtype=np.uint64)

    def uniform(self, name: str, count: int, size: int = 1) -> Tensor:
        """[count, size], above 0 and below 1."""
        return torch.from_numpy(self._uniform(name, count, size)).float().clamp_(2**-24, 1 - 2**-24)

    def normal(self, name: str, count: int, size: int = 1) -> Tensor:
        """[count, size], by the inverse of the normal distribution."""
        position = torch.from_numpy(self._uniform(name, count, size))
        return (torch.erfinv(2 * position - 1) * math.sqrt(2)).float()

    def field(self, name: str, count: int, shape: Sequence[int]) -> Tensor:
        """[count, *shape], standard normal, from torch's own generator, seeded a sample."""
        rows = []
        for seed in self._keyed(name, count):
            stream = torch.Generator().manual_seed(int(seed >> np.uint64(1)))
            rows.append(torch.randn(tuple(shape), generator=stream))
        return torch.stack(rows)

    def _keyed(self, name: str, count: int) -> np.ndarray:
        if count > len(self.seeds):
            raise UsageError(f"random numbers for {count} samples were asked of {len(self.seeds)} streams")
        return _mixed(self.seeds[:count] ^ np.uint64(_hashed(name)))

    def _uniform(self, name: str, count: int, size: int) -> np.ndarray:
        with np.errstate(over="ignore"):
            steps = np.arange(1, size + 1, dtype=np.uint64) * _GAMMA
            bits = _mixed(self._keyed(name, count)[:, None] + steps[None]) >> np.uint64(11)
        return (bits.astype(np.float64) + 0.5) / 2**53


class Prefixed:
    """A source whose names begin with a role, so that real and generated images are augmented differently."""

    def __init__(self, source: Source, role: str) -> None:
        self._source, self._role = source, role

    def uniform(self, name: str, count: int, size: int = 1) -> Tensor:
        """See ``Source``."""
        return self._source.uniform(f"{self._role}/{name}", count, size)

    def normal(self, name: str, count: int, size: int = 1) -> Tensor:
        """See ``Source``."""
        return self._source.normal(f"{self._role}/{name}", count, size)

    def field(self, name: str, count: int, shape: Sequence[int]) -> Tensor:
        """See ``Source``."""
        return self._source.field(f"{self._role}/{name}", count, shape)


def sample_maps(
    source: Source, shapes: Mapping[str, Sequence[int]], count: int, *, device: torch.device
) -> dict[str, Tensor]:
    """Standard normal maps [count, *shape] by name, drawn on ``device``, each sample's from a stream of its own."""
    drawn: dict[str, list[Tensor]] = {name: [] for name in shapes}
    for high, low in (source.uniform("maps", count, 2).double() * 2**24).long().tolist():
        stream = torch.Generator(device=device).manual_seed((high << 24) + low)
        for name, shape in shapes.items():
            drawn[name].append(torch.randn(tuple(shape), generator=stream, device=device))
    return {name: torch.stack(maps) for name, maps in drawn.items()}


def mixed_seed(*numbers: int | str) -> int:
    """One seed of 0 to 2**63 - 1 from several facts, such as (run seed, "D", images seen, index in the total batch)."""
    return _hashed(repr([n if isinstance(n, str) else int(n) for n in numbers])) >> 1


def _hashed(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _mixed(bits: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64: every bit of the input reaches every bit of the output."""
    with np.errstate(over="ignore"):
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))

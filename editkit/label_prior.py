"""The labels that a generator was trained on, in short: what random labels of it are drawn from.

In the header of a checkpoint it is ``labels``: ``{"shares": [...]}``, what part of the data each class was, or
``{"vectors": [[...], ...]}``, labels of some of the data's pictures. A checkpoint without it says nothing.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from editkit.errors import CheckpointError

_MOST = 1 << 20  # numbers that a file may hold


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelPrior:
    """Shares of the classes, or some vectors of the data: one of the two."""

    shares: tuple[float, ...] = ()  # from 0 on, any sum above 0
    vectors: tuple[tuple[float, ...], ...] = ()

    @property
    def c_dim(self) -> int:
        """Length of a label."""
        return len(self.shares) or len(self.vectors[0])

    def classes(self, seeds: Sequence[int]) -> tuple[int, ...]:
        """The class, or the place among the vectors, that each seed draws: the same on every machine."""
        ends = list(accumulate(self.shares or (1.0,) * len(self.vectors)))
        last = max(place for place, share in enumerate(self.shares or ends) if share > 0)
        return tuple(min(bisect_right(ends, seeded_share(seed) * ends[-1]), last) for seed in seeds)

    def draw(self, seeds: Sequence[int]) -> Tensor:
        """The label [len(seeds), c_dim] that each seed draws."""
        places = torch.tensor(self.classes(seeds), dtype=torch.long)
        if self.shares:
            return torch.nn.functional.one_hot(places, len(self.shares)).float()
        return torch.tensor(self.vectors, dtype=torch.float32)[places]

    def to_header(self) -> dict[str, Any]:
        """As the header of a checkpoint keeps it."""
        return {"shares": list(self.shares)} if self.shares else {"vectors": [list(one) for one in self.vectors]}

    @classmethod
    def from_header(cls, held: Mapping[str, Any], *, c_dim: int, name: str) -> LabelPrior:
        """The inverse, for a generator of labels of length ``c_dim``. Raises CheckpointError: damaged."""
        shares, vectors = held.get("shares"), held.get("vectors")
        rows = [shares] if vectors is None else vectors
        if (shares is None) == (vectors is None) or not isinstance(rows, list) or not rows or len(rows) * c_dim > _MOST:
            raise CheckpointError(f"the labels that {name!r} keeps are neither shares nor vectors; the file is damaged")
        if not all(isinstance(row, list) and len(row) == c_dim and all(map(_is_number, row)) for row in rows):
            raise CheckpointError(f"the labels that {name!r} keeps are not {c_dim} numbers each; the file is damaged")
        made = [tuple(float(value) for value in row) for row in rows]
        if vectors is not None:
            return cls(vectors=tuple(made))
        if min(made[0]) < 0 or sum(made[0]) <= 0:
            raise CheckpointError(f"the shares of classes that {name!r} keeps are none; the file is damaged")
        return cls(shares=made[0])


def seeded_share(seed: int) -> float:
    """A number in [0, 1) of a seed: sha256 of "class <seed>"."""
    return int.from_bytes(hashlib.sha256(f"class {int(seed)}".encode()).digest()[:6], "big") / 2**48


def _is_number(value: object) -> bool:
    """A number that float32 holds."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and abs(value) < 3e38

"""Pictures that are in a data set twice: the same pixels, or nearly the same picture."""

import numpy as np

from editkit.errors import UsageError
from train.dataset_measures import HASH_BITS, Measures, gap_of

NEAR = 10
"""Bits of 256 by which near duplicates differ at most: enough for another size, compression or brightness."""
SAME = 24.0
"""Levels by which thumbnails of near duplicates differ at most, see ``gap_of``: a hash alone takes others too."""


class Duplicates:
    """Remembers pictures one by one and names the earlier one that a new one repeats.

    Hashes within ``near`` bits of each other agree on at least one of ``near + 1`` groups of bits (the pigeonhole
    principle), so only pictures that share a group are compared. Groups are of bits from all over the picture: a
    background that many pictures share does not fill one. What the hash finds is confirmed by the thumbnails.
    """

    def __init__(self, *, near: int = NEAR) -> None:
        """near: bits; 0: only the same pixels count. Raises UsageError outside 0 to 32."""
        if not 0 <= near <= 32:
            raise UsageError(f"near duplicates differ in 0 to 32 of {HASH_BITS} bits, got {near}")
        self.near = near
        self._exact: dict[bytes, str] = {}
        self._hashes: list[np.ndarray] = []
        self._thumbnails: list[np.ndarray] = []
        self._names: list[str] = []
        shuffled = np.random.default_rng(0).permutation(HASH_BITS)
        self._groups = np.array_split(shuffled, near + 1) if near else []
        self._table: list[dict[bytes, list[int]]] = [{} for _ in self._groups]

    def add(self, name: str, measures: Measures) -> tuple[str, int] | None:
        """(the earlier picture, bits between them 0 for the same pixels); None: it is new, and remembered."""
        twin = self._exact.get(measures.digest)
        if twin is not None:
            return twin, 0
        bits = np.unpackbits(np.frombuffer(measures.likeness, np.uint8))
        keys = [np.packbits(bits[group]).tobytes() for group in self._groups]
        for key, table in zip(keys, self._table):
            for place in table.get(key, ()):
                distance = int(np.count_nonzero(self._hashes[place] != bits))
                if distance <= self.near and gap_of(self._thumbnails[place], measures.thumbnail) <= SAME:
                    return self._names[place], max(distance, 1)
        self._exact[measures.digest] = name
        if self._groups:
            for key, table in zip(keys, self._table):
                table.setdefault(key, []).append(len(self._names))
            self._hashes.append(bits)
            self._thumbnails.append(measures.thumbnail)
            self._names.append(name)
        return None

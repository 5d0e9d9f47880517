"""Tensor data inside an official pickle: claims about bytes, checked against the bytes before memory is taken.

Each tensor's storage is a byte string that holds five small pickles one after another - a magic number, a protocol
version, facts about the writing machine, the storage's description, a list of keys - then the element count (8 bytes)
and the elements. This module reads it; torch is imported only to make a tensor of a claim that was checked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from editkit.checkpoints.machine import Budget, Global, Rules
from editkit.checkpoints.opcodes import read_pickle
from editkit.errors import CheckpointError, UnsafeCheckpointError

if TYPE_CHECKING:
    import torch

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001
MAX_DIMENSIONS = 8
MAX_EXTENT = 1 << 40  # of a shape or stride, and of a shape's product with zeros left out: far inside 64 bits

# Storage class -> (dtype name in torch, bytes an element).
STORAGE_TYPES = {
    "FloatStorage": ("float32", 4),
    "HalfStorage": ("float16", 2),
    "BFloat16Storage": ("bfloat16", 2),
    "DoubleStorage": ("float64", 8),
    "LongStorage": ("int64", 8),
    "IntStorage": ("int32", 4),
    "ShortStorage": ("int16", 2),
    "CharStorage": ("int8", 1),
    "ByteStorage": ("uint8", 1),
    "BoolStorage": ("bool", 1),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class StorageClaim:
    """``count`` elements whose bytes are there: ``data`` is a view of the file of count * item_size bytes."""

    dtype: str
    item_size: int
    count: int
    data: memoryview


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorClaim:
    """A tensor over a storage, with shape and stride (in elements) known to lie inside it."""

    storage: StorageClaim
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def size_in_bytes(self) -> int:
        return math.prod(self.shape) * self.storage.item_size

    def to_tensor(self) -> torch.Tensor:
        """The tensor, contiguous, in memory of its own; bytes are copied unchanged."""
        import numpy as np
        import torch

        storage = self.storage
        dtype = getattr(torch, storage.dtype)
        if math.prod(self.shape) == 0:
            return torch.empty(self.shape, dtype=dtype)
        first = self.offset * storage.item_size
        last = (_furthest(self.offset, self.shape, self.stride) + 1) * storage.item_size
        # A buffer of torch's own: data inside the file is not aligned for its element type.
        raw = torch.empty(last - first, dtype=torch.uint8)
        raw.numpy()[:] = np.frombuffer(storage.data[first:last], dtype=np.uint8)
        if storage.dtype == "bool":
            return (raw != 0).as_strided(self.shape, self.stride).contiguous()
        return raw.view(dtype).as_strided(self.shape, self.stride).contiguous()


def read_storage(blob: object, budget: Budget) -> StorageClaim:
    """Read the nested byte string of a storage.

    Raises:
        UnsafeCheckpointError: it asks for a global, or claims other bytes than it has.
        CheckpointError: it is not in the format described above.
    """
    if not isinstance(blob, memoryview):
        raise CheckpointError(f"damaged pickle: a storage is a {type(blob).__name__}, not bytes; get the file again")
    if bytes(blob[:4]) == b"PK\x03\x04":
        raise CheckpointError("a nested storage is a zip archive; only the layout of the official files can be read")
    plain = Rules(globals={}, budget=budget)
    magic, at = read_pickle(blob, plain)
    version, at = read_pickle(blob, plain, start=at)
    system, at = read_pickle(blob, plain, start=at)
    if magic != MAGIC or version != PROTOCOL_VERSION or not isinstance(system, dict):
        raise CheckpointError("damaged pickle: a nested storage lacks its magic number; get the file again")
    if system.get("little_endian") is not True:
        raise CheckpointError("the file was written on a big-endian machine; only little-endian data can be read")
    described = Rules(globals=_STORAGE_GLOBALS, budget=budget, persistent=_describe)
    description, at = read_pickle(blob, described, start=at)
    keys, at = read_pickle(blob, plain, start=at)
    if not isinstance(description, _Description) or keys != [description.key]:
        raise CheckpointError("damaged pickle: a nested storage is not described as the official files do")
    return _claim(description, blob[at:])


def build_tensor(storage: object, offset: object, shape: object, stride: object, *, budget: Budget) -> TensorClaim:
    """Check a tensor's geometry against its storage.

    Raises:
        UnsafeCheckpointError: it reaches outside the storage, or repeats elements (stride 0, overlap).
    """
    if not isinstance(storage, StorageClaim):
        raise CheckpointError(f"damaged pickle: a tensor over a {type(storage).__name__}; get the file again")
    sizes, steps = _integers(shape), _integers(stride)
    if sizes is None or steps is None or len(sizes) != len(steps) or type(offset) is not int or offset < 0:
        raise UnsafeCheckpointError("a tensor with an impossible shape or stride; not an official checkpoint")
    count = math.prod(sizes)
    extent = max(math.prod(max(size, 1) for size in sizes), *steps, 0)
    inside = count == 0 or _furthest(offset, sizes, steps) < storage.count
    if count > storage.count or not inside or extent > MAX_EXTENT:
        raise UnsafeCheckpointError(
            f"a tensor of shape {_short(sizes)}, stride {_short(steps)} over a storage of {storage.count:,} elements: "
            "it claims more than is there; the file is hostile or damaged"
        )
    claim = TensorClaim(storage=storage, offset=offset, shape=sizes, stride=steps)
    budget.tensor_bytes -= claim.size_in_bytes
    if budget.tensor_bytes < 0:
        raise UnsafeCheckpointError("the tensors together claim more bytes than the file has; it is hostile or damaged")
    return claim


@dataclass(frozen=True, slots=True)
class _Description:
    dtype: str
    item_size: int
    key: str
    count: int


def _not_called(*_: object) -> NoReturn:
    raise UnsafeCheckpointError("a storage type is called inside a nested storage; not an official checkpoint")


_STORAGE_GLOBALS = {("torch", name): _not_called for name in STORAGE_TYPES}


def _describe(persistent_id: object) -> _Description:
    """('storage', storage class, key, location, element count, view) -> what it says."""
    match persistent_id:
        case ("storage", Global(name=name), str(key), str(), int(count), None) if name in STORAGE_TYPES and count >= 0:
            dtype, item_size = STORAGE_TYPES[name]
            return _Description(dtype, item_size, key, count)
    raise CheckpointError("damaged pickle: a nested storage is not described as the official files do")


def _claim(description: _Description, rest: memoryview) -> StorageClaim:
    there = max(len(rest) - 8, 0)
    count = int.from_bytes(rest[:8], "little")
    if description.count * description.item_size != there or count != description.count:
        raise UnsafeCheckpointError(
            f"a storage claims {max(count, description.count):,} elements of {description.item_size} bytes, "
            f"but {there:,} bytes are there; the file is hostile or damaged"
        )
    return StorageClaim(dtype=description.dtype, item_size=description.item_size, count=count, data=rest[8:])


def _integers(value: object) -> tuple[int, ...] | None:
    """A short tuple of non-negative integers, or None."""
    if type(value) is not tuple or len(value) > MAX_DIMENSIONS:
        return None
    return value if all(type(item) is int and item >= 0 for item in value) else None


def _furthest(offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """Index of the last element that a non-empty tensor touches."""
    return offset + sum((size - 1) * step for size, step in zip(shape, stride))


def _short(values: tuple[int, ...]) -> str:
    return "(" + ", ".join(f"{v:,}" if v < 1 << 64 else "2^64 or more" for v in values) + ")"

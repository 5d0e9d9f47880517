"""The safetensors container: the package where it is installed, else the same bytes written and read here.

``python -m train`` runs where only torch, numpy and Pillow are. Layout: 8 bytes with the length of a JSON object
(little-endian), the object (name -> dtype, shape, data_offsets; and ``__metadata__``, texts), then the tensors' bytes,
row-major and little-endian. What is read is checked before it is believed; nothing is executed.
"""

from __future__ import annotations

import json
import math
import mmap
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

try:
    from safetensors import SafetensorError
except ImportError:

    class SafetensorError(Exception):  # type: ignore[no-redef]
        """The file is not what the format asks for."""


_DTYPES: Mapping[str, torch.dtype] = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_MAX_HEADER = 100_000_000


def save(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """``tensors``, contiguous on the CPU, as the bytes of a file."""
    if _installed():
        import safetensors.torch

        return bytes(safetensors.torch.save(dict(tensors), metadata=dict(metadata)))
    return b"".join(_parts(tensors, metadata))


def save_file(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """``tensors``, contiguous on the CPU, to a file. Raises OSError."""
    if _installed():
        import safetensors.torch

        safetensors.torch.save_file(dict(tensors), path, metadata=dict(metadata))
        return
    with path.open("wb") as stream:
        for part in _parts(tensors, metadata):
            stream.write(part)


def load(data: bytes) -> dict[str, Tensor]:
    """The tensors of a file's bytes. Raises SafetensorError."""
    if _installed():
        import safetensors.torch

        return dict(safetensors.torch.load(data))
    return _tensors(bytearray(data))


def load_file(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, mapped: writing to one does not change the file. Raises SafetensorError, OSError."""
    if _installed():
        from safetensors import safe_open

        with safe_open(path, framework="pt", device="cpu") as stream:
            return {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a dict
    with path.open("rb") as stream:
        if path.stat().st_size < 8:
            raise SafetensorError("header too small")
        return _tensors(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY))


def _installed() -> bool:
    return SafetensorError.__module__ != __name__


def _parts(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> list[Any]:
    if sys.byteorder != "little":
        raise SafetensorError("big-endian machines need the package safetensors")
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    bodies, offset = [], 0
    for name in sorted(tensors, key=lambda name: (-tensors[name].element_size(), name)):  # keeps them aligned
        tensor = tensors[name]
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
        bodies.append(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(8, "little"), text, *bodies]


def _tensors(data: bytearray | mmap.mmap) -> dict[str, Tensor]:
    size = len(data)
    length = int.from_bytes(data[:8], "little")
    if size < 8 or length > min(size - 8, _MAX_HEADER):
        raise SafetensorError("the header does not fit into the file")
    try:
        header = json.loads(bytes(data[8 : 8 + length]))
        claims = {name: claim for name, claim in header.items() if name != "__metadata__"}
        return {name: _tensor(data, 8 + length, claim) for name, claim in claims.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SafetensorError(f"invalid header: {error}") from error


def _tensor(data: bytearray | mmap.mmap, start: int, claim: Mapping[str, Any]) -> Tensor:
    dtype, shape = _DTYPES[claim["dtype"]], claim["shape"]
    low, high = claim["data_offsets"]
    if not all(isinstance(number, int) and number >= 0 for number in (low, high, *shape)):
        raise ValueError("sizes and offsets are whole numbers from 0")
    count = math.prod(shape)
    if high - low != count * dtype.itemsize or start + high > len(data):
        raise ValueError("a tensor lies outside the file, or has another size than its shape")
    if not count:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(data, dtype=dtype, count=count, offset=start + low).reshape(shape)

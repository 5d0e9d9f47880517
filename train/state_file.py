"""Training states as safetensors: nested dicts and lists of tensors and plain values, exactly as they were.

A CRC-32 of all of it is in the header: a state in which a bit changed is damaged, and not gone on from.
"""

import json
import os
import zlib
from typing import Any

import torch
from torch import Tensor

from editkit.errors import CheckpointError
from editkit.tensorfile import read_tensors, write_tensors

SCHEMA = 1


def save_state(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Writes ``state`` atomically: dicts (string or integer keys), lists, tensors and JSON values."""
    tensors: dict[str, Tensor] = {}
    skeleton = _flatten(state, "", tensors)
    write_tensors(
        path, tensors, kind="training state", schema=SCHEMA, header={"state": skeleton, "crc": _crc(skeleton, tensors)}
    )


def load_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What ``save_state`` wrote.

    Raises:
        CheckpointError: missing, damaged or of another kind.
        SchemaError: written by a newer editkit.
    """
    tensors, header = read_tensors(path, kind="training state", schema=SCHEMA, error=CheckpointError)
    try:
        sound = header.get("crc") in (None, _crc(header["state"], tensors))  # states of earlier versions have none
        restored = _restore(header["state"], tensors)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: not a whole training state ({error!r}); it may be damaged") from error
    if not sound:
        raise CheckpointError(f"{path}: its contents are not what was written; it is damaged")
    return restored


def save_transport(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Writes the small, declared-lossy copy: weights in half precision, optimizers left out.

    Frequencies and averages keep their precision: rounding them would move the picture.
    """
    kept = {name: value for name, value in state.items() if not name.startswith("optimizer")}
    save_state(path, {**_half(kept, ""), "lossy": True})


def load_transport(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A ``save_transport`` file with its weights back in float32; it has no optimizers."""
    return _single(load_state(path))


def _crc(skeleton: Any, tensors: dict[str, Tensor]) -> int:
    found = zlib.crc32(json.dumps(skeleton, sort_keys=True).encode())
    for name in sorted(tensors):
        flat = tensors[name].detach().cpu().contiguous().reshape(-1)
        found = zlib.crc32(flat.view(torch.uint8).numpy().data, zlib.crc32(name.encode(), found))
    return found


def _flatten(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, dict):
        keys = [[type(key).__name__, key] for key in value]
        return {
            "dict": [[k, _flatten(v, f"{name}/{k[1]}", tensors)] for k, v in zip(keys, value.values(), strict=True)]
        }
    if isinstance(value, list | tuple):
        items = [_flatten(item, f"{name}/{i}", tensors) for i, item in enumerate(value)]
        return {type(value).__name__: items}
    return {"value": value}


def _restore(node: Any, tensors: dict[str, Tensor]) -> Any:
    (kind, content), *_ = node.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {(int(k[1]) if k[0] == "int" else k[1]): _restore(v, tensors) for k, v in content}
    if kind in ("list", "tuple"):
        items = [_restore(item, tensors) for item in content]
        return tuple(items) if kind == "tuple" else items
    return content


def _half(value: Any, name: str) -> Any:
    if isinstance(value, Tensor):
        exact = any(part in name for part in ("input", "_ema", "_avg", "filter"))
        return value.half() if value.dtype == torch.float32 and not exact else value
    if isinstance(value, dict):
        return {key: _half(item, f"{name}/{key}") for key, item in value.items()}
    return value


def _single(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.dtype == torch.float16 else value
    if isinstance(value, dict):
        return {key: _single(item) for key, item in value.items()}
    return value

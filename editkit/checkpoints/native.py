"""The native checkpoint: tensors and a JSON header in one safetensors file (see ``header``). Never a pickle.

Reading maps the file: a tensor's bytes come into memory when they are first used, and are not copied on the way.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editkit import __version__
from editkit.checkpoints.header import METADATA_KEY, SCHEMA, complete, read_header
from editkit.errors import CheckpointError
from editkit.files import atomic_path
from editkit.safetensors_format import SafetensorError, load_file, save_file

__all__ = ["Checkpoint", "halve", "read_checkpoint", "read_header", "weights_id", "write_checkpoint"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A native checkpoint.

    Args:
        header: as listed in ``editkit.checkpoints.header``, every field present.
        tensors: state-dict name -> tensor on the CPU, mapped from the file; writing to one does not change the file.
    """

    header: dict[str, Any]
    tensors: dict[str, Tensor]


def write_checkpoint(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], header: Mapping[str, Any]
) -> dict[str, Any]:
    """Write ``tensors`` with ``header`` to ``path``, atomically; returns the header as written.

    Args:
        path: the file to write; its folder must exist.
        tensors: state-dict name -> tensor, on any device.
        header: needs ``kind``; ``schema``, ``id`` and ``written_by`` are filled in (an ``id`` that is given must fit).

    Raises:
        CheckpointError: no tensors, a header field of the wrong type, an unknown kind, or another file's id.
        OutputError: it cannot be written.
    """
    if not tensors:
        raise CheckpointError(f"{path}: no tensors to write")
    ready = _separate(tensors)
    identity = weights_id(ready)
    if header.get("id") not in (None, identity):
        raise CheckpointError(f"{path}: the header's id is not that of these tensors; leave it out")
    given = {**header, "schema": SCHEMA, "id": identity, "written_by": __version__}
    full = complete(given, source=str(path))
    try:
        text = json.dumps(full, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: the header holds what JSON cannot ({error})") from error
    with atomic_path(path) as temporary:
        save_file(ready, temporary, {METADATA_KEY: text})
    return full


def read_checkpoint(path: str | os.PathLike[str], *, verify: bool = False) -> Checkpoint:
    """Read a native checkpoint; its tensors are mapped, not copied.

    Args:
        path: a file made by ``write_checkpoint``.
        verify: compare the tensors with the header's id, which reads all of them.

    Raises:
        CheckpointError: missing, damaged, of an unknown kind, or (``verify``) not the tensors it was written with.
        SchemaError: written by a newer editkit.
    """
    path = Path(path)
    header = read_header(path)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError, AttributeError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: damaged or cut short ({reason}); get it again") from error
    if verify and weights_id(tensors) != header["id"]:
        raise CheckpointError(f"{path}: its tensors are not those it was written with; get it again")
    return Checkpoint(header=header, tensors=tensors)


def weights_id(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256, in hex, over the sorted names with dtype, shape and bytes (little-endian, row-major) of each tensor."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        shape = ",".join(str(size) for size in tensor.shape)
        dtype = str(tensor.dtype).removeprefix("torch.")
        digest.update(f"{name}\0{dtype}\0{shape}\0".encode())
        if tensor.numel():
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def halve(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A copy whose weights and biases are float16, about half the size.

    Kept as they are: the input layer (rounding its frequencies would turn into shifts of the picture), averages,
    filters and everything that is not float32.
    """
    halved: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        weight = name.endswith((".weight", ".bias")) and not name.startswith("synthesis.input.")
        limit = torch.finfo(torch.float16).max
        fits = weight and tensor.dtype == torch.float32 and bool((tensor.abs() <= limit).all())
        halved[name] = tensor.half() if fits else tensor
    return halved


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU, contiguous, and each with memory of its own where two would overlap: the format needs that."""
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    end = 0
    for name in sorted(ready, key=lambda name: ready[name].data_ptr()):
        start = ready[name].data_ptr()
        if start < end:
            ready[name] = ready[name].clone()
        else:
            end = start + ready[name].nbytes
    return ready

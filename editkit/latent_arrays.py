"""Arrays in files of other programs: .npy, .npz, and .pt of plain tensors. Nothing in them is ever executed.

Convention: a file is a mapping name -> float32 tensor on the CPU; an array without a name of its own is called "".
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from editkit.errors import LatentError

SUFFIXES = (".npy", ".npz", ".pt", ".pth")
MAX_BYTES = 1 << 30  # of a file, unpacked: some 30,000 codes in W+ of the largest networks
MAX_DEPTH = 3
_MAGIC = b"\x93NUMPY"


def read_arrays(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Every floating-point array in ``path``, by name; a list of tensors becomes one, their samples one after another.

    Raises:
        LatentError: missing, damaged, too large, of another kind, or with content that would have to be executed.
    """
    file = Path(path)
    if file.suffix.lower() not in SUFFIXES:
        raise LatentError(
            f"{file}: latents come as {', '.join(SUFFIXES)} or .safetensors, got {file.suffix or 'none'!r}"
        )
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise LatentError(f"{file}: {size / 1e6:,.0f} MB; a file of latents has at most {MAX_BYTES / 1e6:,.0f} MB")
        found = _read_torch(file) if file.suffix.lower() in (".pt", ".pth") else _read_numpy(file)
    except FileNotFoundError:
        raise LatentError(f"{file}: no such file; check the path") from None
    except OSError as error:
        raise LatentError(f"{file}: cannot be read ({error.strerror or error})") from error
    usable = {name: tensor.float().contiguous() for name, tensor in found.items() if _usable(tensor)}
    if not usable:
        seen = ", ".join(
            f"{name or 'array'} {list(t.shape)} {t.dtype}".replace("torch.", "") for name, t in found.items()
        )
        raise LatentError(
            f"{file}: no array of floating-point numbers in it ({seen[:200] or 'nothing at all'}); "
            "convert integers to float"
        )
    return usable


def _read_numpy(file: Path) -> dict[str, Tensor]:
    try:
        if file.suffix.lower() == ".npy":
            _check_npy(file)
            # Mapped: a header that claims more than the file has is an error, not an allocation.
            return _numbers({"": np.load(file, mmap_mode="r", allow_pickle=False)}, file)
        with zipfile.ZipFile(file) as archive:
            claimed = sum(entry.file_size for entry in archive.infolist())
        if claimed > MAX_BYTES:
            raise LatentError(f"{file}: it claims {claimed / 1e6:,.0f} MB unpacked; no file of latents is that large")
        with np.load(file, allow_pickle=False) as archive:
            return _numbers({name: archive[name] for name in archive.files}, file)
    except (ValueError, EOFError, KeyError, TypeError, MemoryError, zipfile.BadZipFile) as error:
        if any(word in str(error) for word in ("pickle", "Object arrays", "Python objects")):
            raise LatentError(
                f"{file}: holds Python objects, which are never loaded; save the numbers alone, as a float array"
            ) from error
        raise LatentError(f"{file}: not a readable NumPy file ({_short(error)}); it may be damaged") from error


def _check_npy(file: Path) -> None:
    """NumPy takes whatever does not begin like an array of its own for a pickle, and says so; say what it is."""
    with file.open("rb") as stream:
        begin = stream.read(6)
    if begin == _MAGIC:
        return
    if begin[:1] == b"\x80":  # the protocol of a pickle
        raise ValueError("Python objects")
    if begin[:4] == b"PK\x03\x04":
        raise LatentError(f"{file}: holds several arrays, or a file of torch; call it .npz, or .pt")
    what = f"it begins with {begin!r}, and an array of NumPy with {_MAGIC!r}" if begin else "it is empty"
    raise LatentError(
        f"{file}: not a readable NumPy file ({what}); write the numbers with numpy.save, or get the file again"
    )


def _numbers(content: Mapping[str, Any], file: Path) -> dict[str, Tensor]:
    """The arrays of numbers; others, and what is no array in an archive, are passed over as in ``_flat``."""
    arrays = {name: array for name, array in content.items() if isinstance(array, np.ndarray)}
    found = {name: _tensor(array) for name, array in arrays.items() if array.dtype.kind in "fiub"}
    if not found and arrays:
        seen = ", ".join(f"{name or 'array'} {list(array.shape)} {array.dtype}" for name, array in arrays.items())
        raise LatentError(f"{file}: no array of floating-point numbers in it ({seen[:200]})")
    return found


def _tensor(array: Any) -> Tensor:
    native = array.dtype.newbyteorder("=")
    return torch.from_numpy(np.array(array, dtype=native))


def _read_torch(file: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # the unpickler of torch raises errors of many kinds, all of which say no
        # Not torch's own words, which tell how to run what is in the file.
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it asks for {wanted[1][:80]}" if wanted else "damaged, or not written by torch.save"
        raise LatentError(
            f"{file}: not a file of plain tensors ({reason}); anything else in it is never loaded. Save the tensor "
            "alone: torch.save(latent.detach().cpu(), path)"
        ) from error
    return _flat(content, file)


def _flat(content: Any, file: Path, name: str = "", depth: int = 0) -> dict[str, Tensor]:
    """Tensors in nested dicts and lists, by dotted name; other values are passed over."""
    if isinstance(content, Tensor):
        return {name: content.detach()}
    if depth >= MAX_DEPTH:
        return {}
    if isinstance(content, Mapping):
        found: dict[str, Tensor] = {}
        for key, value in content.items():
            found |= _flat(value, file, f"{name}.{key}" if name else str(key), depth + 1)
        return found
    if isinstance(content, list | tuple) and content:
        if all(isinstance(item, Tensor) for item in content):
            return {name: _joined(list(content), file)}
        return _flat(content[0], file, name, depth + 1) if len(content) == 1 else {}
    return {}


def _joined(tensors: list[Tensor], file: Path) -> Tensor:
    """A list of codes as one tensor: [N, num_ws, w_dim] or [1, dim] each one after another, others stacked."""
    shapes = {tuple(tensor.shape) for tensor in tensors}
    if len({shape[1:] for shape in shapes}) > 1 or len({len(shape) for shape in shapes}) > 1:
        raise LatentError(f"{file}: a list of tensors of different shapes: {sorted(shapes)[:4]}")
    detached = [tensor.detach() for tensor in tensors]
    first = detached[0]
    has_samples = first.ndim > 2 or (first.ndim == 2 and len(first) == 1)
    return torch.cat(detached) if has_samples else torch.stack(detached)


def _usable(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and not tensor.is_sparse and tensor.ndim > 0 and tensor.numel() > 0


def _short(error: BaseException) -> str:
    """The first words of an error, on one line."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:120]

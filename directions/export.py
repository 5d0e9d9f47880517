"""A direction as a file of one's own: whole, or as bare numbers for other programs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from editkit.direction import Direction
from editkit.errors import UsageError
from editkit.files import atomic_path

FORMATS = (".safetensors", ".npy", ".npz")


def write_direction(path: str | os.PathLike[str], direction: Direction) -> None:
    """Write ``.safetensors`` (all of it), ``.npy`` (the vector) or ``.npz`` (in s an array a layer; else ``vector``).

    Raises:
        UsageError: another suffix, or .npy for a direction in s, which is several arrays.
        OutputError: it cannot be written.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(f"a direction is written as {', '.join(FORMATS)}, got {target.name!r}")
    if suffix == ".safetensors":
        direction.save(target)
        return
    arrays = {name.removeprefix("s."): part.cpu().numpy() for name, part in direction.named_tensors().items()}
    if suffix == ".npy" and direction.space == "s":
        raise UsageError(f"direction {direction.name!r} is in s, an array a layer; write a .npz")
    with atomic_path(target) as temporary, temporary.open("wb") as stream:
        if direction.space == "s":
            np.savez(stream, **arrays)  # type: ignore[arg-type]  # names of layers
        elif suffix == ".npz":
            np.savez(stream, vector=arrays[direction.space])
        else:
            np.save(stream, arrays[direction.space], allow_pickle=False)

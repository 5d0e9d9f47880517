"""Tensors with a JSON header in one safetensors file: the container of latents and directions.

Convention: the header lives under one metadata key, ``editkit``, and always holds ``schema`` (int), ``kind`` (what the
file is) and ``written_by`` (the editkit version). Nothing in such a file is ever executed.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from editkit import __version__, safetensors_format
from editkit.errors import EditkitError, SchemaError
from editkit.files import write_bytes
from editkit.safetensors_format import SafetensorError

METADATA_KEY = "editkit"


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], *, kind: str, schema: int, header: Mapping[str, Any]
) -> None:
    """Write ``tensors`` and ``header`` (JSON values) to ``path``. Raises OutputError."""
    full = {"schema": schema, "kind": kind, "written_by": __version__, **header}
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(full, allow_nan=False, sort_keys=True)
    write_bytes(path, safetensors_format.save(ready, {METADATA_KEY: text}))


def read_tensors(
    path: str | os.PathLike[str], *, kind: str, schema: int, error: type[EditkitError]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file of ``kind`` whose schema is at most ``schema``: (tensors on the CPU, header).

    Raises:
        error: missing, damaged, or of another kind.
        SchemaError: written by a newer editkit, or without a schema number.
    """
    file = Path(path)
    try:
        # Through memory, as open files cannot be replaced on Windows; these files are small.
        data = file.read_bytes()
    except FileNotFoundError:
        raise error(f"{file}: no such file; check the path") from None
    except OSError as problem:
        reason = problem.strerror or problem
        raise error(f"{file}: cannot be read ({reason}); check its permissions, or copy it elsewhere") from problem
    try:
        tensors = safetensors_format.load(data)
        # The layout of safetensors: 8 bytes little-endian length, then a JSON header.
        length = int.from_bytes(data[:8], "little")
        text = json.loads(data[8 : 8 + length]).get("__metadata__", {}).get(METADATA_KEY)
    except (SafetensorError, ValueError, KeyError) as problem:
        raise error(f"{file}: not a readable safetensors file ({problem}); it may be damaged") from problem
    if text is None:
        raise error(f"{file}: a safetensors file without an editkit header; a {kind} file is needed")
    return tensors, parse_header(text, kind=kind, schema=schema, error=error, source=str(file))


def parse_header(text: str, *, kind: str, schema: int, error: type[EditkitError], source: str) -> dict[str, Any]:
    """Parse a JSON header and check its kind and schema. Raises as ``read_tensors``."""
    try:
        header = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as problem:
        raise error(f"{source}: its JSON cannot be read ({problem}); it may be damaged") from problem
    if not isinstance(header, dict):
        raise error(f"{source}: its JSON is a {type(header).__name__}, an object is needed")
    if header.get("kind") != kind:
        raise error(f"{source}: a {header.get('kind')!r} file where a {kind} is needed")
    found = header.get("schema")
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise SchemaError(f"{source}: no readable schema number (got {found!r}); it may be damaged")
    if found > schema:
        raise SchemaError(
            f"{source}: schema {found} is newer than {schema}, the newest this editkit reads; "
            f"install editkit {header.get('written_by', '')} or later".replace("  ", " ")
        )
    return header


def is_finite_number(value: object) -> bool:
    """Whether ``value`` is an int or float (not a bool) and finite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a finite number")

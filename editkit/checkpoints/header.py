"""The JSON header of a native checkpoint: what it must hold, and reading it without torch.

Layout of the file: safetensors, that is 8 bytes with the length of a JSON object (little-endian), the object, then
the tensors. Its ``__metadata__`` has one key, ``editkit``, which holds the header as JSON text:

    schema      int: 1
    kind        str: which network, see ``KINDS``
    arguments   dict: constructor arguments
    name, domain, alignment, licence    str or null: what it shows, the crop it expects, the terms it comes under
    id          str: ``native.weights_id`` of the tensors; parent_id: that of the weights this is a copy or tuning of
    class_names list of str or null: of the classes a label chooses from
    labels      dict or null: those of the data, see ``editkit.label_prior``
    training    dict: facts of how it was made
    written_by  str: editkit version
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from editkit.checkpoints.sniff import describe, file_size, is_pickle, is_safetensors
from editkit.errors import CheckpointError, SchemaError

SCHEMA = 1
METADATA_KEY = "editkit"
KINDS = frozenset(
    {
        "stylegan3", "stylegan2", "stylegan_xl", "discriminator", "projected_discriminator", "landmarks", "features",
        "encoder",
    }
)  # fmt: skip
ALIGNMENTS = ("ffhq", "faces128", "centre")
MAX_HEADER = 32 << 20  # bytes; that of an official-size network is about 20 KB

_TEXTS = ("name", "domain", "alignment", "licence", "id", "parent_id")
_FIELDS: Mapping[str, tuple[type, ...]] = {
    "schema": (int,),
    "kind": (str,),
    "arguments": (dict,),
    "training": (dict,),
    "written_by": (str,),
    "class_names": (list, type(None)),
    "labels": (dict, type(None)),
    **{name: (str, type(None)) for name in _TEXTS},
}
_DEFAULTS: Mapping[str, Any] = {
    "arguments": {},
    "training": {},
    "written_by": "",
    "class_names": None,
    "labels": None,
    **dict.fromkeys(_TEXTS),
}


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The header of a native checkpoint; tensors are not touched. Absent optional fields are filled with null or {}.

    Raises:
        CheckpointError: missing, empty, cut short, not a native checkpoint, or of an unknown kind; one line.
        SchemaError: written by a newer editkit; the message says which version reads it.
    """
    path = Path(path)
    size = file_size(path)
    with path.open("rb") as stream:
        head = stream.read(64)
        if not is_safetensors(head, size):
            raise CheckpointError(f"{path}: {_not_native(head, size)}")
        length = int.from_bytes(head[:8], "little")
        if length > MAX_HEADER:
            raise CheckpointError(f"{path}: a header of {length:,} bytes is claimed; not an editkit checkpoint")
        stream.seek(8)
        text = stream.read(length)
    try:
        metadata = json.loads(text).get("__metadata__", {})
        held = metadata.get(METADATA_KEY)
    except (ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: its safetensors header cannot be read; the file is damaged") from error
    if not isinstance(held, str):
        raise CheckpointError(f"{path}: a safetensors file without an editkit header; official weights come as .pkl")
    try:
        header = json.loads(held, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its editkit header is not JSON; the file is damaged") from error
    return complete(header, source=str(path))


def complete(header: object, *, source: str) -> dict[str, Any]:
    """``header`` with defaults for what is absent, checked.

    Raises:
        CheckpointError: a field of the wrong type, or an unknown kind.
        SchemaError: a newer schema, or none.
    """
    if not isinstance(header, Mapping):
        raise CheckpointError(f"{source}: its editkit header is a {type(header).__name__}, not an object")
    schema = header.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise SchemaError(f"{source}: no readable schema number (got {str(schema)[:40]!r}); the file may be damaged")
    if schema > SCHEMA:
        # The version is text from a file: shown short, on one line.
        version = "".join(c for c in str(header.get("written_by", ""))[:20] if c.isalnum() or c in ".+-")
        needed = f"editkit {version} or later" if version else "a later editkit"
        raise SchemaError(
            f"{source}: written with schema {schema}, this editkit reads up to {SCHEMA}; {needed} reads it: "
            "update editkit"
        )
    full = {**_DEFAULTS, **header}
    for name, kinds in _FIELDS.items():
        value = full.get(name)
        if not isinstance(value, kinds):
            raise CheckpointError(f"{source}: header field {name!r} is a {type(value).__name__}; the file is damaged")
    if not all(isinstance(name, str) for name in full["class_names"] or ()):
        raise CheckpointError(f"{source}: header field 'class_names' holds what is no text; the file is damaged")
    if full["kind"] not in KINDS:
        raise CheckpointError(
            f"{source}: unknown kind {full['kind'][:40]!r}; this editkit knows {', '.join(sorted(KINDS))}"
        )
    return full


def _not_native(head: bytes, size: int) -> str:
    if is_pickle(head):
        return "a pickle, not an editkit checkpoint; 'editkit convert' makes one of an official .pkl"
    if len(head) >= 9 and head[8:9] == b"{":
        claimed = int.from_bytes(head[:8], "little")
        return f"cut short: its header alone is {claimed:,} bytes, {size - 8:,} follow; get it again"
    return f"not an editkit checkpoint but {describe(head, size)}"


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a finite number")

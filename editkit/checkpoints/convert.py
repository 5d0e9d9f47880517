"""An official pickle, or its networks, as a native checkpoint."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from editkit.checkpoints import catalogue
from editkit.checkpoints.header import ALIGNMENTS
from editkit.errors import CheckpointError, UsageError


def convert_official(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    network: str = "G_ema",
    name: str | None = None,
    domain: str | None = None,
    alignment: str | None = None,
    licence: str | None = None,
    half: bool = False,
    class_names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Write one network of an official pickle as a native checkpoint; returns its header.

    Args:
        path: the official .pkl. Nothing of it is executed.
        out: the .safetensors to write.
        network: "G_ema" (the averaged generator), "G" or "D".
        name: what the network is to be called; the file's name by default.
        domain: what it shows, such as "faces".
        alignment: the crop it expects: "ffhq", "faces128" or "centre".
        licence: the terms the weights come under. A pickle says none of the three; by default they are taken from the
            catalogue where it knows the network, else the alignment is "centre".
        half: store weights and biases as float16; the header then names the full-precision weights as parent.
        class_names: of the classes that a label chooses from, in order. The pickle does not say.

    Raises:
        CheckpointError: the pickle cannot be read safely, or does not hold ``network``.
        UsageError: an unknown network or alignment, another number of classes, or ``out`` is the pickle itself.
        OutputError: nothing could be written.
    """
    from editkit.checkpoints.arguments import class_count
    from editkit.checkpoints.official import import_official

    path, out = Path(path), Path(out)
    if alignment is not None and alignment not in ALIGNMENTS:
        raise UsageError(f"no alignment is called {alignment!r}; there are {', '.join(ALIGNMENTS)}")
    if os.path.exists(out) and os.path.exists(path) and out.samefile(path):
        raise UsageError(f"the output is the pickle itself ({out}); give another name with --out")
    imported = import_official(path, networks=(network,))[network]
    if class_names is not None and len(class_names) != (count := class_count(imported.arguments)):
        raise UsageError(f"{path} has {count} classes, {len(class_names)} names are given")
    # After the pickle has been judged: these import torch, which takes seconds that a refusal need not.
    from editkit.checkpoints.native import halve, weights_id, write_checkpoint

    tensors = halve(imported.tensors) if half else imported.tensors
    facts = {fact: imported.facts[fact] for fact in ("augment_p", "training_set") if fact in imported.facts}
    known = catalogue.facts(path, imported.kind, imported.arguments)
    header: dict[str, Any] = {
        "kind": imported.kind,
        "arguments": imported.arguments,
        "name": name or path.stem,
        "domain": domain or known.get("domain"),
        "alignment": alignment or known.get("alignment", "centre"),
        "licence": licence or known.get("licence"),
        "class_names": None if class_names is None else list(class_names),
        "parent_id": weights_id(imported.tensors) if half else None,
        "training": {
            "imported_from": path.name,
            "imported_sha256": _sha256(path),
            "network": network,
            **facts,
        },
    }
    return write_checkpoint(out, tensors, header)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error

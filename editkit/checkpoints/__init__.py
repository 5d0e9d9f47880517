"""Weights files: the native format, and the safe import of official pickles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from editkit.lazy import lazy_names

if TYPE_CHECKING:
    from editkit.checkpoints.native import Checkpoint, read_checkpoint, read_header, weights_id, write_checkpoint
    from editkit.checkpoints.official import ImportedNetwork, import_official

__all__ = [
    "Checkpoint",
    "ImportedNetwork",
    "import_official",
    "read_checkpoint",
    "read_header",
    "weights_id",
    "write_checkpoint",
]

_HOMES = {
    "Checkpoint": "editkit.checkpoints.native",
    "ImportedNetwork": "editkit.checkpoints.official",
    "import_official": "editkit.checkpoints.official",
    "read_checkpoint": "editkit.checkpoints.native",
    "read_header": "editkit.checkpoints.native",
    "weights_id": "editkit.checkpoints.native",
    "write_checkpoint": "editkit.checkpoints.native",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)

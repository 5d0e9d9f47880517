"""Rows of a run that survive an interruption: one JSON file a run, read again by the next with the same --out."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Row = dict[str, Any]


class Results:
    """Finished rows by key; a row that failed is run again."""

    def __init__(self, folder: Path, name: str, machine: Row) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{name}.json"
        self.rows: dict[str, Row] = {}
        self.machine = machine
        if self.path.is_file():
            stored = json.loads(self.path.read_text())
            if stored["machine"] != machine:
                sys.exit(f"{self.path} is of {stored['machine']}, this is {machine}: give another --out")
            self.rows = stored["rows"]

    def run(self, key: str, work: Callable[[], Row]) -> Row:
        """The stored row of ``key``, else what ``work`` returns, written at once."""
        if key in self.rows and "error" not in self.rows[key]:
            return self.rows[key] | {"stored": True}
        started = time.perf_counter()
        try:
            row = work()
        except Exception as error:  # one shape that fails must not take the others with it; the exit code tells
            row = {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
        self.rows[key] = row | {"seconds": round(time.perf_counter() - started, 2)}
        self.path.write_text(json.dumps({"machine": self.machine, "rows": self.rows}, indent=1))
        return self.rows[key]


def machine(device: torch.device) -> Row:
    """What figures depend on."""
    try:
        import triton

        version = triton.__version__
    except ImportError:
        version = None
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"device": name, "torch": torch.__version__, "cuda": torch.version.cuda, "triton": version}

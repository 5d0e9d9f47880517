"""The folder of one photo in an output folder: written under a temporary name, put in place when it is complete."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from editkit.errors import OutputError
from projector.job import EVERY_FILE, FILES
from projector.manifest import Record

_REPORT = FILES[-1]


@contextmanager
def new_folder(out: Path, record: Record) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A temporary folder to write ``Job.files`` into, and the function that puts them in their place.

    What killed processes left of this photo is removed first: its claim is the caller's. The temporary folder is gone
    at the end, whatever happened. Raises OutputError where a file is in the way.
    """
    final = out / record.folder
    if final.exists() and not final.is_dir():
        raise OutputError(f"cannot make the folder {final}: {final} is a file; move it or choose another folder")
    for left in out.glob(f".{_literal(record.folder)}.*.part"):
        shutil.rmtree(left, ignore_errors=True)
    place = out / f".{record.folder}.{record.owner}.part"

    def publish() -> None:
        try:
            if not final.exists():
                place.rename(final)
                return
            # A folder that is there may hold more than is ours: file by file, without a report until all are there.
            with suppress(FileNotFoundError):
                (final / _REPORT).unlink()
            for file in EVERY_FILE:
                if (place / file).exists():
                    os.replace(place / file, final / file)
                else:  # a delta of another run would go with a latent that it was not made for
                    (final / file).unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write {final}: {error.strerror or error}; choose another folder") from error

    try:
        yield place, publish
    finally:
        shutil.rmtree(place, ignore_errors=True)


def adopted(out: Path, record: Record) -> dict[str, Any] | None:
    """What ``Manifest.finish`` needs of files that are complete although their row does not say so; None: they are not.

    So it is where a process was killed after it had put the files in place.
    """
    folder = out / record.folder
    try:
        report = json.loads((folder / _REPORT).read_text(encoding="utf-8"))
        needed = [file for file in EVERY_FILE if file in FILES or file in report["files"]]
        if report["key"] != [record.settings, record.fingerprint] or not all((folder / f).is_file() for f in needed):
            return None
        return {
            "seconds": float(report["seconds"]["total"]),
            "metrics": dict(report["metrics"]),
            "stop": str(report["stop"]),
            "edits": str(report["edits_summary"]),
        }
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _literal(name: str) -> str:
    """A name in which ``glob`` sees no pattern."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)

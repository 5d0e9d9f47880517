"""What has been done in an output folder: a small SQLite file, so that a stopped run goes on where it ended.

Convention: one row a photo, keyed by its absolute path. A photo is "pending" while it is worked on, then "done" or
"failed"; it is up to date when it is done, with the same settings, from the same file. Times are UTC, ISO 8601.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from editkit.errors import OutputError, SchemaError

NAME = "manifest.sqlite"
SCHEMA = 1
PAGE = "report.html"

Status = Literal["pending", "done", "failed"]

_TABLE = """
CREATE TABLE IF NOT EXISTS photos (
    path TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    folder TEXT NOT NULL UNIQUE COLLATE NOCASE,
    status TEXT NOT NULL CHECK (status IN ('pending', 'done', 'failed')),
    error TEXT,
    seconds REAL,
    psnr REAL,
    ssim REAL,
    perceptual REAL,
    stop TEXT,
    edits TEXT,
    settings TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    updated TEXT NOT NULL
)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One photo's row.

    Attributes:
        path: absolute, or "sample:NAME"; name: as people know it; folder: of its files, below the output folder.
        status, error: how it went, and in one line why it failed.
        seconds: of work; psnr (dB), ssim, perceptual: see ``ProjectionResult.metrics``; stop: why the search ended.
        edits: what was edited, for people.
        settings: hash of everything that the result depends on; fingerprint: of the photo's file.
        updated: when the row was written.
    """

    path: str
    name: str
    folder: str
    status: Status
    error: str | None = None
    seconds: float | None = None
    psnr: float | None = None
    ssim: float | None = None
    perceptual: float | None = None
    stop: str | None = None
    edits: str | None = None
    settings: str
    fingerprint: str
    updated: str


class Manifest:
    """The rows of one output folder; a context manager that closes the file.

    Raises:
        OutputError: it cannot be written, or the file there is no manifest.
        SchemaError: a newer editkit wrote it.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder) / NAME
        with self._errors():
            self._database = sqlite3.connect(self.path, timeout=30)
            self._database.row_factory = sqlite3.Row
        try:
            with self._errors(), self._database:
                (found,) = self._database.execute("PRAGMA user_version").fetchone()
                if found > SCHEMA:
                    raise SchemaError(
                        f"{self.path} has schema {found}, this editkit reads up to {SCHEMA}; update editkit, or choose "
                        "another output folder"
                    )
                if found == 0:
                    if self._database.execute("SELECT name FROM sqlite_master LIMIT 1").fetchone():
                        raise sqlite3.DatabaseError("it is a database of something else")
                    self._database.execute(_TABLE)
                    self._database.execute(f"PRAGMA user_version = {SCHEMA}")
                self._database.execute(f"SELECT {', '.join(Record.__slots__)} FROM photos LIMIT 1")
        except BaseException:
            self._database.close()
            raise

    def __enter__(self) -> Manifest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def find(self, path: str) -> Record | None:
        """The row of a photo, or None."""
        with self._errors():
            row = self._database.execute("SELECT * FROM photos WHERE path = ?", (path,)).fetchone()
        return None if row is None else Record(**row)

    def records(self) -> list[Record]:
        """Every row, by folder."""
        with self._errors():
            return [Record(**row) for row in self._database.execute("SELECT * FROM photos ORDER BY folder")]

    def begin(self, path: str, *, name: str, stem: str, settings: str, fingerprint: str) -> Record:
        """Mark a photo as pending. It keeps its folder; a new one gets ``stem``, numbered where that is taken."""
        known = self.find(path)
        record = Record(
            path=path,
            name=name,
            folder=known.folder if known else self._free_folder(stem),
            status="pending",
            settings=settings,
            fingerprint=fingerprint,
            updated=_now(),
        )
        return self._write(record)

    def finish(
        self, record: Record, *, seconds: float, metrics: Mapping[str, float | None], stop: str, edits: str
    ) -> Record:
        """Mark a photo as done."""
        numbers: dict[str, Any] = {name: metrics.get(name) for name in ("psnr", "ssim", "perceptual")}
        done = replace(record, status="done", seconds=seconds, stop=stop, edits=edits, updated=_now(), **numbers)
        return self._write(done)

    def fail(self, record: Record, error: str, *, seconds: float) -> Record:
        """Mark a photo as failed, and say why in one line."""
        reason = " ".join(error.split())
        return self._write(replace(record, status="failed", error=reason, seconds=seconds, updated=_now()))

    def _write(self, record: Record) -> Record:
        names = Record.__slots__
        columns, places = ", ".join(names), ", ".join("?" * len(names))
        with self._errors(), self._database:
            self._database.execute(
                f"INSERT OR REPLACE INTO photos ({columns}) VALUES ({places})",
                [getattr(record, name) for name in names],
            )
        return record

    def _free_folder(self, stem: str) -> str:
        with self._errors():
            taken = {NAME, PAGE} | {
                row["folder"].casefold() for row in self._database.execute("SELECT folder FROM photos")
            }
        names = (stem if number == 1 else f"{stem}-{number}" for number in range(1, len(taken) + 2))
        return next(name for name in names if name.casefold() not in taken)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if "full" in str(error):
                raise OutputError(
                    f"cannot write {self.path}: no space left; free some or choose another disk"
                ) from error
            if isinstance(error, sqlite3.OperationalError) and "no such" not in str(error):
                raise OutputError(f"cannot write {self.path}: {error}; choose another output folder") from error
            raise OutputError(
                f"{self.path} is not a manifest of editkit ({error}); move it, or choose another output folder"
            ) from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

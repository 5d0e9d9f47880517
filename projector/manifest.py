"""What has been done in an output folder: a small SQLite file, so that a stopped run goes on where it ended.

Convention: one row a photo, keyed by its absolute path. A photo is "pending" while it is worked on, then "done" or
"failed"; it is up to date when it is done, with the same settings, from the same file. Times are UTC, ISO 8601. Rows
are claimed in one transaction, so that several processes may share the folder: see ``projector.lease``.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from editkit.errors import OutputError, SchemaError
from projector.lease import Heartbeat, Owner

log = logging.getLogger(__name__)

NAME = "manifest.sqlite"
SCHEMA = 2
PAGE = "report.html"
ALL_FACES = "pasted_all.png"
"""Of a photo of several faces, in the folder of the first: see ``projector.crowd``."""

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
_SINCE_2 = ("owner TEXT", "host TEXT", "pid INTEGER", "heartbeat REAL", "attempts INTEGER NOT NULL DEFAULT 0")
"""Columns that schema 2 adds; a manifest of schema 1 gets them when it is opened."""


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
        owner, host, pid, heartbeat: who works on it, or did last; see ``projector.lease``.
        attempts: how often it was taken up.
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
    owner: str | None = None
    host: str | None = None
    pid: int | None = None
    heartbeat: float | None = None
    attempts: int = 0


class LeaseLostError(OutputError):
    """Another process has taken the photo over: this one was silent for too long. What it did is thrown away."""


class Manifest:
    """The rows of one output folder; a context manager that closes the file.

    Raises:
        OutputError: it cannot be written, or the file there is no manifest.
        SchemaError: a newer editkit wrote it.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path, self.owner = Path(folder) / NAME, Owner()
        self._heartbeat: Heartbeat | None = None
        with self._errors():
            self._database = sqlite3.connect(self.path, timeout=30)
            self._database.row_factory = sqlite3.Row
        try:
            with self._errors(), self._transaction():
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
                if found < 2:
                    for column in _SINCE_2:
                        self._database.execute(f"ALTER TABLE photos ADD COLUMN {column}")
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
        if self._heartbeat is not None:
            self._heartbeat.stop()
        try:  # what was not finished is free for others at once
            with self._database:
                self._database.execute(
                    "UPDATE photos SET owner = NULL WHERE owner = ? AND status = 'pending'", (self.owner.token,)
                )
        except sqlite3.Error as problem:  # the lease ends by itself
            log.debug("%s: %s", self.path, problem)
        self._database.close()

    def find(self, path: str) -> Record | None:
        """The row of a photo, or None."""
        with self._errors():
            row = self._database.execute("SELECT * FROM photos WHERE path = ?", (path,)).fetchone()
        return None if row is None else Record(**row)

    def forget(self, path: str) -> None:
        """Delete the row of a photo, overwriting what it held; nothing happens where there is none."""
        with self._errors():
            self._database.execute("PRAGMA secure_delete = ON")
            with self._database:
                self._database.execute("DELETE FROM photos WHERE path = ?", (path,))

    def records(self) -> list[Record]:
        """Every row, by folder."""
        with self._errors():
            return [Record(**row) for row in self._database.execute("SELECT * FROM photos ORDER BY folder")]

    def begin(
        self,
        path: str,
        *,
        name: str,
        stem: str,
        settings: str,
        fingerprint: str,
        was: tuple[int, Status | None] | None = None,
    ) -> Record | None:
        """Claim a photo and mark it as pending; None: another process works on it, or (see ``was``) has done so.

        It keeps its folder; a new one gets ``stem``, numbered where that is taken.

        was: attempts and status (0, None: no row) from which the caller decided; by default they do not matter.
        """
        with self._errors(), self._transaction():
            known = self.find(path)
            attempts, status = (known.attempts, known.status) if known else (0, None)
            if was is not None and was != (attempts, status):
                return None
            if (
                known is not None
                and status == "pending"
                and known.owner not in (None, self.owner.token)
                and not self.owner.has_left(host=known.host, pid=known.pid, heartbeat=known.heartbeat)
            ):
                return None
            record = Record(
                path=path,
                name=name,
                folder=known.folder if known else self._free_folder(stem),
                status="pending",
                settings=settings,
                fingerprint=fingerprint,
                updated=_now(),
                owner=self.owner.token,
                host=self.owner.host,
                pid=self.owner.pid,
                heartbeat=time.time(),
                attempts=attempts + 1,
            )
            self._write(record)
        self._heartbeat = self._heartbeat or Heartbeat(self.path, self.owner)
        return record

    def finish(
        self,
        record: Record,
        *,
        seconds: float,
        metrics: Mapping[str, float | None],
        stop: str,
        edits: str,
        publish: Callable[[], object] | None = None,
    ) -> Record:
        """Mark a photo as done. ``publish`` puts its files in place first, while nobody else can claim it.

        Raises LeaseLostError, before ``publish``, where another process has taken it over.
        """
        numbers: dict[str, Any] = {name: metrics.get(name) for name in ("psnr", "ssim", "perceptual")}
        done = replace(record, status="done", seconds=seconds, stop=stop, edits=edits, updated=_now(), **numbers)
        return self._settle(done, publish)

    def fail(self, record: Record, error: str, *, seconds: float) -> Record:
        """Mark a photo as failed, and say why in one line. Raises LeaseLostError."""
        reason = " ".join(error.split())
        return self._settle(replace(record, status="failed", error=reason, seconds=seconds, updated=_now()), None)

    def _settle(self, record: Record, publish: Callable[[], object] | None) -> Record:
        with self._errors(), self._transaction():
            known = self.find(record.path)
            if known is None or known.owner != self.owner.token:
                raise LeaseLostError(f"{record.name} was taken over by another process; its result counts")
            if publish is not None:
                publish()
            return self._write(record)

    def _write(self, record: Record) -> Record:
        names = Record.__slots__
        columns, places = ", ".join(names), ", ".join("?" * len(names))
        self._database.execute(
            f"INSERT OR REPLACE INTO photos ({columns}) VALUES ({places})", [getattr(record, name) for name in names]
        )
        return record

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, with the lock taken at once: nobody else reads what is about to change."""
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            yield

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

"""Who works on a photo: a lease that is renewed by a heartbeat, so that several processes may share an output folder.

Convention: a row that is "pending" and has an owner is being worked on. Its owner renews ``heartbeat`` (seconds since
1970 by its own clock). On the same machine a lease ends with its process, or when it was not renewed for ``LEASE``
seconds; on another one when it was not renewed for ``LEASE + SKEW`` seconds, since clocks differ: those of machines
that share a folder must agree within ``SKEW``. The file system must support locks (SQLite's), as NFS often does not.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sqlite3
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger(__name__)

LEASE, SKEW, BEAT = 60.0, 60.0, 10.0
"""Seconds: until an unrenewed lease ends, what clocks may differ by, and from heartbeat to heartbeat."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """A process at work: its machine, its number, and a token that no other has, also after the number is reused."""

    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    def has_left(self, *, host: str | None, pid: int | None, heartbeat: float | None) -> bool:
        """Whether the holder of a lease, as a row names it, is gone."""
        age = time.time() - (heartbeat or 0.0)
        if host != self.host:
            return age > LEASE + SKEW
        return age > LEASE or (pid is not None and not _is_alive(pid))


class Heartbeat:
    """A thread that renews the leases of ``owner`` in the manifest at ``path`` until it is stopped."""

    def __init__(self, path: Path, owner: Owner) -> None:
        self._path, self._owner, self._stop = path, owner, threading.Event()
        self._thread = threading.Thread(target=self._run, name="editkit-heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; harmless when it has ended."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(BEAT):
            try:
                database = sqlite3.connect(self._path, timeout=BEAT)
                try:
                    with database:
                        database.execute(
                            "UPDATE photos SET heartbeat = ? WHERE owner = ? AND status = 'pending'",
                            (time.time(), self._owner.token),
                        )
                finally:
                    database.close()
            except (
                sqlite3.Error
            ) as error:  # the next beat may get through; a lease lost meanwhile is noticed at the end
                log.debug("heartbeat: %s", error)


def _is_alive(pid: int) -> bool:
    if sys.platform == "win32":  # where signal 0 would end the process: only the lease tells
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True

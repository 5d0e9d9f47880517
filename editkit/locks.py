"""A lock that other processes and threads see, let go of by the system when its holder ends in whatever way."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from editkit.errors import OutputError

INTERVAL = 0.1  # seconds between two looks at a lock that someone holds


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock that the file ``path`` stands for; waits for whoever has it. The file is empty and stays.

    Raises:
        OutputError: the file cannot be made, or its file system knows no locks.
    """
    try:
        stream = path.open("a+b")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}; choose another folder") from error
    with stream:
        while not _taken(stream, path):
            time.sleep(INTERVAL)
        try:
            yield
        finally:
            _let_go(stream)


if sys.platform == "win32":
    import msvcrt

    def _taken(stream: IO[bytes], path: Path) -> bool:
        stream.seek(0)
        try:
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _let_go(stream: IO[bytes]) -> None:
        stream.seek(0)
        msvcrt.locking(stream.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _taken(stream: IO[bytes], path: Path) -> bool:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(f"cannot lock {path}: {reason}; choose a folder on a local disk") from error
        return True

    def _let_go(stream: IO[bytes]) -> None:
        fcntl.flock(stream, fcntl.LOCK_UN)

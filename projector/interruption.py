"""Ctrl-C after the search: what was found is still judged and written, and a second Ctrl-C ends that too."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")


def finished(task: Callable[[], T], *, interrupted: bool = False) -> tuple[T, bool]:
    """What ``task()`` gives, and whether Ctrl-C was pressed by the end of it.

    The first Ctrl-C begins the task anew, so that it must be short and repeatable. Where there has been one before
    (``interrupted``), and on the second, KeyboardInterrupt goes on to the caller.
    """
    try:
        return task(), interrupted
    except KeyboardInterrupt:
        if interrupted:
            raise
        log.warning("interrupted: finishing with what was found; Ctrl-C again stops at once")
        return task(), True

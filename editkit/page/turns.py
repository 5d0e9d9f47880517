"""Turns: long work goes one at a time, in the order in which it was asked for; who waits is told how long the line is.

Gradio's own queue would keep a visitor waiting without a word; what waits here says so while it waits.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from editkit.errors import UsageError

MOST = 24
"""Who may wait at a time; each holds one of the server's threads."""
LOOK = 0.25
"""Seconds between two looks at whether who waits still wants to."""


class Turns:
    """One line for everyone."""

    def __init__(self) -> None:
        self._line: list[object] = []
        self._changed = threading.Condition()

    @contextmanager
    def place(self) -> Iterator[Place]:
        """A place at the end of the line, left at the end of the block. Raises UsageError where too many wait."""
        place = Place(self._line, self._changed)
        with self._changed:
            if len(self._line) > MOST:
                raise UsageError(f"{MOST} searches are waiting already; try again in some minutes")
            self._line.append(place)
        try:
            yield place
        finally:
            with self._changed:
                self._line.remove(place)
                self._changed.notify_all()


class Place:
    """A place in the line."""

    def __init__(self, line: list[object], changed: threading.Condition) -> None:
        self._line, self._changed = line, changed

    def ahead(self, cancel: threading.Event) -> Iterator[int]:
        """How many are before this place, told at once where there are some, and at every change; it ends when it is
        this place's turn, or ``cancel`` is set."""
        told = 0
        while not cancel.is_set():
            with self._changed:
                before = self._line.index(self)
                if before == told and before:
                    self._changed.wait(LOOK)
                    before = self._line.index(self)
            if not before:
                return
            if before != told:
                told = before
                yield before

    def give_way(self, cancel: threading.Event) -> Iterator[int]:
        """Let those who wait go first, and wait as in ``ahead``: for work of many parts, between two of them."""
        with self._changed:
            self._line.remove(self)
            self._line.append(self)
            self._changed.notify_all()
        yield from self.ahead(cancel)


def said(before: int) -> str:
    """How many are before a visitor, in words."""
    others = "one search is" if before == 1 else f"{before} searches are"
    return f"Waiting: {others} before yours, which then begins by itself."

"""Long work in a thread of its own, in its turn, whose news a handler passes on while it goes; leaving it ends it."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from editkit.page import turns
from editkit.page.turns import Place, Turns

T = TypeVar("T")
_END = object()
GIVES_WAY = 5
"""Niceness of long work."""


@dataclass(frozen=True, slots=True)
class News:
    """What the work said on its way; only the latest is passed on."""

    value: Any


@dataclass(frozen=True, slots=True)
class Waiting:
    """It is not this work's turn yet."""

    text: str  # for people


@dataclass(frozen=True, slots=True)
class Result(Generic[T]):
    """What it came to."""

    value: T


def step_back() -> None:
    """Let this thread, and those that it starts, give way to sliders and to the browser on the same machine (Linux)."""
    if sys.platform == "linux":  # elsewhere it would be the whole process
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), GIVES_WAY)


def live(work: Callable[[Tell], T], cancel: threading.Event, line: Turns) -> Iterator[Waiting | News | Result[T]]:
    """Wait in ``line``, and say so; then run ``work(tell)`` in a thread: its latest news as they come, its result at
    the end, its error raised here.

    Who stops listening (a visitor who closes the page) sets ``cancel``, which the work looks at. Who stops waiting
    gets nothing more, and the work does not begin. Raises UsageError where too many wait.
    """
    try:
        with line.place() as place:
            for before in place.ahead(cancel):
                yield Waiting(turns.said(before))
            if not cancel.is_set():
                yield from _worked(work, cancel, place)
    except GeneratorExit:
        cancel.set()
        raise


class Tell:
    """What work is given: called with news, it passes them on."""

    def __init__(self, told: queue.SimpleQueue[Any], cancel: threading.Event, place: Place) -> None:
        self._told, self._cancel, self._place = told, cancel, place

    def __call__(self, value: Any) -> None:
        self._told.put(News(value))

    def give_way(self) -> None:
        """Between two parts of long work: those who wait go first."""
        for before in self._place.give_way(self._cancel):
            self._told.put(Waiting(turns.said(before)))


def _worked(work: Callable[[Tell], T], cancel: threading.Event, place: Place) -> Iterator[Waiting | News | Result[T]]:
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    outcome: list[Any] = []

    def run() -> None:
        step_back()
        try:
            outcome.append(Result(work(Tell(told, cancel, place))))
        except BaseException as error:
            outcome.append(error)
        finally:
            told.put(_END)

    threading.Thread(target=run, name="editkit-page", daemon=True).start()
    while (item := told.get()) is not _END:
        while item is not _END and not told.empty():  # older news are no news
            item = told.get()
        if item is _END:
            break
        yield item
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    yield outcome[0]

"""Finding directions: a method is an object that is passed in.

found = directions.find(G, GanSpace(count=10))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from editkit.direction import Direction

if TYPE_CHECKING:
    from editkit.generator import Generator

Progress = Callable[[int, int], object]


class Method(Protocol):
    """A way of finding directions; its attributes are its options."""

    def find(self, G: Generator, *, on_progress: Progress | None = None) -> tuple[Direction, ...]:
        """Directions of ``G``, the most important first."""
        ...


def find(G: Generator, method: Method, *, on_progress: Progress | None = None) -> tuple[Direction, ...]:
    """Directions of ``G`` by ``method``; ``on_progress(done, total)`` is called now and then. Raises DirectionError."""
    return method.find(G, on_progress=on_progress)

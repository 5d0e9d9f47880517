"""Which layers an operation is limited to: rows of W+ by number, layers of s by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from editkit.errors import LatentError

Layers = Iterable[int] | Iterable[str] | int | str
"""Rows of W+ by number, or layers of s by name; one or several."""


def checked_rows(layers: Layers, count: int) -> list[int]:
    """``layers`` as row numbers, if all are below ``count``. Raises LatentError naming the first that is not."""
    rows: list[int] = []
    for row in (layers,) if isinstance(layers, int | str) else layers:
        if not isinstance(row, int) or isinstance(row, bool) or not 0 <= row < count:
            raise LatentError(f"there is no layer {row!r} here; the layers are 0 to {count - 1}")
        rows.append(row)
    return rows


def checked_names(layers: Layers, known: Iterable[str]) -> list[str]:
    """``layers`` as layer names, if all are among ``known``. Raises LatentError naming the first that is not."""
    there, names = tuple(known), []
    for name in (layers,) if isinstance(layers, int | str) else layers:
        if not isinstance(name, str) or name not in there:
            raise LatentError(f"there is no layer {name!r} here; the layers are {', '.join(there)}")
        names.append(name)
    return names


def check_widths(found: Mapping[str, int], wanted: Mapping[str, int]) -> None:
    """Raises LatentError unless layers of s and their channels, by name, are those of the generator, ``wanted``."""
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            raise LatentError(
                f"this generator has {wanted.get(name, 0)} channels in {name!r}, got {found.get(name, 0)}"
            )

"""Labels of a data set: from sub-folder names, a CSV or a JSON file, matched with its pictures.

Convention: a label is a class (an index from 0 on) or a vector of finite numbers, one kind for a whole data set.
Class names are sorted; the index of a class is its place among them. As arrays, classes are int64 [N],
vectors float32 [N, D].
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from editkit.errors import TrainingDataError

NAME_COLUMNS = ("file", "name", "path", "filename", "file_name", "image")
MOST_CLASSES = 100_000
_SHOWN = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """A label for each picture, by its name. Raises TrainingDataError where kinds or lengths are mixed."""

    values: Mapping[str, int | tuple[float, ...]]
    class_names: tuple[str, ...] = ()  # empty: classes have no names, or labels are vectors

    def __post_init__(self) -> None:
        kinds = {-1 if isinstance(value, int) else len(value) for value in self.values.values()}
        if len(kinds) > 1:
            found = sorted("a class" if kind < 0 else f"{kind} numbers" for kind in kinds)
            raise TrainingDataError(f"labels are all classes or all vectors of one length, got {' and '.join(found)}")
        if kinds == {-1}:
            low, high = min(self.values.values()), max(self.values.values())  # type: ignore[type-var]
            if low < 0 or high >= MOST_CLASSES:  # type: ignore[operator]
                raise TrainingDataError(f"a class is an index from 0 to {MOST_CLASSES - 1:,}, got {low} to {high}")
            if self.class_names and high >= len(self.class_names):  # type: ignore[operator]
                raise TrainingDataError(f"class {high} has no name: there are {len(self.class_names)} class names")

    @property
    def c_dim(self) -> int:
        """Classes, or numbers in a vector; 0 without labels."""
        first = next(iter(self.values.values()), None)
        if first is None:
            return 0
        if isinstance(first, tuple):
            return len(first)
        return max(len(self.class_names), 1 + max(value for value in self.values.values()))  # type: ignore[type-var,operator]

    def of(self, names: Sequence[str], *, among: Iterable[str] | None = None) -> np.ndarray:
        """The labels of ``names``: int64 [N] classes or float32 [N, c_dim].

        among: every picture that there is, ``names`` by default.
        Raises TrainingDataError: a picture without a label, or a label for a picture that is not there.
        """
        bare = [name for name in names if name not in self.values]
        if bare:
            raise TrainingDataError(
                f"{len(bare)} of {len(names)} pictures have no label: {shown(bare)}; label them, move them away, "
                "or leave labels out"
            )
        lost = sorted(set(self.values).difference(names if among is None else among))
        if lost:
            raise TrainingDataError(
                f"{len(lost)} labels name pictures that are not there: {shown(lost)}; "
                "names are paths below the data set"
            )
        values = [self.values[name] for name in names]
        return np.array(values, np.int64 if isinstance(values[0], int) else np.float32)


def shown(names: Sequence[str]) -> str:
    """The first few names, and how many more. Names that are no UTF-8 are shown escaped."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return printable(", ".join(names[:_SHOWN])) + more


def printable(text: str) -> str:
    """``text`` with what stands for bytes that are no UTF-8, in names of files, escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def folder_labels(names: Sequence[str]) -> Labels:
    """The first part of each name as its class. Raises TrainingDataError: a picture in no sub-folder."""
    bare = [name for name in names if "/" not in name]
    if bare:
        raise TrainingDataError(
            f"{len(bare)} of {len(names)} pictures lie in no sub-folder, so they have no label: {shown(bare)}; "
            "move them into one, a class each, or give labels in a file"
        )
    return _labels({name: name.split("/")[0] for name in names})


def csv_labels(text: str, *, column: str | None = None) -> Labels:
    """A CSV with a header: the picture in a column ``file``, ``name``, ... (else the first), and labels.

    column: of the class; without it, one other column holds classes or numbers, and several hold a vector of numbers.
    Raises TrainingDataError: no rows, an unknown column, or values that are neither.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline="")))
    except csv.Error as error:
        raise TrainingDataError(f"the CSV of labels cannot be read: {error}") from error
    header = list(rows[0]) if rows else []
    if len(header) < 2 or None in header:
        raise TrainingDataError("the CSV of labels has a header, a column with names and one with labels; got neither")
    name_column = next((known for known in NAME_COLUMNS for title in header if title.lower() == known), None)
    name_column = next((title for title in header if title.lower() == name_column), header[0])
    columns = [title for title in header if title != name_column] if column is None else [column]
    if column is not None and column not in header:
        raise TrainingDataError(f"the CSV of labels has no column {column!r}; it has {', '.join(header)}")
    values: dict[str, Any] = {}
    for line, row in enumerate(rows, 2):
        cells = [row[title] for title in columns]
        if not row[name_column] or any(cell is None or not cell.strip() for cell in cells):
            raise TrainingDataError(f"row {line} of the CSV of labels lacks a name or a label; complete or remove it")
        try:
            numbers = [float(cell) for cell in cells]
        except ValueError:
            if len(columns) > 1:
                raise TrainingDataError(
                    f"row {line} of the CSV of labels holds {cells}: several columns are a vector of numbers; "
                    "choose one with --label-column"
                ) from None
            values[row[name_column]] = cells[0].strip()
            continue
        whole = len(columns) == 1 and cells[0].strip().isdecimal() and len(cells[0]) < 18
        values[row[name_column]] = int(cells[0]) if whole else numbers
    kinds = {type(value) for value in values.values()}
    if str in kinds and len(kinds) > 1:  # a class that happens to be called 1984
        column_index = columns[0]
        values = {row[name_column]: str(row[column_index]).strip() for row in rows}
    return _labels(values)


def json_labels(text: str | bytes) -> Labels | None:
    """The official ``{"labels": [[name, class or vector], ...]}``, or ``{name: label}``; None: ``"labels": null``.

    ``class_names`` beside ``labels`` names the classes. Raises TrainingDataError on anything else.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TrainingDataError(f"the JSON of labels cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise TrainingDataError('the JSON of labels is {"labels": [[name, label], ...]} or {name: label}')
    official = "labels" in document
    pairs = document["labels"] if official else document
    if pairs is None:
        return None
    if isinstance(pairs, dict):
        pairs = list(pairs.items())
    if not isinstance(pairs, list) or not all(isinstance(p, list | tuple) and len(p) == 2 for p in pairs):
        raise TrainingDataError('"labels" of the JSON is a list of [name, class or vector]')
    if not pairs:
        return None
    names = document.get("class_names") if official else None
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise TrainingDataError('"class_names" of the JSON is a list of names')
    if not all(isinstance(name, str) for name, _ in pairs):
        raise TrainingDataError('"labels" of the JSON holds a name that is not text')
    return _labels(dict(pairs), tuple(names or ()))


def _labels(values: Mapping[str, Any], class_names: tuple[str, ...] = ()) -> Labels:
    if all(isinstance(value, str) for value in values.values()):
        class_names = class_names or tuple(sorted(set(values.values())))
        places = {name: place for place, name in enumerate(class_names)}
        unknown = sorted(set(values.values()) - set(places))
        if unknown:
            raise TrainingDataError(f"labels name classes that class_names lacks: {shown(unknown)}")
        values = {name: places[value] for name, value in values.items()}
    return Labels(
        values={PurePosixPath(name.replace("\\", "/")).as_posix(): _label(name, v) for name, v in values.items()},
        class_names=class_names,
    )


def _label(name: str, value: Any) -> int | tuple[float, ...]:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, list) and value and all(_is_number(v) for v in value):
        return tuple(float(v) for v in value)
    raise TrainingDataError(f"the label of {name} is {value!r:.60}; a label is a class or a list of finite numbers")


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False

"""Labelled latents: what a supervised search learns from, wherever the labels come from.

    Labelled.from_bank(G, bank, "yaw")             a scorer's, over a generator's own samples
    Labelled.from_csv(G, "labels.csv")             yours: a seed or a latent file a row, and a number
    Labelled.from_folders(G, "smiling", "serious") two folders of projected photos

Photos of your own are projected first (`editkit project PHOTOS --out smiling`): this package never searches latents.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from directions.bank import SampleBank
from editkit.errors import DirectionError, GeneratorMismatchError, LatentError
from editkit.labels import Classes
from editkit.latent import Latent, concatenate
from editkit.latent_file import NAME as PROJECTED
from editkit.latent_file import read_latent
from editkit.sampling import sample_w

if TYPE_CHECKING:
    from editkit.generator import Generator

Sample = TypeVar("Sample", int, Path)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Labelled:
    """Latents with a number each.

    Attributes:
        name: what the number says: "smile_width".
        latents: N of them, in w or w+.
        scores: float64 [N], finite and not all equal.
        source: where the labels come from, in a few words.
    """

    name: str
    latents: Latent
    scores: Tensor
    source: str

    def __post_init__(self) -> None:
        scores = torch.as_tensor(self.scores, dtype=torch.float64).cpu()
        if scores.shape != (len(self.latents),):
            raise DirectionError(f"{len(self.latents)} latents need as many labels, got {list(scores.shape)}")
        if not bool(torch.isfinite(scores).all()):
            raise DirectionError(
                f"labels of {self.name!r} hold NaN or infinite values; mend or leave out these samples"
            )
        if len(scores) < 2 or float(scores.std()) <= 1e-6 * max(1.0, float(scores.abs().mean())):
            raise DirectionError(f"all labels of {self.name!r} are the same; a direction needs both sides")
        object.__setattr__(self, "scores", scores)

    @property
    def binary(self) -> bool:
        """Whether the labels are two classes rather than a measure."""
        return len(self.scores.unique()) == 2

    @classmethod
    def from_bank(cls, G: Generator, bank: SampleBank, name: str, *, classes: Classes | None = None) -> Labelled:
        """The samples of a bank, by one of its scores. Raises DirectionError where it has no such score."""
        if name not in bank.scores:
            raise DirectionError(f"the bank has no score {name!r}; it has {', '.join(sorted(bank.scores)) or 'none'}")
        return cls(
            name=name,
            latents=bank.latents(G, classes=classes),
            scores=bank.scores[name][: len(bank)],
            source=f"{len(bank)} samples from seed {bank.seed}",
        )

    @classmethod
    def from_csv(
        cls, G: Generator, path: str | Path, *, name: str | None = None, classes: Classes | None = None
    ) -> Labelled:
        """A table with a ``seed`` or a ``latent`` column (a file, relative to the table), and one of numbers.

        The column of numbers is ``name``, or the only other one. Empty labels are left out. A column ``generator``
        may hold the id (or its first digits) of the generator whose pictures were labelled: it is checked.

        Raises:
            DirectionError: no such table or column, something that is not a number, or a sample labelled in two ways.
            GeneratorMismatchError, LatentError: labels or a latent of another generator, or damaged.
            UsageError: a seed out of range.
        """
        table = Path(path)
        rows = _table(table)
        columns = list(rows[0])
        by = next((column for column in ("seed", "latent") if column in columns), None)
        others = [column for column in columns if column not in ("seed", "latent", "generator")]
        if by is None or not others or (name is None and len(others) > 1) or (name is not None and name not in others):
            raise DirectionError(
                f"{table} needs a column 'seed' or 'latent', and one of numbers{f' called {name!r}' if name else ''}; "
                f"it has {', '.join(columns)}"
            )
        column = name or others[0]
        kept = [(number, row) for number, row in enumerate(rows, start=2) if (row[column] or "").strip()]
        scores = [_number(row[column], table, number) for number, row in kept]
        if not kept:
            raise DirectionError(f"{table} has no label in column {column!r}")
        for number, row in kept:
            _check_generator(G, row.get("generator"), table, number)
        if by == "seed":
            seeds = _each_once([_seed(row[by], table, number) for number, row in kept], scores, table)
            latents, told = sample_w(G, list(seeds), classes=classes), list(seeds.values())
        else:
            files = _each_once([_file(row[by], table, number) for number, row in kept], scores, table)
            latents, told = _read(G, files, single=True), list(files.values())
        return cls(name=column, latents=latents, scores=torch.tensor(told), source=f"{table.name}, {len(told)} rows")

    @classmethod
    def from_folders(cls, G: Generator, with_it: str | Path, without: str | Path, *, name: str) -> Labelled:
        """Latents of two folders: label 1 for those in ``with_it``, 0 for those in ``without``, sub-folders included.

        Where `editkit project` wrote a folder its ``latent.safetensors`` count, else every .safetensors there is.
        Raises DirectionError where a folder holds no latents, or a file is in both; GeneratorMismatchError for latents
        of another generator.
        """
        files = [latent_files(Path(folder)) for folder in (with_it, without)]
        sides = [_read(G, paths) for paths in files]
        both = {path.resolve() for path in files[0]} & {path.resolve() for path in files[1]}
        if both:
            raise DirectionError(f"{min(both)} is on both sides, with and without {name}; give two folders apart")
        source = f"{len(sides[0])} latents of {Path(with_it).name}, {len(sides[1])} of {Path(without).name}"
        return cls.of_sides(*sides, name=name, source=source)

    @classmethod
    def of_sides(cls, with_it: Latent, without: Latent, *, name: str, source: str) -> Labelled:
        """Label 1 for all ``with_it``, 0 for all ``without``. Raises DirectionError."""
        scores = torch.cat([torch.ones(len(with_it)), torch.zeros(len(without))])
        return cls(name=name, latents=concatenate([with_it, without]), scores=scores, source=source)


def _table(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream, skipinitialspace=True))
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise DirectionError(f"cannot read the labels {path}: {problem}; give a CSV file in UTF-8") from problem
    if not rows:
        raise DirectionError(f"{path} holds no labels; its first line names the columns, such as seed,smile")
    for number, row in enumerate(rows, start=2):
        if None in row:  # where csv puts what no column is named for
            raise DirectionError(f"{path}, line {number}: more cells than the first line names columns")
    return rows


def _number(text: str, path: Path, line: int) -> float:
    try:
        return float(text)
    except ValueError:
        raise DirectionError(f"{path}, line {line}: a label is a number, got {text!r}") from None


def _seed(text: str | None, path: Path, line: int) -> int:
    try:
        return int(text or "")
    except ValueError:
        raise DirectionError(f"{path}, line {line}: a seed is an integer, got {text!r}") from None


def _file(text: str | None, path: Path, line: int) -> Path:
    name = (text or "").strip()
    if not name:
        raise DirectionError(f"{path}, line {line}: no file in column 'latent'")
    return path.parent / name


def _each_once(samples: list[Sample], scores: list[float], path: Path) -> dict[Sample, float]:
    """Sample -> label: one that is told twice counts once, else it would be fitted on and held out at once."""
    first: dict[Sample, float] = {}
    for sample, score in zip(samples, scores, strict=True):
        if first.setdefault(sample, score) != score and not math.isnan(score):  # NaN is refused for what it is
            what = f"seed {sample}" if isinstance(sample, int) else str(sample)
            raise DirectionError(f"{path}: {what} is labelled {first[sample]:g} and {score:g}; keep one of them")
    return first


def _check_generator(G: Generator, text: str | None, path: Path, line: int) -> None:
    told = (text or "").strip().lower()
    known = [identity for identity in (G.spec.id, G.spec.parent_id) if identity]
    if told and not any(identity.startswith(told) for identity in known):
        raise GeneratorMismatchError(
            f"{path}, line {line}: this label is of generator {told[:12]}, not of {G.spec.name!r}, {G.spec.id[:12]}; "
            "load the generator whose pictures were labelled"
        )


def photo_latents(G: Generator, folder: str | Path) -> Latent:
    """All latents of a folder of projected photos, as ``Labelled.from_folders`` takes them. Raises as that does."""
    return _read(G, latent_files(Path(folder)))


def latent_files(folder: Path) -> list[Path]:
    """The latents in a folder, sub-folders included: what `editkit project` wrote, else every .safetensors there is.

    Raises DirectionError where there is none.
    """
    if not folder.is_dir():
        raise DirectionError(f"{folder} is not a folder; give one of projected photos")
    found = sorted(path for path in folder.rglob("*.safetensors") if path.is_file())
    projected = [path for path in found if path.name == PROJECTED]
    if not found:
        raise DirectionError(
            f"{folder} holds no latents (.safetensors); project its photos first: "
            f"editkit project {folder} --out {folder.name}-latents, and give that folder"
        )
    return projected or found


def _read(G: Generator, paths: Iterable[Path], *, single: bool = False) -> Latent:
    found = []
    for path in paths:
        latent = read_latent(path).latent.check(G.spec)
        if single and len(latent) != 1:
            raise LatentError(f"{path} holds {len(latent)} latents; a row of labels goes with one")
        found.append(G.map(latent.tensor) if latent.space == "z" else latent)
    return concatenate(found)

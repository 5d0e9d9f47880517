"""Pictures of a generator's own codes: one a seed, and sheets of many.

Convention: a sheet is [3, H, W] in [-1, 1]; pictures are written as seed0000.png. A PNG keeps what it was made from in
a text chunk, so that the same call again makes only what is missing or was made otherwise. Pictures of a generator with
alpha keep it; sheets show them on white.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from editkit.colour import split_alpha
from editkit.errors import UsageError
from editkit.files import ensure_folder
from editkit.labels import Classes, labels_for_seeds
from editkit.latent import Latent, concatenate
from editkit.layers import Layers
from editkit.photo import write_image
from editkit.rendering import image_grid, render
from editkit.sampling import sample_w
from editkit.transform import Transform

if TYPE_CHECKING:
    from editkit.generator import Generator

SETTINGS_KEY = "generate"
"""Name of the PNG text chunk with what a picture was made from."""
MAX_SHEET_PIXELS = 50_000_000
PADDING = 2
"""Pixels around every picture of a sheet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How seeds become codes and pictures.

    Attributes:
        classes: of a conditional generator, see ``editkit.labels``; drawn for each seed by default.
        truncation_psi, truncation_cutoff: see ``Generator.map``.
        transform: where the pictures are placed, one sample; None leaves them.
        batch: pictures rendered at a time.
    """

    classes: Classes | None = None
    truncation_psi: float = 1.0
    truncation_cutoff: int | None = None
    transform: Transform | None = None
    batch: int = 8

    def latents(self, G: Generator, seeds: Sequence[int]) -> Latent:
        """Codes of ``seeds``, see ``sample_w``."""
        return sample_w(
            G,
            seeds,
            classes=self.classes,
            truncation_psi=self.truncation_psi,
            truncation_cutoff=self.truncation_cutoff,
        )

    def settings(self, G: Generator, seeds: Sequence[int]) -> list[dict[str, Any]]:
        """What each picture is made from, as JSON values."""
        labels = labels_for_seeds(G.spec, seeds, self.classes)
        shared = {
            "generator": G.spec.id,
            "psi": self.truncation_psi,
            "cutoff": self.truncation_cutoff,
            "transform": None if self.transform is None else self.transform.tolist()[0],
        }
        return [
            {**shared, "seed": int(seed), "class": None if labels is None else _told(labels[row])}
            for row, seed in enumerate(seeds)
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """One picture: its file, what it was made from, and whether it was there already."""

    path: Path
    settings: dict[str, Any]
    kept: bool


def generate(
    G: Generator,
    seeds: Sequence[int],
    folder: str | Path,
    *,
    sampling: Sampling | None = None,
    latents: bool = False,
    note: bool = True,
    on_progress: Callable[[int, int], object] | None = None,
) -> tuple[Made, ...]:
    """Write a picture a seed into ``folder``; those that are there already, made from the same, are kept.

    Args:
        latents: keep the codes beside the pictures, as seed0000.safetensors.
        note: False writes no metadata; then nothing can be recognised as made before.
        on_progress: called with (done, total) after each batch.

    Raises:
        UsageError: bad seeds, twice the same seed, or a bad class; OutputError: nothing can be written.
    """
    sampling = sampling or Sampling()
    if len(set(seeds)) < len(seeds):
        raise UsageError("a seed is given twice, and its picture has one name; give each seed once")
    told = sampling.settings(G, seeds)
    place = ensure_folder(folder)
    made = []
    for path, settings in zip((place / f"seed{seed:04d}.png" for seed in seeds), told, strict=True):
        seen = _settings_of(path) if note else {}
        kept = seen | {"latents": None} == settings | {"latents": None}
        if kept and latents:  # codes that lie there may be of another picture, unless this one says that it has them
            kept = seen.get("latents") is True and path.with_suffix(".safetensors").is_file()
        made.append(Made(path=path, settings=settings, kept=kept))
    labels = labels_for_seeds(G.spec, seeds, sampling.classes)
    missing = [row for row, one in enumerate(made) if not one.kept]
    for start in range(0, len(missing), sampling.batch):
        rows = missing[start : start + sampling.batch]
        part = replace(sampling, classes=None if labels is None else labels[rows])
        codes = part.latents(G, [seeds[row] for row in rows])
        pictures = render(G, codes, transform=sampling.transform, batch=sampling.batch, alpha=True)
        for index, (row, picture) in enumerate(zip(rows, pictures, strict=True)):
            if latents:  # first: the picture says that all is there
                codes[index].save(made[row].path.with_suffix(".safetensors"), transform=sampling.transform)
            texts = {SETTINGS_KEY: json.dumps(made[row].settings | {"latents": latents})} if note else None
            image, alpha = split_alpha(picture[None])
            write_image(made[row].path, image, metadata=texts, note=note, alpha=alpha)
        if on_progress is not None:
            on_progress(start + len(rows), len(missing))
    return tuple(made)


def seed_sheet(G: Generator, seeds: Sequence[int], *, sampling: Sampling | None = None) -> Tensor:
    """The pictures of ``seeds`` side by side."""
    sampling = sampling or Sampling()
    check_sheet(G, len(seeds))
    pictures = render(G, sampling.latents(G, seeds), transform=sampling.transform, batch=sampling.batch)
    return image_grid(pictures, padding=PADDING)


def truncation_sheet(
    G: Generator, seeds: Sequence[int], psis: Sequence[float], *, sampling: Sampling | None = None
) -> Tensor:
    """A row a seed, a column a ``truncation_psi``: 0 is the mean picture, below 0 its opposite. Karras et al. 2019, B.

    ``sampling.truncation_psi`` is not used.
    """
    sampling = sampling or Sampling()
    check_sheet(G, len(seeds) * len(psis))
    columns = [replace(sampling, truncation_psi=psi).latents(G, seeds).as_w_plus() for psi in psis]
    codes = concatenate(columns[column][row] for row in range(len(seeds)) for column in range(len(psis)))
    pictures = render(G, codes, transform=sampling.transform, batch=sampling.batch)
    return image_grid(pictures, columns=len(psis), padding=PADDING)


def mixing_sheet(
    G: Generator, rows: Sequence[int], columns: Sequence[int], layers: Layers, *, sampling: Sampling | None = None
) -> Tensor:
    """Style mixing (Karras et al. 2019, section 3.1): each row's code with ``layers`` of each column's.

    ``rows`` and ``columns`` are seeds; their own pictures stand at the left and at the top.
    """
    sampling = sampling or Sampling()
    check_sheet(G, (len(rows) + 1) * (len(columns) + 1))
    left, top = sampling.latents(G, rows).as_w_plus(), sampling.latents(G, columns).as_w_plus()
    mixed = [left[[row] * len(columns)].mix(top, layers) for row in range(len(rows))]
    codes = concatenate([top, *(part for row, mix in enumerate(mixed) for part in (left[row], mix))])
    pictures = render(G, codes, transform=sampling.transform, batch=sampling.batch)
    corner = torch.ones_like(pictures[:1])
    return image_grid(torch.cat([corner, pictures]), columns=len(columns) + 1, padding=PADDING)


def check_sheet(G: Generator, count: int) -> None:
    """Refuse a sheet of ``count`` pictures that would be too large to look at. Raises UsageError."""
    side = G.spec.resolution + PADDING
    if count < 1 or count * side * side > MAX_SHEET_PIXELS:
        most = MAX_SHEET_PIXELS // side**2
        raise UsageError(f"a sheet holds 1 to {most} pictures of {G.spec.resolution} px, got {count}; give fewer")


def _told(label: Tensor) -> int | list[float]:
    """A one-hot label as its index, any other as its values."""
    values = label.tolist()
    return values.index(1.0) if sorted(values) == [0.0] * (len(values) - 1) + [1.0] else values


def _settings_of(path: Path) -> dict[str, Any]:
    """What a picture says that it was made from; {} where it says nothing, or cannot be read.

    Besides the settings: "latents", whether its codes were kept with it.
    """
    try:
        with Image.open(path) as picture:
            picture.load()  # to the end: a damaged file is made again
            told = json.loads(getattr(picture, "text", {})[SETTINGS_KEY])
            return told if isinstance(told, dict) else {}
    except (OSError, KeyError, ValueError, SyntaxError):  # SyntaxError: what Pillow raises for a broken PNG chunk
        return {}

"""The file format of latents.

Convention: safetensors with ``z``, ``w`` (for w and w+) or ``s.<layer>``, and the header {schema, space, generator,
parent, transform, alignment}: the last two say where in generator space and in the photo the picture sits, so that an
edit made later can still be put back. A file with noise maps of a StyleGAN2, ``noise.<layer>``, has schema 2, since
who knows only schema 1 would leave them out unseen; every other file has schema 1.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from editkit.errors import LatentError, UsageError
from editkit.latent import Latent
from editkit.tensorfile import read_tensors, write_tensors
from editkit.transform import Transform

LATENT_SCHEMA, WITHOUT_NOISE = 2, 1
NAME = "latent.safetensors"
"""Of the latent in a folder that `editkit project` wrote."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentFile:
    """What a latent file holds. ``alignment`` is the mapping that was saved, for ``Alignment.from_dict``."""

    latent: Latent
    transform: Transform | None
    alignment: Mapping[str, Any] | None


def write_latent(
    path: str | os.PathLike[str], latent: Latent, *, transform: Transform | None = None, alignment: Any | None = None
) -> None:
    """Write ``latent`` and where its picture sits; ``alignment`` is JSON values or has ``to_dict()``.

    Raises:
        LatentError: NaN or infinite values, or W rows that differ.
        OutputError: it cannot be written.
    """
    latent.check_finite()
    header = {
        "space": latent.space,
        "generator": latent.generator,
        "parent": latent.parent,
        "transform": None if transform is None else transform.tolist(),
        "alignment": _plain(alignment),
    }
    schema = WITHOUT_NOISE if latent.noise is None else LATENT_SCHEMA
    write_tensors(path, latent.named_tensors(), kind="latent", schema=schema, header=header)


def read_latent(path: str | os.PathLike[str]) -> LatentFile:
    """Read what ``write_latent`` wrote.

    Raises:
        LatentError: missing, damaged, not a latent, or with bad values.
        SchemaError: written by a newer editkit.
    """
    tensors, header = read_tensors(path, kind="latent", schema=LATENT_SCHEMA, error=LatentError)
    space: Any = header.get("space")
    placed, alignment = header.get("transform"), header.get("alignment")
    try:
        codes = (
            {name.removeprefix("s."): style for name, style in tensors.items() if name.startswith("s.")}
            if space == "s"
            else tensors["z" if space == "z" else "w"]
        )
        maps = {name.removeprefix("noise."): part for name, part in tensors.items() if name.startswith("noise.")}
        owner = {"generator": header["generator"], "parent": header.get("parent")}
        latent = Latent(space=space, codes=codes, noise=maps or None, **owner)
        latent.check_finite()
        transform = None if placed is None else Transform.from_list(placed)
    except KeyError as missing:
        raise LatentError(f"{path}: lacks {missing}; it may be damaged") from None
    except (LatentError, UsageError) as problem:
        raise LatentError(f"{path}: {problem}") from problem
    if alignment is not None and not isinstance(alignment, dict):
        raise LatentError(f"{path}: its alignment is a {type(alignment).__name__}, an object is needed")
    return LatentFile(latent=latent, transform=transform, alignment=alignment)


def _plain(alignment: Any) -> Any:
    return alignment.to_dict() if hasattr(alignment, "to_dict") else alignment

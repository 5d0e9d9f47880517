"""A latent with its tuning in one file: what pivotal tuning found is taken away, and taken up again, as a zip.

Convention: the zip holds latent.safetensors and tuning.safetensors, the names that `editkit project` writes, so that
`editkit edit` finds the one beside the other once it is unpacked.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from editkit import latent_file, weight_delta
from editkit.errors import UsageError
from editkit.page.desk import Desk, Piece
from editkit.page.pictures import file_stem
from editkit.weight_delta import WeightDelta

MOST = 1 << 30
"""Bytes of one file in a zip, unpacked."""


def latent_of(desk: Desk, piece: Piece) -> Path:
    """The latent as it was found, with its place in the photo; with its tuning, where there is one, as a zip."""
    path = desk.path(f"{file_stem(piece.name)}.safetensors")
    alignment = piece.face.alignment if piece.face is not None else piece.alignment
    piece.latent.save(path, transform=piece.transform, alignment=alignment)
    if piece.tuning is None:
        return path
    tuning, both = path.with_name(weight_delta.NAME), path.with_suffix(".zip")
    piece.tuning.save(tuning)
    with zipfile.ZipFile(both, "w", zipfile.ZIP_STORED) as archive:
        archive.write(path, latent_file.NAME)
        archive.write(tuning, weight_delta.NAME)
    return both


def unpacked(path: Path, folder: Path) -> tuple[Path, WeightDelta | None]:
    """The latent of a zip, as a file in ``folder``, and its tuning. Raises UsageError, and what their readers raise."""
    found: dict[str, Path] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in (latent_file.NAME, weight_delta.NAME):  # no other name is looked at, and none is a path
                if name in archive.namelist():
                    if archive.getinfo(name).file_size > MOST:
                        raise UsageError(f"{name} in {path.name} is larger than {MOST >> 20} MB unpacked")
                    found[name] = folder / name
                    found[name].write_bytes(archive.read(name))
    except (zipfile.BadZipFile, RuntimeError, OSError) as problem:
        raise UsageError(f"{path.name} is not a zip that can be read; download the latent again") from problem
    if latent_file.NAME not in found:
        raise UsageError(f"{path.name} holds no {latent_file.NAME}; Latent on this page writes such a zip")
    tuning = found.get(weight_delta.NAME)
    return found[latent_file.NAME], None if tuning is None else WeightDelta.load(tuning)

"""Latents in and out: the files that other programs of this family write and read.

Convention: ``projected_w.npz`` of the official projector holds ``w`` [1, num_ws, w_dim]; encoders (e4e, pSp) and PTI
keep W+ [N, num_ws, w_dim] in .pt or .npy; W is [N, w_dim]. Such files name neither their generator nor their space:
the caller does. An array of two axes is read as W [N, w_dim] unless ``space`` says otherwise.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from editkit.errors import LatentError, UsageError
from editkit.files import atomic_path
from editkit.latent import SPACES, Latent, Space
from editkit.latent_arrays import read_arrays
from editkit.latent_file import LatentFile, read_latent

if TYPE_CHECKING:
    from editkit.generator import GeneratorSpec

log = logging.getLogger(__name__)

# Names under which programs keep codes, the likelier first. "" is the array of a file that has one only.
KEYS = ("", "w", "w_plus", "wplus", "ws", "projected_w", "latent", "latents", "codes", "latent_codes", "z")
EXPORT_SUFFIXES = (".npz", ".npy", ".pt")


def import_latent(
    path: str | os.PathLike[str], spec: GeneratorSpec, *, space: Space | None = None, key: str | None = None
) -> Latent:
    """Read codes for the generator of ``spec`` from .npz, .npy, .pt, .pth, or a .safetensors of ours.

    Args:
        path: the file. Objects in it are refused, never loaded.
        spec: of the generator that the codes belong to; other programs' files do not say.
        space: "z", "w", "w+" or "s". By default: "s" where arrays are called ``s.<layer>``, "z" where one is called
            z, "w" for [N, w_dim] and equal rows, else "w+".
        key: the array to take where there are several; by default one of the usual names.

    Raises:
        LatentError: unreadable, or an axis that does not fit the generator; the message says which, and what is needed.
        GeneratorMismatchError: a .safetensors that was made for another generator.
        UsageError: no such space.
    """
    return read_exchange(path, spec, space=space, key=key).latent


def read_exchange(
    path: str | os.PathLike[str], spec: GeneratorSpec, *, space: Space | None = None, key: str | None = None
) -> LatentFile:
    """As ``import_latent``, with the placement and alignment that a .safetensors of ours holds."""
    if space is not None and space not in SPACES:
        raise UsageError(f"unknown latent space {space!r}; the spaces are {', '.join(SPACES)}")
    file = Path(path)
    if file.suffix.lower() == ".safetensors":
        held = read_latent(file)
        held.latent.check(spec)
        if space not in (None, held.latent.space):
            raise LatentError(f"{file}: holds codes in {held.latent.space}, not in {space}")
        return held
    latent = _latent(read_arrays(file), file, spec, space=space, key=key)
    try:
        latent.check_finite()
    except LatentError as problem:
        raise LatentError(f"{file}: {problem}") from problem
    return LatentFile(latent=latent, transform=None, alignment=None)


def export_latent(latent: Latent, path: str | os.PathLike[str]) -> None:
    """Write codes for other programs; what they cannot hold (generator, placement, alignment) is not kept.

    .npz: ``w`` (or ``z``, or ``s.<layer>``) as the official projector writes it; .npy: the array alone; .pt: the tensor
    alone, or in s a dict of tensors. Shapes: [N, num_ws, w_dim] in w and w+, [N, z_dim] in z, [N, C] a layer in s.

    Raises:
        LatentError: bad values, or codes in s for .npy, which holds one array.
        UsageError: another suffix.
        OutputError: it cannot be written.
    """
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix not in EXPORT_SUFFIXES:
        raise UsageError(f"latents are exported as {', '.join(EXPORT_SUFFIXES)}, got {file.name!r}")
    latent.check_finite()
    tensors = {name: codes.detach().cpu().contiguous() for name, codes in latent.named_tensors().items()}
    if suffix == ".npy" and latent.space == "s":
        raise LatentError("codes in s are an array a layer, and .npy holds one; export them as .npz or .pt")
    only = next(iter(tensors.values()))
    with atomic_path(file) as temporary, temporary.open("wb") as stream:
        if suffix == ".npz":
            np.savez(stream, **{name: tensor.numpy() for name, tensor in tensors.items()})  # type: ignore[arg-type]
        elif suffix == ".npy":
            np.save(stream, only.numpy(), allow_pickle=False)
        else:
            torch.save(tensors if latent.space == "s" else only, stream)


def _latent(
    arrays: Mapping[str, Tensor], file: Path, spec: GeneratorSpec, *, space: Space | None, key: str | None
) -> Latent:
    styles = {name.removeprefix("s."): codes for name, codes in arrays.items() if name.startswith("s.")}
    if space == "s" or (space is None and key is None and styles):
        if not styles:
            raise LatentError(f"{file}: codes in s are arrays called s.<layer>; it has {_names(arrays)}")
        return Latent(space="s", codes=styles, generator=spec.id, parent=spec.parent_id)
    name = _chosen(arrays, file, key)
    codes = arrays[name]
    where = f"{file}: array {name!r} {list(codes.shape)}" if name else f"{file}: array {list(codes.shape)}"
    if space == "z" or (space is None and name == "z"):
        return Latent(space="z", codes=_z(codes, where, spec), generator=spec.id, parent=spec.parent_id)
    rows = _rows(codes, where, spec, space)
    equal = bool((rows == rows[:, :1]).all())
    if space == "w" and not equal:
        raise LatentError(f'{where}: its rows differ, and codes in w have equal rows; say space "w+"')
    found: Space = "w" if equal and space in (None, "w") else "w+"
    return Latent(space=found, codes=rows, generator=spec.id, parent=spec.parent_id)


def _chosen(arrays: Mapping[str, Tensor], file: Path, key: str | None) -> str:
    if key is not None:
        if key not in arrays:
            raise LatentError(f"{file}: no array is called {key!r}; it has {_names(arrays)}")
        return key
    if len(arrays) == 1:
        return next(iter(arrays))
    usual = [name for name in KEYS if name in arrays]
    if not usual:
        raise LatentError(f"{file}: which array are the codes? It has {_names(arrays)}; name one as key (--key NAME)")
    return usual[0]


def _z(codes: Tensor, where: str, spec: GeneratorSpec) -> Tensor:
    codes = codes.unsqueeze(0) if codes.ndim == 1 else codes
    if codes.ndim != 2:
        raise LatentError(f"{where}: {codes.ndim} axes; codes in z of {spec.name!r} are [N, {spec.z_dim}]")
    _check_axis(codes, 1, "z_dim", spec.z_dim, where, spec)
    return codes


def _rows(codes: Tensor, where: str, spec: GeneratorSpec, space: Space | None) -> Tensor:
    """[w_dim], [N, w_dim], [N, 1, w_dim], [N, num_ws, w_dim], or for w+ also [num_ws, w_dim] -> [N, num_ws, w_dim]."""
    if not 1 <= codes.ndim <= 3:
        needed = f"[N, {spec.w_dim}] or [N, {spec.num_ws}, {spec.w_dim}]"
        raise LatentError(f"{where}: {codes.ndim} axes; codes of {spec.name!r} are {needed}")
    _check_axis(codes, codes.ndim - 1, "w_dim", spec.w_dim, where, spec)
    if codes.ndim == 3:
        if codes.shape[1] != 1:
            _check_axis(codes, 1, "num_ws", spec.num_ws, where, spec)
        return codes.expand(-1, spec.num_ws, -1).contiguous()
    if space == "w+":
        if codes.ndim == 1:
            raise LatentError(f'{where}: one row is no code in w+; say space "w"')
        _check_axis(codes, 0, "num_ws", spec.num_ws, where, spec)
        return codes.unsqueeze(0)
    if codes.ndim == 2 and len(codes) == spec.num_ws:
        log.warning('%s: read as %d codes in w; if it is one code in w+, say so: space "w+"', where, len(codes))
    return codes.reshape(-1, 1, spec.w_dim).expand(-1, spec.num_ws, -1).contiguous()


def _check_axis(codes: Tensor, axis: int, name: str, needed: int, where: str, spec: GeneratorSpec) -> None:
    if codes.shape[axis] != needed:
        raise LatentError(
            f"{where}: axis {axis} ({name}) is {codes.shape[axis]}, {spec.name!r} needs {needed} "
            f"(z_dim {spec.z_dim}, num_ws {spec.num_ws}, w_dim {spec.w_dim}); it may belong to another generator"
        )


def _names(arrays: Mapping[str, Tensor]) -> str:
    shown = [f"{name or 'an array'} {list(codes.shape)}" for name, codes in list(arrays.items())[:8]]
    return ", ".join(shown) + (" and more" if len(arrays) > 8 else "")

"""Import of official .pkl checkpoints: StyleGAN3, StyleGAN2(-ADA) and StyleGAN-XL. Nothing in the file is executed.

The file is mapped, read by ``opcodes.read_pickle`` into inert stand-ins, and the tensors of the networks asked for are
copied out, each once. Container: a dict with the networks ``G``, ``D``, ``G_ema`` and facts of the training.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editkit.checkpoints import arguments as constructor
from editkit.checkpoints.opcodes import read_pickle
from editkit.checkpoints.sniff import describe, file_size, is_pickle
from editkit.checkpoints.standins import Module, PlainModule, rules_for
from editkit.checkpoints.storage import TensorClaim
from editkit.errors import CheckpointError, UnsafeCheckpointError, UsageError

if TYPE_CHECKING:
    import torch

NETWORKS = ("G_ema", "G", "D")
MAX_ENTRIES, MAX_DEPTH, MAX_KEY = 100_000, 32, 200  # of a module tree; official ones have some 2,000 entries


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportedNetwork:
    """A network of an official file, as data.

    Args:
        kind: "stylegan3", "stylegan2", "stylegan_xl" or "discriminator", told by its tensors' names.
        arguments: constructor arguments by their official names; those left to their defaults are absent.
        tensors: official state-dict name -> tensor, on the CPU, contiguous, dtypes as stored.
        facts: what else the file says, where it does: "augment_p" (float, probability of augmentation at the end),
            "class_name" (str), "training_set" (dict of plain values, no paths).
    """

    kind: str
    arguments: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class DescribedNetwork:
    """What ``ImportedNetwork`` would be, with the shapes of its tensors instead of the tensors."""

    kind: str
    arguments: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    facts: dict[str, Any]


def import_official(
    path: str | os.PathLike[str], *, networks: Collection[str] = NETWORKS
) -> dict[str, ImportedNetwork]:
    """Read the networks of an official pickle without running anything of it.

    Args:
        path: an official .pkl.
        networks: which to read, among "G_ema", "G" and "D"; only their tensors take memory.

    Returns:
        Those of ``networks`` that the file holds (files for inference alone hold G_ema only).

    Raises:
        UnsafeCheckpointError: the pickle asks for something outside the allow-list, or claims impossible sizes.
        CheckpointError: not a pickle, damaged, or none of the networks is in it; one line.
        UsageError: an unknown network is asked for.
    """
    return {
        name: ImportedNetwork(
            kind=network.kind,
            arguments=network.arguments,
            tensors={key: claim.to_tensor() for key, claim in network.claims.items()},
            facts=network.facts,
        )
        for name, network in _open(Path(path), networks).items()
    }


def describe_official(path: str | os.PathLike[str]) -> dict[str, DescribedNetwork]:
    """What an official pickle holds, without taking memory for tensors. Raises as ``import_official``."""
    return {
        name: DescribedNetwork(
            kind=network.kind,
            arguments=network.arguments,
            shapes={key: claim.shape for key, claim in network.claims.items()},
            facts=network.facts,
        )
        for name, network in _open(Path(path), NETWORKS).items()
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class _Checked:
    """A network of the file, all claims checked, tensors still in the file."""

    kind: str
    arguments: dict[str, Any]
    claims: dict[str, TensorClaim]
    facts: dict[str, Any]


def _open(path: Path, networks: Collection[str]) -> dict[str, _Checked]:
    if unknown := set(networks) - set(NETWORKS):
        raise UsageError(f"no network is called {sorted(unknown)[0]!r}; there are {', '.join(NETWORKS)}")
    size = file_size(path)
    try:
        content = _read(path, size)
        found = {name: content[name] for name in NETWORKS if isinstance(content.get(name), Module)}
        wanted = {name: module for name, module in found.items() if name in networks}
        if not wanted:
            held = ", ".join(found) or "no network"
            raise CheckpointError(f"it holds {held}, not {', '.join(sorted(networks)) or 'nothing'}")
        facts = _facts(content)
        return {name: _check(module, facts, size=size) for name, module in wanted.items()}
    except CheckpointError as error:
        # One place that names the file; the reason stays one line.
        raise type(error)(f"{path}: {error}") from error


def _read(path: Path, size: int) -> dict[str, Any]:
    with path.open("rb") as stream:
        try:
            mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"cannot be mapped into memory: {error}") from error
    # Closed by itself when the last view of it goes; closing it here would fail while an error still holds one.
    data = memoryview(mapped)
    head = bytes(data[:64])
    if not is_pickle(head):
        raise CheckpointError(f"not a pickle but {describe(head, size)}; give an official .pkl")
    content, _ = read_pickle(data, rules_for(size))
    if type(content) is not dict:
        raise CheckpointError(f"the pickle holds a {type(content).__name__}, not the networks of a checkpoint")
    return content


def _check(module: Module, facts: Mapping[str, Any], *, size: int) -> _Checked:
    claims = _state_dict(module)
    # A pickle can name one tensor many times; each name would take memory of its own.
    if sum(claim.size_in_bytes for claim in claims.values()) > size:
        raise UnsafeCheckpointError("its tensors together claim more bytes than the file has; it is hostile or damaged")
    kind = constructor.family(claims)
    shapes = {name: claim.shape for name, claim in claims.items()}
    arguments = constructor.recover(kind, module, shapes)
    constructor.check_network(kind, arguments, shapes)
    facts = {"class_name": module.class_name, **facts}
    return _Checked(kind=kind, arguments=arguments, claims=claims, facts=facts)


def _state_dict(module: Module | PlainModule) -> dict[str, TensorClaim]:
    """Parameters and persistent buffers of a module tree, by dotted name, in the order of torch's state dict."""
    claims: dict[str, TensorClaim] = {}
    todo: list[tuple[str, int, Module | PlainModule]] = [("", 0, module)]
    visited = 0
    while todo:
        prefix, depth, part = todo.pop()
        parameters, buffers, modules = (_section(part, name) for name in ("_parameters", "_buffers", "_modules"))
        visited += 1 + len(parameters) + len(buffers) + len(modules)
        if visited > MAX_ENTRIES or depth > MAX_DEPTH:
            raise UnsafeCheckpointError("its network has too many parts, or one that holds itself; it is hostile")
        hidden = part.state.get("_non_persistent_buffers_set", ())
        hidden = hidden if isinstance(hidden, set) else set()
        for name, value in (parameters | buffers).items():
            if value is None or name in hidden:
                continue
            if not isinstance(value, TensorClaim):
                raise CheckpointError(f"{prefix}{name} is a {type(value).__name__}, not a tensor; the file is damaged")
            claims[prefix + name] = value
        children = [
            (f"{prefix}{name}.", depth + 1, child)
            for name, child in modules.items()
            if isinstance(child, Module | PlainModule)
        ]
        todo.extend(reversed(children))
    return claims


def _section(part: Module | PlainModule, name: str) -> dict[str, Any]:
    section = part.state.get(name, {})
    if type(section) is not dict or len(section) > MAX_ENTRIES:
        raise CheckpointError(f"{name} of {part.class_name} is not a dict of names; the file is damaged")
    if not all(isinstance(key, str) and len(key) <= MAX_KEY for key in section):
        raise CheckpointError(f"{name} of {part.class_name} is not a dict of names; the file is damaged")
    return section


def _facts(content: Mapping[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    pipe = content.get("augment_pipe")
    probability = _section(pipe, "_buffers").get("p") if isinstance(pipe, Module) else None
    if isinstance(probability, TensorClaim) and probability.shape == ():
        facts["augment_p"] = float(probability.to_tensor())
    options = content.get("training_set_kwargs")
    if type(options) is dict:
        # Numbers and switches only: file names on someone's disk are nobody's business.
        kept = {str(k)[:40]: v for k, v in list(options.items())[:50] if isinstance(v, bool | int | float)}
        if kept:
            facts["training_set"] = kept
    return facts

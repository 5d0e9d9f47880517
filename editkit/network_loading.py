"""From weights and constructor arguments, out of whatever file, to a network in memory; and discriminators by path."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from editkit.device import resolve_device
from editkit.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from editkit.networks.discriminator import Discriminator


def load_network(
    kind: str, arguments: Mapping[str, Any], tensors: Mapping[str, Tensor], *, name: str, device: torch.device
) -> nn.Module:
    """A network with these weights, float32, in evaluation mode. Nothing is believed before it is checked.

    Raises:
        CheckpointError: arguments that are unknown, out of range or belong to other weights.
        MemoryBudgetError: it would not fit; the message has the numbers.
    """
    from editkit.checkpoints.arguments import check_network, complete
    from editkit.memory import check_fits, working_memory
    from editkit.networks import build_network

    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    check_network(kind, arguments, shapes)
    weights = sum(tensor.numel() * 4 for tensor in tensors.values())
    what = f"discriminator {name!r}" if kind == "discriminator" else f"generator {name!r}"
    try:
        working = working_memory(arguments, kind=kind)
    except UsageError as error:
        raise CheckpointError(f"the arguments of {name!r} are damaged: {error}") from error
    check_fits(weights + working, what, device=device)
    with torch.random.fork_rng(devices=[]):  # its first weights are drawn and thrown away: leave the caller's stream
        network = build_network(kind, complete(kind, arguments, shapes))
    try:
        network.load_state_dict({key: tensor.float() for key, tensor in tensors.items()})
    except RuntimeError as error:
        raise CheckpointError(
            f"the weights of {name!r} do not fit its arguments: {str(error).splitlines()[-1]}"
        ) from error
    network.to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval()


def load_discriminator(path: str | os.PathLike[str], *, device: str = "auto") -> Discriminator:
    """The discriminator of an official .pkl, or of a native checkpoint of that kind.

    Returns:
        The network in evaluation mode; its parameters can be trained on.

    Raises:
        CheckpointError: missing, damaged, or without a discriminator. Otherwise as ``load_generator``.
    """
    where, path = resolve_device(device), Path(path)
    if path.suffix == ".pkl":
        from editkit.checkpoints.official import import_official

        found = import_official(path, networks=("D",))["D"]
        kind, arguments, tensors, name = found.kind, found.arguments, found.tensors, path.stem
    else:
        from editkit.checkpoints.native import read_checkpoint

        checkpoint = read_checkpoint(path)
        header, tensors = checkpoint.header, checkpoint.tensors
        kind, arguments, name = header["kind"], header["arguments"], header["name"] or header["id"][:12]
    if kind != "discriminator":
        raise CheckpointError(f"{name!r} is of kind {kind!r}, not a discriminator")
    return load_network(kind, arguments, tensors, name=name, device=where)  # type: ignore[return-value]

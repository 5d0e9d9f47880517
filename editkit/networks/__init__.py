"""Networks, one file each, and the table that makes one from its kind and constructor arguments."""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from editkit.errors import CheckpointError

if TYPE_CHECKING:
    from torch import nn

_HOMES = {
    "stylegan3": ("editkit.networks.stylegan3", "StyleGAN3Generator"),
    "stylegan2": ("editkit.networks.stylegan2", "StyleGAN2Generator"),
    "stylegan_xl": ("editkit.networks.stylegan_xl", "StyleGANXLGenerator"),
    "discriminator": ("editkit.networks.discriminator", "Discriminator"),
}
GENERATOR_KINDS = tuple(kind for kind in _HOMES if kind != "discriminator")


def build_network(kind: str, arguments: Mapping[str, Any]) -> "nn.Module":
    """A freshly initialised network.

    Args:
        kind: "stylegan3", "stylegan2", "stylegan_xl" or "discriminator": the kind named in a checkpoint's header.
        arguments: keyword arguments of its constructor.

    Raises:
        CheckpointError: the kind is unknown, or the arguments do not fit it.
    """
    if kind not in _HOMES:
        raise CheckpointError(f"networks of kind {kind!r} cannot be built by this version; known: {', '.join(_HOMES)}")
    module, name = _HOMES[kind]
    try:
        return getattr(import_module(module), name)(**arguments)
    except (TypeError, ValueError, ArithmeticError, KeyError) as error:
        raise CheckpointError(f"the arguments of this {kind} network do not fit: {error}") from error

"""Networks, one file each, and the table that makes one from its kind and constructor arguments."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from editkit.errors import CheckpointError

if TYPE_CHECKING:
    from torch import nn

GENERATOR_KINDS = ("stylegan3",)


def build_network(kind: str, arguments: Mapping[str, Any]) -> "nn.Module":
    """A freshly initialised network.

    Args:
        kind: "stylegan3", the kind named in a checkpoint's header.
        arguments: keyword arguments of its constructor.

    Raises:
        CheckpointError: the kind is unknown, or the arguments do not fit it.
    """
    if kind not in GENERATOR_KINDS:
        raise CheckpointError(
            f"networks of kind {kind!r} cannot be built by this version; known: {', '.join(GENERATOR_KINDS)}"
        )
    from editkit.networks.stylegan3 import StyleGAN3Generator

    try:
        return StyleGAN3Generator(**arguments)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"the arguments of this {kind} network do not fit: {error}") from error

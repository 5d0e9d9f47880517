"""StyleGAN-XL's progressive growing: a head of higher resolution on a trained stem, which does not learn any more.

Source: Sauer, Schwarz, Geiger 2022, "StyleGAN-XL", section 3.2: the critically sampled layers and ToRGB are dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from editkit.errors import CheckpointError
from editkit.networks import build_network
from editkit.networks.stylegan_xl import StyleGANXLGenerator


def grow(
    arguments: Mapping[str, Any], weights: Mapping[str, Tensor], *, resolution: int, head_layers: int = 7
) -> tuple[StyleGANXLGenerator, dict[str, Any]]:
    """The next stage's generator, the stem's weights loaded and frozen, and its constructor arguments.

    Args:
        arguments, weights: of the trained network below; those of a ``NetworkGenerator``.
        resolution: a multiple of the stem's; head_layers: new layers before ToRGB.

    Raises CheckpointError where arguments or weights do not fit.
    """
    grown = grown_arguments(arguments, weights, resolution=resolution, head_layers=head_layers)
    network: Any = build_network("stylegan_xl", grown)
    load_stem(network, weights, head_layers=head_layers)
    freeze_stem(network, head_layers=head_layers)
    return network, grown


def grown_arguments(
    arguments: Mapping[str, Any], weights: Mapping[str, Tensor], *, resolution: int, head_layers: int
) -> dict[str, Any]:
    """Constructor arguments of the next stage, see ``grow``. Raises CheckpointError."""
    below = {key: value for key, value in arguments.items() if key != "embed_dim"}
    embedding = weights.get("mapping.embed.weight")
    if embedding is None or embedding.ndim != 2:
        raise CheckpointError("the stem has no class embedding mapping.embed.weight; give a StyleGAN-XL network")
    side = below["img_resolution"]
    if resolution <= side or resolution % side:
        raise CheckpointError(f"a head makes a multiple of the stem's {side} pixels, got {resolution}")
    return {
        "img_resolution": resolution,
        "up_factor": resolution // side,
        "head_layers": head_layers,
        "stem": below,
        "embed_dim": embedding.shape[1],
    }


def load_stem(network: Any, weights: Mapping[str, Tensor], *, head_layers: int) -> None:
    """The stem's weights, into a network of ``grown_arguments``. Raises CheckpointError where they do not fit."""
    own = network.state_dict()
    for name in kept_names(network, head_layers):
        if name not in weights or weights[name].shape != own[name].shape:
            got = "none" if name not in weights else str(tuple(weights[name].shape))
            raise CheckpointError(f"the stem's {name} must be {tuple(own[name].shape)}, got {got}")
        own[name].copy_(weights[name])


def kept_names(network: Any, head_layers: int) -> list[str]:
    """Names in the state dict of all but the last ``head_layers`` layers and ToRGB."""
    head = network.synthesis.layer_names[-(head_layers + 1) :]
    return [name for name in network.state_dict() if not any(name.startswith(f"synthesis.{layer}.") for layer in head)]


def freeze_stem(network: Any, *, head_layers: int) -> None:
    """Mapping, input and kept layers take no gradients, and their running means stay; call again after a resume."""
    kept = set(kept_names(network, head_layers))
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in kept)
    network.mapping.w_avg_beta = 1.0
    for layer in network.synthesis.layers()[: -(head_layers + 1)]:
        layer.magnitude_ema_beta = 1.0

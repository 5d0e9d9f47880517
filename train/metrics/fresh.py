"""Networks as they are before training, of the published sizes: the ground that equivariance figures stand on.

Source: Karras et al. 2021, "Alias-Free Generative Adversarial Networks", appendix D.1 and its table of channel counts;
R has twice T's channels, 1 x 1 convolutions and radial filters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from editkit.device import resolve_device
from editkit.errors import UsageError
from editkit.generator import from_tensors
from editkit.network_generator import NetworkGenerator

CONFIGURATIONS: Mapping[str, Mapping[str, Any]] = {
    "stylegan3-t": {"channel_base": 32768, "channel_max": 512},
    "stylegan3-r": {"channel_base": 65536, "channel_max": 1024, "conv_kernel": 1, "use_radial_filters": True},
}
PREFIX = "fresh:"


def fresh_generator(
    configuration: str, *, resolution: int = 256, narrower: int = 1, seed: int = 0, device: str = "cpu"
) -> NetworkGenerator:
    """An untrained generator of a published configuration, "stylegan3-t" or "stylegan3-r".

    Args:
        narrower: divides the numbers of channels, for machines that the published ones are too heavy for.
        seed: of its weights.

    Raises:
        UsageError: another configuration, or sizes that make no network.
    """
    from editkit.checkpoints.native import weights_id
    from editkit.networks import build_network

    if configuration not in CONFIGURATIONS:
        raise UsageError(f"no fresh network is called {configuration!r}; there are {', '.join(CONFIGURATIONS)}")
    if resolution < 32 or narrower < 1:
        raise UsageError(f"a fresh network has 32 pixels or more and a divisor from 1, got {resolution}, {narrower}")
    arguments = {"z_dim": 512, "c_dim": 0, "w_dim": 512, "img_resolution": resolution, "img_channels": 3}
    arguments |= CONFIGURATIONS[configuration]
    for name in ("channel_base", "channel_max"):
        arguments[name] //= narrower
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network("stylegan3", arguments)
    tensors = network.state_dict()
    header = {"kind": "stylegan3", "arguments": arguments, "id": weights_id(tensors)}
    name = f"fresh {configuration}, {resolution} px" + (f", channels / {narrower}" if narrower > 1 else "")
    return from_tensors(tensors, header | {"name": name}, device=resolve_device(device))


def parse_fresh(text: str, *, device: str = "cpu") -> NetworkGenerator:
    """``fresh:stylegan3-t-256`` or ``fresh:stylegan3-r-256/4`` (a quarter of the channels). Raises UsageError."""
    name, _, divisor = text.removeprefix(PREFIX).partition("/")
    configuration, _, resolution = name.rpartition("-")
    if not resolution.isdigit() or not (divisor or "1").isdigit():
        raise UsageError(
            f"a fresh network is named like {PREFIX}stylegan3-t-256 or {PREFIX}stylegan3-r-256/4, got {text!r}"
        )
    return fresh_generator(configuration, resolution=int(resolution), narrower=int(divisor or 1), device=device)

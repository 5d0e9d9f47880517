"""LPIPS v0.1 of the package ``lpips`` on trunk weights that are already on this machine; nothing is downloaded.

The package's own loader goes through torchvision, which fetches what is missing and unpickles what it finds. Here the
package makes the model with its linear heads, and the trunk is read with torch's restricted reader.

Convention: images are float32 [N, 3, H, W], RGB, in [-1, 1].
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editkit.errors import CheckpointError

LPIPS_TRUNKS: dict[str, str] = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}
"""Name of a trunk -> the file that torchvision publishes its weights as."""


def trunk_path(net: str) -> Path:
    """Where the trunk's weights belong: torch's own cache, ``$TORCH_HOME/hub/checkpoints``."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME") or os.path.join(cache, "torch")
    return Path(home).expanduser() / "hub" / "checkpoints" / LPIPS_TRUNKS[net]


def lpips_model(net: str) -> Any:
    """The package's model with its linear heads and a random trunk: no distance until a trunk is loaded."""
    from editkit.torchvision_remedy import import_lpips

    model = import_lpips().LPIPS(net=net, pnet_rand=True, verbose=False)
    return model.eval().requires_grad_(False)


def lpips_units(model: Any, images: Tensor) -> list[Tensor]:
    """The trunk's activations with unit channel vectors."""
    stages = model.net(model.scaling_layer(images))
    return [stage * torch.rsqrt(stage.square().sum(dim=1, keepdim=True) + 1e-20) for stage in stages]


def lpips_distance(model: Any, first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """Equation 1 of Zhang et al. 2018 on what ``lpips_units`` gives: [N]."""
    layers = [head((a - b).square()).mean(dim=(1, 2, 3)) for head, a, b in zip(model.lins, first, second, strict=True)]
    return torch.stack(layers).sum(0)


def load_trunk(model: Any, path: Path) -> None:
    """Fill the trunk from the file that torchvision publishes. Raises CheckpointError when it is not that file."""
    # lpips keeps torchvision's layers under slices but leaves each its number: slice2.3.weight is features.3.weight.
    # torch's restricted reader is used: torchvision's own loader would execute what a pickle says.
    try:
        published = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the restricted reader has many ways to say no, none of them a common class
        raise CheckpointError(f"{path} cannot be read as plain weights ({error}): fetch it again.") from error
    try:
        tensors = {key: published[f"features.{key.split('.', 1)[1]}"] for key in model.net.state_dict()}
        model.net.load_state_dict(tensors)
    except (RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is not what torchvision publishes ({error}): fetch it again.") from error

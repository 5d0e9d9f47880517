"""State dicts of other programs: tensors by name, in .safetensors or as ``torch.save`` writes them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from editkit.errors import CheckpointError, MissingWeightsError
from editkit.safetensors_format import SafetensorError, load_file


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors in ``path``, on the CPU; nothing in the file is executed.

    A state dict under "state_dict" or "model", and names after "module.", are taken out.

    Raises:
        MissingWeightsError: there is no such file.
        CheckpointError: damaged, or not plain tensors by name.
    """
    if not path.is_file():
        raise MissingWeightsError(f"there are no weights at {path}; nothing is downloaded: fetch them yourself")
    if path.suffix == ".safetensors":
        try:
            return dict(load_file(path))
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(f"{path} is not a readable safetensors file ({error})") from error
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's restricted reader raises many kinds
        raise CheckpointError(f"{path} is not a file of weights: {str(error).splitlines()[0][:200]}") from error
    for inner in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(inner), dict):
            found = found[inner]
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise CheckpointError(f"{path} holds no state dict, a mapping of names to tensors")
    return {name.removeprefix("module."): tensor for name, tensor in found.items()}

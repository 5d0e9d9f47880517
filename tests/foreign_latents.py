"""Shared by the tests of latents of other programs: codes, and files of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from linear_generator import LinearGenerator
from torch import Tensor

from editkit.seeds import normal

G = LinearGenerator(z_dim=4, w_dim=4, num_ws=3)  # z and w alike, so that only the space tells them apart
W = normal(5, (2, 4))  # [N, w_dim]
ROWS = W[:, None].expand(2, 3, 4).contiguous()
PLUS = normal(6, (2, 3, 4))  # [N, num_ws, w_dim]


def save(path: Path, content: object) -> Path:
    """Write arrays as the suffix says: .npy one, .npz a dict, .pt whatever it is."""
    if path.suffix == ".npy":
        np.save(path, content.numpy() if isinstance(content, Tensor) else content)
    elif path.suffix == ".npz":
        np.savez(path, **{key: value.numpy() for key, value in content.items()})  # type: ignore[attr-defined]
    else:
        torch.save(content, path)
    return path

"""Shared by the tests of training: the smallest networks, pictures of noise, and whether two runs agree."""

from __future__ import annotations

import numpy as np
import torch

from train.config import TrainConfig
from train.dataset import Batch
from train.presets import preset
from train.training import Training


def pictures(config: TrainConfig, *, count: int | None = None) -> Batch:
    """Any pictures: noise."""
    count = count or config.batch
    shape = (count, config.resolution, config.resolution, config.generator["img_channels"])
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    labels = torch.eye(max(config.generator["c_dim"], 1))[torch.arange(count) % max(config.generator["c_dim"], 1)]
    return Batch(images, labels if config.generator["c_dim"] else torch.zeros(count, 0))


SMALL = {"z_dim": 8, "w_dim": 8, "channel_base": 128, "channel_max": 8}
DISCRIMINATOR = {"channel_base": 128, "channel_max": 8}


def small(recipe: str = "tiny", **changes) -> TrainConfig:
    networks = {"generator": SMALL, "discriminator": DISCRIMINATOR}
    return preset(recipe, **({"resolution": 16, "batch": 8} | networks | changes))


def same(first: dict, second: dict) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second


def close(first: Training, second: Training, *, tolerance: float) -> bool:
    """Every weight, running mean and average, to ``tolerance`` of its tensor's largest value."""
    for name in ("generator", "discriminator", "average"):
        others = getattr(second, name).state_dict()
        for key, value in getattr(first, name).state_dict().items():
            if value.is_floating_point():
                size = value.abs().max().clamp(min=1e-3)
                if not float((value - others[key]).abs().max() / size) < tolerance:
                    return False
    return True

"""A starter training that takes seconds: a tiny generator, a toy feature network, twelve plain pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from train.starter import StarterTraining
from train.starter_config import StarterConfig, config_of

TINY = {
    "z_dim": 8,
    "c_dim": 0,
    "w_dim": 16,
    "img_resolution": 16,
    "img_channels": 3,
    "channel_base": 64,
    "channel_max": 8,
    "num_layers": 4,
    "num_critical": 1,
    "margin_size": 2,
    "first_cutoff": 1,
    "first_stopband": 2**1.1,
    "conv_clamp": None,
}
CONFIG = StarterConfig(
    generator=TINY,
    encoder_width=16,
    discriminator_width=8,
    discriminator_max=16,
    batch=4,
    reconstruction_images=8,
    ramp_images=8,
    shift=2,
    close=8,
)


class Toy(nn.Module):
    """A frozen feature network: fixed random colours at four scales."""

    id = "toy"

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("colours", torch.randn(8, 3, 1, 1, generator=torch.Generator().manual_seed(0)))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        assert images.device == self.colours.device  # as a GPU demands
        x = F.conv2d(images, self.colours).relu()
        return [F.avg_pool2d(x, step) for step in (1, 2, 4, 8)]


def started(config: StarterConfig, images: np.ndarray) -> StarterTraining:
    return StarterTraining(config, images, features=Toy())


def taken_up(state: dict[str, Any], images: np.ndarray, config: StarterConfig | None = None) -> StarterTraining:
    """A training that goes on from ``state``, with the settings in it, or others."""
    training = started(config or config_of(state), images)
    training.load_state_dict(state)
    return training


def plain_pictures() -> np.ndarray:
    """Twelve plain colours that fade to the right: something a small network can learn."""
    colours = np.random.default_rng(0).integers(40, 256, (12, 1, 1, 3))
    return (colours * np.linspace(1, 0.5, 16)[None, None, :, None] * np.ones((1, 16, 1, 1))).astype(np.uint8)


def equal(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(equal, a, b))
    return a == b

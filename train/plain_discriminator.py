"""A discriminator of pixels for a finished generator, so that ``editkit train --from`` can go on with both.

The starter's own discriminator sees through a feature network that is not part of the package. This one learns from
nothing to tell the generator's samples from the photographs: relativistic loss, R1 and R2 every second step (Huang et
al. 2024, "The GAN is dead; long live the GAN!", equations 4-6).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from editkit.networks.discriminator import Discriminator
from editkit.networks.stylegan3 import StyleGAN3Generator
from train.losses import gradient_penalty, relativistic_loss
from train.starter_batches import Batches

_PENALTY_EVERY = 2
_GAMMA = 1.0
_CLIP = 1.0
_CHANNEL_BASE, _CHANNEL_MAX = 2048, 128


def discriminator_arguments(generator: dict[str, Any]) -> dict[str, Any]:
    """Of one for a generator of these arguments, at most as wide as the compact one: its penalties, gradients of
    gradients, are what a fine-tuning on a processor waits for."""
    return {
        "img_resolution": generator["img_resolution"],
        "channel_base": min(generator["channel_base"], _CHANNEL_BASE),
        "channel_max": min(generator["channel_max"], _CHANNEL_MAX),
        "conv_clamp": None,
        "num_fp16_res": 0,
    }


def train_discriminator(
    generator: StyleGAN3Generator,
    batches: Batches,
    arguments: dict[str, Any],
    *,
    images: int,
    lr: float = 2e-3,
    on_step: Callable[[int, float], None] | None = None,
) -> Discriminator:
    """A ``Discriminator`` of ``arguments`` that has seen ``images`` photographs and as many samples; the generator
    stays as it is. ``on_step`` is told the photographs seen and the loss: ln 2 where nothing is told apart."""
    device = batches.images.device
    torch.manual_seed(batches.seed)
    network = Discriminator(**arguments)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    optimizer = torch.optim.Adam(network.parameters(), lr=lr, betas=(0.0, 0.99))
    for step, seen in enumerate(range(0, images, batches.batch)):
        stream = torch.Generator().manual_seed(batches.seed * 1_000_003 + seen)
        z = torch.randn(batches.batch, generator.z_dim, generator=stream).to(device)
        with torch.no_grad():
            fake = generator(z)
        real = batches.at(seen)
        penalty = fake.new_zeros([])
        if step % _PENALTY_EVERY == 0:
            r1, real_logits = gradient_penalty(network, real)
            r2, fake_logits = gradient_penalty(network, fake)
            penalty = (r1 + r2) * (_GAMMA / 2 * _PENALTY_EVERY)
        else:
            real_logits, fake_logits = network(real), network(fake)
        loss = relativistic_loss(real_logits, fake_logits)
        optimizer.zero_grad(set_to_none=True)
        (loss + penalty).backward()
        nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
        optimizer.step()
        if on_step is not None:
            on_step(seen + batches.batch, float(loss.detach()))
    return network

"""From a training state to a generator file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict

import torch

from editkit.checkpoints.native import halve, write_checkpoint
from train.plain_discriminator import discriminator_arguments, train_discriminator
from train.starter import StarterTraining

W_SAMPLES = 50_000
LICENCE = "Apache-2.0; trained on FairFace (Karkkainen & Joo, WACV 2021), CC BY 4.0"


def export_generator(training: StarterTraining, path: str | os.PathLike[str], *, data: str) -> None:
    """Writes the averaged generator in half precision, with ``w_avg`` taken over the prior.

    During training ``w_avg`` lags behind.
    """
    network = training.average
    stream = torch.Generator().manual_seed(0)
    with torch.no_grad():
        z = torch.randn(W_SAMPLES, network.z_dim, generator=stream).to(training.device)
        network.mapping.w_avg.copy_(torch.cat([network.mapping(part)[:, 0] for part in z.split(5000)]).mean(0))
    config = asdict(training.config)
    header = {
        "kind": "stylegan3",
        "arguments": config.pop("generator"),
        "name": "faces64",
        "domain": "faces",
        "alignment": "faces128",
        "licence": LICENCE,
        "training": {
            "recipe": "train.starter",
            "data": data,
            "images": training.seen,
            "features": training.features.id,
            "config": config,
        },
    }
    write_checkpoint(path, halve(network.state_dict()), header)


def export_discriminator(
    training: StarterTraining,
    path: str | os.PathLike[str],
    *,
    images: int,
    on_step: Callable[[int, float], None] | None = None,
) -> None:
    """Trains a discriminator of pixels against the averaged generator and writes it in half precision."""
    arguments = discriminator_arguments(training.config.generator)
    network = train_discriminator(training.average, training.batches, arguments, images=images, on_step=on_step)
    header = {
        "kind": "discriminator",
        "arguments": arguments,
        "name": "faces64-discriminator",
        "licence": LICENCE,
        "training": {"recipe": "train.plain_discriminator", "images": images},
    }
    write_checkpoint(path, halve(network.state_dict()), header)

"""From a training state to a generator file."""

from __future__ import annotations

import os
from dataclasses import asdict

import torch

from editkit.checkpoints.native import halve, write_checkpoint
from train.starter import StarterTraining

W_SAMPLES = 50_000
LICENCE = "Apache-2.0; trained on FairFace (Karkkainen & Joo, WACV 2021), CC BY 4.0"


def export_generator(training: StarterTraining, path: str | os.PathLike[str], *, data: str) -> None:
    """Writes the averaged generator in half precision, with ``w_avg`` taken over the prior.

    During training ``w_avg`` follows encoded photographs as well; a user samples the prior.
    """
    network = training.average
    stream = torch.Generator().manual_seed(0)
    with torch.no_grad():
        z = torch.randn(W_SAMPLES, network.z_dim, generator=stream)
        network.mapping.w_avg.copy_(torch.cat([network.mapping(part)[:, 0] for part in z.split(5000)]).mean(0))
    config = asdict(training.config)
    header = {
        "kind": "stylegan3",
        "arguments": config.pop("generator"),
        "name": "faces64",
        "domain": "faces",
        "alignment": "faces128",
        "licence": LICENCE,
        "training": {"recipe": "train.starter", "data": data, "images": training.seen, "config": config},
    }
    write_checkpoint(path, halve(network.state_dict()), header)


def export_discriminator(training: StarterTraining, path: str | os.PathLike[str]) -> None:
    """Writes the discriminator in half precision, for ``editkit train --from`` onto other pictures."""
    c = training.config
    header = {
        "kind": "discriminator",
        "arguments": {
            "img_resolution": c.generator["img_resolution"],
            "channel_base": c.discriminator_base,
            "channel_max": c.discriminator_max,
            "conv_clamp": None,
            "num_fp16_res": 0,
        },
        "name": "faces64-discriminator",
        "licence": LICENCE,
        "training": {"recipe": "train.starter", "images": training.seen},
    }
    write_checkpoint(path, halve(training.discriminator.state_dict()), header)

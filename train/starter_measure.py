"""The Frechet distance of the averaged generator while it trains."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from editkit.ops.backends import precision
from editkit.photo import image_from_uint8
from train.metrics.backbone_features import read_features
from train.metrics.extractors import FaceFeatures
from train.metrics.frechet import distance_from
from train.starter import StarterTraining
from train.starter_loop import Measure
from train.training import DivergedError

_AT_A_TIME = 64


def distance_measure(
    images: np.ndarray,
    folder: Path,
    *,
    features: str | None = None,
    best: Callable[[StarterTraining], None],
    seconds: float,
    device: torch.device,
) -> Measure:
    """Distance of as many samples, always the same z, and photographs ``images``, uint8 [N, R, R, 3].

    ``features``: another network than the bundled one of ``fd_faces``, see ``train.metrics.backbone_features``. The
    journal is ``folder / NAME.jsonl``, after the figure's name.
    """
    extractor = FaceFeatures(device=str(device)) if features is None else read_features(features, device=str(device))
    parts = (images[start : start + _AT_A_TIME] for start in range(0, len(images), _AT_A_TIME))
    with precision("fast"):
        distance = distance_from((image_from_uint8(part) for part in parts), lambda part: extractor(part).values)

    def figure(training: StarterTraining) -> float:
        z = torch.randn(len(images), training.average.z_dim, generator=torch.Generator().manual_seed(0)).to(device)
        with torch.no_grad(), precision("fast"):  # as ``editkit metrics run`` takes it
            return distance(_pictures(training, part) for part in z.split(_AT_A_TIME))

    name = extractor.name("fd")
    return Measure(name=name, figure=figure, best=best, journal=folder / f"{name}.jsonl", seconds=seconds)


def _pictures(training: StarterTraining, z: Tensor) -> Tensor:
    """Samples of the averaged generator. Raises DivergedError where they are not finite."""
    G = training.average
    images = G.synthesis(training.drawn(z)[:, None].expand(-1, G.num_ws, -1))
    if not bool(torch.isfinite(images).all()):
        raise DivergedError("samples are not finite")
    return images.clamp(-1, 1)

"""``fd_faces`` of the averaged generator while it trains."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from editkit.perceptual import Bundled
from editkit.photo import image_from_uint8
from train.metrics.frechet import distance_from
from train.starter import StarterTraining
from train.starter_loop import Measure

_AT_A_TIME = 64


def fd_faces_measure(
    images: np.ndarray,
    journal: Path,
    *,
    best: Callable[[StarterTraining], None],
    seconds: float,
    device: torch.device,
) -> Measure:
    """Distance of as many samples, always the same z, and photographs ``images``, uint8 [N, R, R, 3]."""
    parts = (images[start : start + _AT_A_TIME] for start in range(0, len(images), _AT_A_TIME))
    distance = distance_from((image_from_uint8(part).to(device) for part in parts), Bundled(device=device).features)

    def figure(training: StarterTraining) -> float:
        z = torch.randn(len(images), training.average.z_dim, generator=torch.Generator().manual_seed(0)).to(device)
        return distance(training.average(part).clamp(-1, 1) for part in z.split(_AT_A_TIME))

    return Measure(name="fd_faces", figure=figure, best=best, journal=journal, seconds=seconds)

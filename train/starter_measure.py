"""``fd_faces`` of the averaged generator while it trains."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from editkit.perceptual import Bundled
from editkit.photo import image_from_uint8
from train.metrics.frechet import face_statistics, frechet_distance
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
    network = Bundled(device=device)

    def photographs() -> Iterator[Tensor]:
        for start in range(0, len(images), _AT_A_TIME):
            yield image_from_uint8(images[start : start + _AT_A_TIME]).to(device)

    wanted = face_statistics(photographs(), network=network)

    def figure(training: StarterTraining) -> float:
        z = torch.randn(len(images), training.average.z_dim, generator=torch.Generator().manual_seed(0)).to(device)
        with torch.no_grad():
            made = (training.average(part).clamp(-1, 1) for part in z.split(_AT_A_TIME))
            return frechet_distance(face_statistics(made, network=network), wanted)

    return Measure(name="fd_faces", figure=figure, best=best, journal=journal, seconds=seconds)

"""Sets the weights of the bundled perceptual distance on a trained feature network.

As the linear heads of LPIPS (Zhang et al. 2018, section 3.2) are fitted to human choices on frozen features, ours are
fitted to put distorted faces in the order of their strength, as judged in train.feature_views. Then the distance is
scaled so that two photos of different people are 1 apart on average.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from editkit.networks.features import FeatureNetwork
from editkit.perceptual import CALIBRATED_SIDES, channel_differences, unit_vectors
from train.feature_objectives import ranking_loss
from train.feature_views import distorted

_CHUNK = 64


def calibrate(network: FeatureNetwork, pixels: Tensor, *, different: float, seed: int = 0, pairs: int = 3072) -> None:
    """Fill ``network.channel_weights`` from faces, uint8 [N, 3, 128, 128], in random order or not.

    different: the visibility (see train.feature_views) of another person's photo. pairs: distorted faces to fit on.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(pixels), generator=generator)[:pairs]
    faces = pixels[rows].float().div_(127.5).sub_(1.0)
    small = F.avg_pool2d(faces, 2)
    with torch.no_grad():
        copies, visibility = [], []
        for part in small.split(_CHUNK):
            changed, strength = distorted(part, generator)
            copies.append(_differences(network, part, changed))
            visibility.append(strength)
        others = _between(network, small)
        differences = torch.cat([*copies, others])
        ranks = torch.cat([*visibility, torch.full((len(others),), different)])
        start = _even(others, network.widths)
    weights = _fitted(differences, ranks, start, generator)
    with torch.no_grad():
        for row, side in enumerate(CALIBRATED_SIDES):
            found = others if side == small.shape[2] else _between(network, faces[: pairs // 3])
            network.channel_weights[row] = weights / (found @ weights).mean()


def _fitted(differences: Tensor, ranks: Tensor, start: Tensor, generator: torch.Generator) -> Tensor:
    change = torch.zeros_like(start, requires_grad=True)  # logarithms keep the weights positive
    optimiser = torch.optim.Adam([change], lr=0.05)
    for _ in range(400):
        chosen = torch.randperm(len(differences), generator=generator)[:384]
        loss = ranking_loss(differences[chosen] @ (start * change.exp()), ranks[chosen])
        loss = loss + 0.01 * change.square().mean()  # even stages, unless the ordering asks for something else
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return (start * change.detach().exp()).detach()


def _even(others: Tensor, widths: tuple[int, ...]) -> Tensor:
    """Weights with which every stage adds the same to the mean distance of different faces."""
    stages = torch.stack([part.sum(1).mean() for part in others.split(list(widths), 1)])
    return (1.0 / (len(widths) * stages)).repeat_interleave(torch.tensor(widths))


def _differences(network: FeatureNetwork, first: Tensor, second: Tensor) -> Tensor:
    return channel_differences(unit_vectors(network.stages(first)), unit_vectors(network.stages(second)))


def _between(network: FeatureNetwork, faces: Tensor) -> Tensor:
    """Channel differences of each face with the next one: [N, channels]."""
    nexts = faces.roll(-1, 0)
    return torch.cat(
        [_differences(network, a, b) for a, b in zip(faces.split(_CHUNK), nexts.split(_CHUNK), strict=True)]
    )

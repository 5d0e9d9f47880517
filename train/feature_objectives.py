"""What the feature network is trained for, beside the labels: telling faces apart and ordering distortions.

Age and gender alone would give features that ignore detail. Three more objectives keep it: views of one face are
nearer than views of others; what was done to a view can be read off its embedding; and the perceptual distance between
a view and a distorted copy grows with the strength of the distortion, whatever its kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editkit.networks.features import FaceAttributes


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """age: int64 [N], a bracket's index. male: float32 [N], 0 or 1. yaw: [N]. landmarks: [N, 5, 2] in image widths."""

    age: Tensor
    male: Tensor
    yaw: Tensor
    landmarks: Tensor


class TrainingHeads(nn.Module):
    """Heads used in training only: a projection for instance discrimination, and what was done to the view."""

    def __init__(self, *, embedding_dim: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(embedding_dim, 256)
        self.project = nn.Linear(256, 64)
        self.parameters_out = nn.Linear(embedding_dim, 9)

    def projection(self, embedding: Tensor) -> Tensor:
        """Unit vectors [N, 64]."""
        return F.normalize(self.project(F.leaky_relu(self.hidden(embedding), 0.2)), dim=1)


def label_loss(found: FaceAttributes, labels: Labels) -> Tensor:
    """Cross-entropies of age bracket and gender presentation plus a robust loss of the geometry."""
    age = F.cross_entropy(found.age_logits, labels.age, label_smoothing=0.1)
    gender = F.binary_cross_entropy_with_logits(found.gender_logit, labels.male * 0.96 + 0.02)
    points = F.smooth_l1_loss(found.landmarks * 50, labels.landmarks * 50)  # one unit is 2 % of the width
    yaw = F.smooth_l1_loss(found.yaw * 20, labels.yaw * 20)
    return age + gender + points + yaw


def instance_loss(first: Tensor, second: Tensor, *, temperature: float = 0.15) -> Tensor:
    """InfoNCE both ways (van den Oord et al. 2018, equation 4; Chen et al. 2020, equation 1).

    first, second: [N, D] unit vectors; row i of both is the same face, all other rows are others.
    """
    similarity = first @ second.T / temperature
    target = torch.arange(len(first), device=first.device)
    return 0.5 * (F.cross_entropy(similarity, target) + F.cross_entropy(similarity.T, target))


def stage_distances(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """[N, stages]: mean over pixels of the squared difference of unit channel vectors."""
    return torch.stack([(a - b).square().sum(1).mean((1, 2)) for a, b in zip(first, second, strict=True)], 1)


def ranking_loss(distances: Tensor, visibility: Tensor, *, margin: float = 0.25, sharpness: float = 4.0) -> Tensor:
    """Logistic loss over all pairs of a batch whose visibilities differ by a factor of exp(margin) or more.

    distances, visibility: [N], positive. Zero gradient once the logarithms of the distances are ordered well apart.
    """
    wanted = visibility.log()[:, None] - visibility.log()[None]
    got = distances.clamp(min=1e-6).log()
    got = got[:, None] - got[None]
    counted = (wanted > margin).float()
    return (F.softplus(-got * sharpness) * counted).sum() / counted.sum().clamp(min=1.0)


def feature_distance(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Squared distance of unit channel vectors, averaged over places, summed over maps (Zhang et al. 2018, "The
    Unreasonable Effectiveness of Deep Features as a Perceptual Metric", equation 1, unweighted). A scalar."""
    return stage_distances([_unit(x) for x in a], [_unit(x) for x in b]).mean(0).sum()


def _unit(x: Tensor) -> Tensor:
    return x * (x.square().sum(1, keepdim=True) + 1e-6).rsqrt()

"""The shape of W: mean, principal axes and spread, sampled once a generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from editkit.labels import Classes, labels_for_seeds
from editkit.seeds import normal

if TYPE_CHECKING:
    from editkit.generator import Generator

SAMPLES = 4096
SEED = 123_457


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WStatistics:
    """W as an ellipsoid.

    Attributes:
        mean: [w_dim].
        axes: [w_dim, w_dim]; a row is a principal axis times its standard deviation, so that w = mean + v @ axes has
            W's covariance for standard normal v.
        std: root mean square distance from the mean, a coordinate.
    """

    mean: Tensor
    axes: Tensor
    std: float

    def deviations(self, apart: Tensor) -> Tensor:
        """Differences of w, [..., w_dim], in standard deviations along the axes: the inverse of ``v @ axes``."""
        return torch.linalg.solve(self.axes, apart, left=False)


def sample_statistics(
    G: Generator, *, samples: int = SAMPLES, floor: float = 0.5, classes: Classes | None = None
) -> WStatistics:
    """Statistics of ``samples`` mapped z (Karras et al. 2020, section 5, start their projection from such samples).

    ``floor``: the least standard deviation of an axis, as a share of ``std``: photos need directions that samples do
    not show. ``classes``: of a conditional generator, see ``editkit.labels``; without, all classes together.
    """
    w = drawn(G, samples, classes=classes).cpu().double()  # Apple's GPUs have no float64
    mean = w.mean(0)
    centred = w - mean
    variance, vectors = torch.linalg.eigh(centred.t() @ centred / max(samples - 1, 1))
    std = float(variance.clamp(min=0).mean().sqrt())
    scale = variance.clamp(min=(floor * std) ** 2).sqrt()
    axes = (vectors * scale).t().contiguous().float()
    return WStatistics(mean=mean.float().to(G.device), axes=axes.to(G.device), std=std)


def drawn(G: Generator, samples: int, *, classes: Classes | None = None) -> Tensor:
    """[samples, w_dim], mapped from z that are always the same. ``classes``: as for ``sample_statistics``."""
    z = normal(SEED, (samples, G.spec.z_dim)).to(G.device)
    label = labels_for_seeds(G.spec, range(samples), classes)
    labels = [None] * samples if label is None else label.to(G.device).split(1024)
    with torch.no_grad():
        parts = [G.map(part, label=one).tensor[:, 0] for part, one in zip(z.split(1024), labels, strict=False)]
    return torch.cat(parts)

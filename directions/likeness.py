"""How far an edit may go before its pictures are unlike anything that the generator makes: the ends of a safe range.

A picture's distance from the generator's own samples is Mahalanobis's, in what the bundled feature network sees of it:
its embedding (the face), and the means and deviations of its middle stages (colour and texture). The realism score of
Kynkäänniemi et al. 2019, "Improved Precision and Recall Metric for Assessing Generative Models", judges single pictures
in such a space too, by the nearest real ones. Departures: samples stand for real pictures, and one Gaussian for their
neighbourhoods, so that a thousand are enough; what counts is how much further away an edit is than the same picture was
before it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from directions.score import sample_latents
from directions.spaces import in_space
from editkit.direction import Direction
from editkit.edits import Edit, apply_edits
from editkit.latent import Latent
from editkit.networks.features import HEAD_SIZE, resize
from editkit.perceptual import feature_network
from editkit.rendering import render

if TYPE_CHECKING:
    from editkit.generator import Generator

FARTHER = 1.25
"""Distance of edited pictures, in distances of the same pictures unedited, at which a range ends (median)."""
SAMPLES = 1200
"""Samples that pictures are compared with."""
_SEED, _FACES_SEED = 700_000, 600_000  # apart from what directions are found and judged on
FACES = 32
"""Samples that are edited."""
_SHARES = (0.25, 0.5, 0.75, 1.0)  # of a range's end, at which pictures are looked at
_SHRINK = 0.01  # of the mean variance, added to every one: with few samples a covariance has no inverse
_STAGES = slice(1, 4)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Likeness:
    """What a generator's pictures look like to the feature network.

    Attributes:
        means: for each of the two kinds of features [D].
        precisions: the inverse covariance of each [D, D].
    """

    means: tuple[Tensor, ...]
    precisions: tuple[Tensor, ...]

    @classmethod
    def of(cls, G: Generator, *, samples: int = SAMPLES, batch: int = 64) -> Likeness:
        """Of ``samples`` samples of ``G``, untruncated. Raises CheckpointError without the network's weights."""
        seeds = range(_SEED, _SEED + samples, batch)
        parts = [_features(G, sample_latents(G, samples=min(batch, _SEED + samples - s), seed=s)) for s in seeds]
        means, precisions = [], []
        for kind in zip(*parts, strict=True):
            x = torch.cat(kind)
            covariance = torch.cov(x.T)
            floor = _SHRINK * covariance.diagonal().mean() * torch.eye(x.shape[1], dtype=x.dtype)
            means.append(x.mean(0))
            precisions.append(torch.linalg.inv(covariance + floor))
        return cls(means=tuple(means), precisions=tuple(precisions))

    def distances(self, G: Generator, latents: Latent) -> Tensor:
        """[2, N]: of each picture from the samples, by the embedding and by the stages."""
        rows = []
        for x, mean, precision in zip(_features(G, latents), self.means, self.precisions, strict=True):
            away = x - mean
            rows.append(torch.einsum("nd,de,ne->n", away, precision, away).clamp(min=0).sqrt())
        return torch.stack(rows)

    def ends(self, G: Generator, direction: Direction, *, farther: float = FARTHER) -> tuple[float, float]:
        """``direction.strength``, each end shortened to where pictures are ``farther`` away than before the edit."""
        latents = in_space(G, sample_latents(G, samples=FACES, seed=_FACES_SEED), direction)
        before = self.distances(G, latents)

        def strain(strength: float) -> float:
            after = self.distances(G, apply_edits(latents, Edit(direction, strength)))
            return float((after / before).median(dim=1).values.max())

        found = [crossing([0.0, *(share * end for share in _SHARES)], strain, farther) for end in direction.strength]
        return found[0], found[1]


def crossing(strengths: Sequence[float], strain: Callable[[float], float], bound: float) -> float:
    """Where ``strain`` passes ``bound``, between two of ``strengths`` by a straight line; else the last of them.

    At the first, which is no edit, it is 1.
    """
    last = 1.0
    for begin, end in itertools.pairwise(strengths):
        if begin == end:
            return end
        seen = strain(end)
        if seen > bound:
            return begin + (end - begin) * (bound - last) / (seen - last)
        last = seen
    return strengths[-1]


def _features(G: Generator, latents: Latent) -> tuple[Tensor, Tensor]:
    """The embedding [N, 256], and means and deviations of the stages [N, D], float64 on the CPU."""
    pictures = render(G, latents).clamp(-1, 1)
    network = feature_network(device=pictures.device)
    with torch.no_grad():
        stages, embedding, _ = network(resize(pictures, (HEAD_SIZE, HEAD_SIZE)))
    statistics = [part for stage in stages[_STAGES] for part in (stage.mean((2, 3)), stage.std((2, 3)))]
    return embedding.double().cpu(), torch.cat(statistics, dim=1).double().cpu()

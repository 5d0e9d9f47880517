"""Perceptual path length: how much pictures change along a small step in the latent space.

Source: Karras et al. 2019, "A Style-Based Generator Architecture for GANs", section 4.1, equations 2 and 3; the
trimmed mean is that of its code. Its distance is LPIPS with the VGG trunk; values on another distance compare with each
other only, and are named after it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from editkit.errors import UsageError
from editkit.labels import Classes, labels_for_seeds
from editkit.latent import Latent
from train.streams import SampleStreams, mixed_seed

if TYPE_CHECKING:
    from editkit.generator import Generator
    from editkit.perceptual import PerceptualDistance

EPSILON = 1e-4
Progress = Callable[[int, int], object]


def path_length(
    G: Generator,
    distance: PerceptualDistance,
    *,
    samples: int = 1000,
    space: Literal["w", "z"] = "w",
    sampling: Literal["end", "full"] = "end",
    epsilon: float = EPSILON,
    seed: int = 0,
    batch: int = 8,
    classes: Classes | None = None,
    on_progress: Progress | None = None,
) -> float:
    """PPL of ``G``: the trimmed mean of d(G(t), G(t + epsilon)) / epsilon^2.

    Args:
        distance: of pictures, see ``editkit.perceptual``.
        space: lerp in W (what the papers report) or slerp in Z.
        sampling: "end": t = 0 (StyleGAN2 and later); "full": anywhere between two codes.
        classes: of a conditional generator, see ``editkit.labels``; drawn for each sample by default.

    Raises:
        UsageError: no samples, or an epsilon that is not above 0.
    """
    if samples < 1 or epsilon <= 0 or batch < 1:
        raise UsageError(f"path length needs samples and an epsilon above 0, got {samples} and {epsilon}")
    found = []
    for start in range(0, samples, batch):
        indices = range(start, min(start + batch, samples))
        source = SampleStreams([mixed_seed(seed, "ppl", index) for index in indices])
        z0, z1 = (source.normal(name, len(indices), G.spec.z_dim).to(G.device) for name in ("from", "to"))
        t = source.uniform("t", len(indices)).to(G.device) * (sampling == "full")
        labels = labels_for_seeds(G.spec, indices, classes)
        with torch.no_grad():
            first, second = _ends(G, z0, z1, t, epsilon, space, labels)
            near = distance.distance(G.synthesize(first), G.synthesize(second))
        found.append(near.double().cpu() / epsilon**2)
        if on_progress is not None:
            on_progress(indices[-1] + 1, samples)
    return trimmed_mean(torch.cat(found).numpy())


def _ends(
    G: Generator, z0: Tensor, z1: Tensor, t: Tensor, epsilon: float, space: str, labels: Tensor | None
) -> tuple[Latent, Latent]:
    if space == "z":
        return G.map(slerp(z0, z1, t), label=labels), G.map(slerp(z0, z1, t + epsilon), label=labels)
    a, b = G.map(z0, label=labels), G.map(z1, label=labels)

    def between(share: Tensor) -> Latent:
        codes = a.tensor.lerp(b.tensor, share[:, :, None])
        return Latent(space="w", codes=codes, generator=a.generator, parent=a.parent)

    return between(t), between(t + epsilon)


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Along the great circle from ``a`` to ``b`` [N, D], brought to length one; ``t`` [N, 1]: [N, D] of length one."""
    a, b = (v / v.norm(dim=-1, keepdim=True) for v in (a, b))
    cosine = (a * b).sum(-1, keepdim=True)
    angle = t * cosine.clamp(-1, 1).acos()
    across = b - cosine * a
    across = across / across.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    return a * angle.cos() + across * angle.sin()


def trimmed_mean(distances: np.ndarray) -> float:
    """The mean of what lies between the 1st percentile (next lower value) and the 99th (next higher), inclusive."""
    low = np.percentile(distances, 1, method="lower")
    high = np.percentile(distances, 99, method="higher")
    return float(distances[(distances >= low) & (distances <= high)].mean())

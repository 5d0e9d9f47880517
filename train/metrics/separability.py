"""Linear separability: how well a plane in the latent space tells the two sides of an attribute apart.

Source: Karras et al. 2019, "A Style-Based Generator Architecture for GANs", section 4.2: exp(sum over attributes of
H(Y | X)), Y the side that a classifier of pictures sees, X the side of a linear SVM on the latent; the less confident
half of the samples is left out. Departure: the paper takes 40 classifiers of CelebA attributes; here they are two heads
of the bundled feature network, so values are called ``ls_faces_z`` and ``ls_faces_w`` and compare with each other only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from editkit.errors import UsageError
from editkit.networks.features import FaceAttributes

if TYPE_CHECKING:
    from editkit.generator import Generator
    from editkit.labels import Classes

SPACES = ("z", "w")
KEPT = 0.5  # share of the samples, the most confident ones
_ROWS_PER_DIMENSION = 4  # below, any labelling is separable and the score means nothing
_YOUNGER = 2  # brackets below 40 years, of ``AGE_CENTRES``
Progress = Callable[[int, int], object]


def _age(found: FaceAttributes) -> Tensor:
    """Log-odds of an age from 40."""
    return found.age_logits[:, _YOUNGER:].logsumexp(1) - found.age_logits[:, :_YOUNGER].logsumexp(1)


ATTRIBUTES: Mapping[str, Callable[[FaceAttributes], Tensor]] = {
    "age": _age,
    "gender_presentation": lambda found: found.gender_logit,
}
"""Signed confidence [N] of each classifier, 0 at its boundary."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Separability:
    """``values`` by space, 1 perfect; ``entropies`` by space and attribute, in nats."""

    values: Mapping[str, float]
    entropies: Mapping[str, Mapping[str, float]]


def linear_separability(
    G: Generator,
    *,
    samples: int = 10_000,
    spaces: Sequence[str] = SPACES,
    seed: int = 0,
    batch: int = 16,
    classes: Classes | None = None,
    on_progress: Progress | None = None,
) -> Separability:
    """Measures a generator of aligned faces; the paper takes 200,000 samples.

    Args:
        spaces: "z", and "w" (untruncated).
        seed: of the first sample.
        classes: of a conditional generator, see ``editkit.labels``; drawn for each seed by default.

    Raises:
        UsageError: an unknown space, too few samples for the dimension, pictures without colours, or an attribute of
            which only one side is seen.
    """
    from directions.attributes import face_attributes
    from editkit.perceptual import feature_network
    from editkit.rendering import render
    from editkit.sampling import sample_w
    from editkit.seeds import z_from_seeds
    from train.metrics.pictures import as_seen

    unknown = [space for space in spaces if space not in SPACES]
    if unknown or not spaces:
        raise UsageError(f"separability is measured in {' and '.join(SPACES)}; got {', '.join(unknown) or 'none'}")
    if G.spec.channels != 3:
        raise UsageError(f"separability looks at faces in colour; {G.spec.name!r} makes {G.spec.channels} channel(s)")
    dimensions = {"z": G.spec.z_dim, "w": G.spec.w_dim}
    check_samples(samples, max(dimensions[space] for space in spaces))
    network = feature_network(device=G.device)
    codes: dict[str, list[Tensor]] = {space: [] for space in SPACES}
    seen: dict[str, list[Tensor]] = {name: [] for name in ATTRIBUTES}
    for start in range(0, samples, batch):
        seeds = range(seed + start, seed + min(start + batch, samples))
        latent = sample_w(G, seeds, classes=classes)
        with torch.no_grad():
            found = face_attributes(as_seen(render(G, latent, batch=batch)).to(G.device), network=network)
        codes["z"].append(z_from_seeds(seeds, G.spec.z_dim))
        codes["w"].append(latent.tensor[:, 0].cpu())  # untruncated: equal rows
        for name, confidence in ATTRIBUTES.items():
            seen[name].append(confidence(found).cpu())
        if on_progress is not None:
            on_progress(start + len(seeds), samples)
    entropies: dict[str, dict[str, float]] = {space: {} for space in spaces}
    for name, parts in seen.items():
        for space in spaces:
            try:
                entropies[space][name] = attribute_entropy(torch.cat(codes[space]), torch.cat(parts))
            except UsageError as error:
                raise UsageError(f"{name} of {G.spec.name!r}: {error}") from error
    values = {space: separability(list(found.values())) for space, found in entropies.items()}
    return Separability(values=values, entropies=entropies)


def check_samples(count: int, dimension: int, *, keep: float = KEPT) -> None:
    """Raises UsageError where ``count`` samples are too few for a plane in ``dimension``."""
    if int(count * keep) < _ROWS_PER_DIMENSION * dimension:
        raise UsageError(
            f"separability in {dimension} dimensions needs {math.ceil(_ROWS_PER_DIMENSION * dimension / keep)} "
            f"samples at least, got {count}"
        )


def conditional_entropy(seen: np.ndarray, predicted: np.ndarray) -> float:
    """H(seen | predicted) in nats of two boolean arrays [N]."""
    total = 0.0
    for side in (False, True):
        rows = seen[predicted == side]
        for share in (rows.mean(), 1 - rows.mean()) if len(rows) else ():
            total -= len(rows) / len(seen) * (share * math.log(share) if share > 0 else 0.0)
    return float(total)


def attribute_entropy(codes: Tensor, confidence: Tensor, *, keep: float = KEPT) -> float:
    """Of latents [N, D] and a classifier's signed confidence [N], 0 at its boundary: H(Y | X) in nats.

    Raises UsageError: too few samples for the dimension, or only one side among the confident ones.
    """
    from sklearn.svm import LinearSVC

    x, score = codes.detach().cpu().double().numpy(), confidence.detach().cpu().double().numpy()
    check_samples(len(score), x.shape[1], keep=keep)
    chosen = np.argsort(-np.abs(score), kind="stable")[: int(len(score) * keep)]
    x, seen = x[chosen] / x.std(), score[chosen] > 0
    if seen.all() or not seen.any():
        raise UsageError("separability needs samples on both sides of an attribute, all confident ones are on one")
    return conditional_entropy(seen, LinearSVC(dual=False).fit(x, seen).predict(x))


def separability(entropies: list[float]) -> float:
    """exp of the sum of attributes' conditional entropies; 1 is perfect."""
    return math.exp(sum(entropies))

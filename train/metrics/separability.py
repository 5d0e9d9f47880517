"""Linear separability: how well a plane in the latent space tells the two sides of an attribute apart.

Source: Karras et al. 2019, "A Style-Based Generator Architecture for GANs", section 4.2: exp(sum over attributes of
H(Y | X)), Y the side that a classifier of pictures sees, X the side of a linear SVM on the latent; the less confident
half of the samples is left out. Values with other classifiers than the paper's compare with each other only.
"""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from editkit.errors import UsageError

_ROWS_PER_DIMENSION = 4  # below, any labelling is separable and the score means nothing


def conditional_entropy(seen: np.ndarray, predicted: np.ndarray) -> float:
    """H(seen | predicted) in nats of two boolean arrays [N]."""
    total = 0.0
    for side in (False, True):
        rows = seen[predicted == side]
        for share in (rows.mean(), 1 - rows.mean()) if len(rows) else ():
            total -= len(rows) / len(seen) * (share * math.log(share) if share > 0 else 0.0)
    return total


def attribute_entropy(codes: Tensor, confidence: Tensor, *, keep: float = 0.5) -> float:
    """Of latents [N, D] and a classifier's signed confidence [N], 0 at its boundary: H(Y | X) in nats.

    Raises UsageError: too few samples for the dimension, or only one side among the confident ones.
    """
    from sklearn.svm import LinearSVC

    x, score = codes.detach().cpu().double().numpy(), confidence.detach().cpu().double().numpy()
    chosen = np.argsort(-np.abs(score), kind="stable")[: int(len(score) * keep)]
    if len(chosen) < _ROWS_PER_DIMENSION * x.shape[1]:
        raise UsageError(
            f"separability in {x.shape[1]} dimensions needs {math.ceil(_ROWS_PER_DIMENSION * x.shape[1] / keep)} "
            f"samples at least, got {len(score)}"
        )
    x, seen = x[chosen] / x.std(), score[chosen] > 0
    if seen.all() or not seen.any():
        raise UsageError("separability needs samples on both sides of an attribute, all confident ones are on one")
    return conditional_entropy(seen, LinearSVC(dual=False).fit(x, seen).predict(x))


def separability(entropies: list[float]) -> float:
    """exp of the sum of attributes' conditional entropies; 1 is perfect."""
    return math.exp(sum(entropies))

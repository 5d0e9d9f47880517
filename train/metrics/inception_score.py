"""Inception score: samples that are of one class each, and of many classes together.

Source: Salimans et al. 2016, "Improved Techniques for Training GANs", section 4: exp(E KL(p(y|x) || p(y))).
It needs the class probabilities of the Inception network: there is none on other features.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from editkit.errors import UsageError


def inception_score(probabilities: Tensor, *, splits: int = 10) -> tuple[float, float]:
    """Mean and standard deviation over ``splits`` consecutive parts of class probabilities [N, classes].

    Raises UsageError where rows are no distributions, or there are fewer of them than parts.
    """
    if probabilities.ndim != 2 or len(probabilities) < splits or splits < 1:
        raise UsageError(f"the inception score in {splits} parts needs as many rows, got {tuple(probabilities.shape)}")
    p = probabilities.detach().cpu().double().numpy()
    if not np.isfinite(p).all() or p.min() < 0 or np.abs(p.sum(1) - 1).max() > 1e-3:
        raise UsageError("the inception score needs rows that are probabilities and add up to 1")
    scores = []
    for part in range(splits):
        rows = p[part * len(p) // splits : (part + 1) * len(p) // splits]
        mean = rows.mean(0, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(rows > 0, rows * (np.log(rows) - np.log(mean)), 0.0)  # 0 log 0 = 0
        scores.append(np.exp(terms.sum(1).mean()))
    return float(np.mean(scores)), float(np.std(scores))


def probabilities_of(logits: Tensor) -> Tensor:
    """[N, classes] logits to probabilities, in float64."""
    return torch.softmax(logits.double(), 1)

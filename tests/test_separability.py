"""Linear separability: its formula by hand, extremes, and bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from editkit.errors import UsageError
from train.metrics.separability import attribute_entropy, conditional_entropy, separability


def test_conditional_entropy_by_hand() -> None:
    seen = np.array([True, True, True, False])
    assert conditional_entropy(seen, seen) == 0
    alone = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert conditional_entropy(seen, np.ones(4, bool)) == pytest.approx(alone)


def test_a_linear_attribute_is_separable_and_a_ring_is_not() -> None:
    codes = torch.randn(400, 3)
    assert attribute_entropy(codes, codes[:, 0]) < 0.01
    assert attribute_entropy(codes, codes.norm(dim=1) - 1.6) > 0.4
    assert separability([0.0, math.log(2)]) == pytest.approx(2)


def test_bad_input() -> None:
    with pytest.raises(UsageError, match="80 samples"):
        attribute_entropy(torch.randn(20, 10), torch.randn(20))
    with pytest.raises(UsageError, match="both sides"):
        attribute_entropy(torch.randn(50, 2), torch.ones(50))

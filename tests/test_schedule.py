"""The curve of a learning rate: up a line, down half a cosine."""

from __future__ import annotations

import pytest

from editkit.schedule import rise_and_fall


def test_it_rises_in_a_line_and_falls_in_half_a_cosine() -> None:
    shares = [rise_and_fall(step, 100, rise=10) for step in range(100)]
    assert shares[0] == pytest.approx(0.1) and max(shares) == shares[9] < 1
    assert shares[50] == pytest.approx(0.5) and 0 < shares[99] < 0.001
    assert shares[10:] == sorted(shares[10:], reverse=True)

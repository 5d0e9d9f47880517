"""Settings that follow from resolution and batch: the published figures."""

from __future__ import annotations

import pytest

from editkit.errors import UsageError
from train.heuristics import average_kimg_for, gamma_for, lazy_adam


def test_published_figures() -> None:
    assert gamma_for(1024, 32) == pytest.approx(6.5536)
    assert gamma_for(256, 64) == pytest.approx(0.2048)
    assert average_kimg_for(32) == 10
    rate, betas = lazy_adam(0.002, (0.0, 0.99), interval=16)
    assert rate == pytest.approx(0.002 * 16 / 17) and betas == (0.0, pytest.approx(0.99 ** (16 / 17)))


def test_bad_numbers() -> None:
    with pytest.raises(UsageError, match="gamma"):
        gamma_for(0, 32)
    with pytest.raises(UsageError, match="average"):
        average_kimg_for(0)
    with pytest.raises(UsageError, match="interval"):
        lazy_adam(0.002, (0.0, 0.99), interval=0)

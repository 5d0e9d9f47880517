"""Filter design and preparation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from network_fixtures import absolute_error, op_cases

from editkit.ops.filters import design_lowpass_filter, kaiser_beta, setup_filter


@pytest.mark.parametrize("case", op_cases("design_lowpass_filter"))
def test_designs_match_the_reference(case) -> None:
    taps = design_lowpass_filter(**case.facts["kwargs"])
    if case.facts["y"] is None:
        assert taps is None
    else:
        assert taps.dtype == torch.float32
        assert absolute_error(taps, case.given("y")) <= 2e-7


@pytest.mark.parametrize("radial", [False, True])
def test_a_design_passes_the_mean_and_is_symmetric(radial: bool) -> None:
    taps = design_lowpass_filter(36, 16, 12, 128, radial=radial)
    assert taps.sum().item() == pytest.approx(1, abs=1e-6)
    assert torch.equal(taps, taps.flip(list(range(taps.ndim))))
    response = np.abs(np.fft.fft(taps.numpy() if not radial else taps.sum(0).numpy(), 256))
    assert response[:18].min() > 0.95  # passes below 16 - 12 / 2, stops above 16 + 12 / 2; bins are half a unit
    assert response[32] == pytest.approx(0.5, abs=0.05)
    assert response[46:128].max() < 0.05


def test_the_window_widens_with_the_attenuation() -> None:
    assert kaiser_beta(2, 0.01, 2) == 0  # under 21 dB
    middle, high = kaiser_beta(12, 0.3, 2), kaiser_beta(60, 0.3, 2)
    assert 0 < middle < high
    assert high == pytest.approx(0.1102 * (2.285 * 59 * np.pi * 0.3 + 7.95 - 8.7))


def test_bad_designs_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one tap"):
        design_lowpass_filter(0, 2, 12, 32)
    with pytest.raises(ValueError, match="even number"):
        design_lowpass_filter(5, 2, 12, 32, radial=True)


@pytest.mark.parametrize("case", [c for c in op_cases("upfirdn2d") if c.values[0].facts["func"] == "setup_filter"])
def test_setup_matches_the_reference(case) -> None:
    options = dict(case.facts["kwargs"])
    assert absolute_error(setup_filter(options.pop("f"), **options), case.given("y")) <= 1e-7


@pytest.mark.parametrize("taps", [[], [[[1.0]]]])
def test_setup_refuses_what_is_no_filter(taps) -> None:
    with pytest.raises(ValueError, match="vector or a matrix"):
        setup_filter(taps)

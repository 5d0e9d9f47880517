"""Average power spectra: what noise, waves and blur look like in them."""

from __future__ import annotations

import math

import pytest
import torch

from editkit.errors import UsageError
from train.metrics.spectra import (
    Whitening,
    average_spectrum,
    radial_slice,
    spectral_gap,
    spectrum_picture,
    whitening,
)


def noise(count: int = 64) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 0.5 + 0.25


def test_white_noise_is_flat_at_one() -> None:
    whiten = whitening(noise().split(10))
    assert whiten.mean == pytest.approx(0.25, abs=0.01) and whiten.deviation == pytest.approx(0.5, abs=0.01)
    spectrum = average_spectrum(noise().split(7), whiten)
    assert spectrum.shape == (128, 128)
    assert spectrum.mean().item() == pytest.approx(1, abs=0.02) and spectrum.std() < 0.2
    for degrees in (0, 45):
        frequencies, decibels = radial_slice(spectrum, degrees)
        assert frequencies.tolist() == list(range(16)) and decibels.abs().max() < 2


def test_a_wave_is_a_peak_at_its_frequency_and_angle() -> None:
    x = torch.arange(32) / 32
    wave = torch.sin(2 * math.pi * 6 * x).expand(1, 1, 32, 32)  # along x: at 0 degrees
    spectrum = average_spectrum([wave], Whitening(mean=0.0, deviation=1.0))
    _, along = radial_slice(spectrum, 0)
    _, across = radial_slice(spectrum, 90)
    assert along.argmax() == 6 and along[6] > across[6] + 60


def test_blur_makes_a_gap_where_detail_was() -> None:
    blurred = torch.nn.functional.avg_pool2d(noise(), 3, stride=1, padding=1)
    whiten = whitening([noise()])
    real, fake = (average_spectrum([x], whiten) for x in (noise(), blurred))
    _, sharp = radial_slice(real, 0)
    _, soft = radial_slice(fake, 0)
    assert (sharp - soft)[10:].min() > 10 > (sharp - soft)[1:3].abs().max()
    assert spectral_gap(real, real) == 0 < 5 < spectral_gap(real, fake)
    picture = spectrum_picture(fake)
    assert picture.shape == (1, 3, 128, 128) and picture[0, 0, 64, 70] > picture[0, 0, 64, 64 + 4 * 11]


def test_bad_input() -> None:
    with pytest.raises(UsageError, match="none"):
        whitening([])
    with pytest.raises(UsageError, match="flat"):
        whitening([torch.ones(2, 3, 8, 8)])
    with pytest.raises(UsageError, match="none"):
        average_spectrum([], Whitening(mean=0.0, deviation=1.0))
    with pytest.raises(UsageError, match="square"):
        average_spectrum([torch.ones(2, 3, 8, 6)], Whitening(mean=0.0, deviation=1.0))
    with pytest.raises(UsageError, match="one size"):
        spectral_gap(torch.ones(8, 8), torch.ones(4, 4))

"""Average power spectra of pictures: where a generator has too much or too little detail.

Source: Karras et al. 2021, "Alias-Free Generative Adversarial Networks", section 5 and figure 5 (right): pictures are
whitened by the data's mean and deviation, multiplied with a Kaiser window of beta 8, padded fourfold so that slices
interpolate, and squared magnitudes of their transforms averaged over channels and pictures.

Convention: spectra are float64 [S, S], S = ``INTERPOLATION`` times the side, zero frequency at [S / 2, S / 2]; white
noise of unit variance has density 1. Frequencies are in cycles a picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from editkit.errors import UsageError

BETA = 8.0
INTERPOLATION = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Whitening:
    """Mean and standard deviation of all values of a data set."""

    mean: float
    deviation: float


def whitening(batches: Iterable[Tensor]) -> Whitening:
    """Of pictures [N, C, H, W] in batches. Raises UsageError where there are none, or all are flat."""
    count, total, squares = 0, 0.0, 0.0
    for batch in batches:
        values = batch.double()
        count += values.numel()
        total += float(values.sum())
        squares += float(values.square().sum())
    if count == 0:
        raise UsageError("spectra need pictures, got none")
    variance = squares / count - (total / count) ** 2
    if variance <= 0:
        raise UsageError("spectra need pictures that are not flat")
    return Whitening(mean=total / count, deviation=math.sqrt(variance))


def average_spectrum(batches: Iterable[Tensor], whiten: Whitening) -> Tensor:
    """The mean density [S, S] of square pictures [N, C, R, R] in batches. Raises UsageError without pictures."""
    total, count = None, 0
    for batch in batches:
        side = batch.shape[-1]
        if batch.ndim != 4 or batch.shape[-2] != side:
            raise UsageError(f"spectra need square pictures [N, C, R, R], got {tuple(batch.shape)}")
        window = torch.kaiser_window(side, periodic=False, beta=BETA, dtype=torch.float64)
        window = window * (1 / window.square().sum()).sqrt()
        x = (batch.detach().cpu().double() - whiten.mean) / whiten.deviation
        x = functional.pad(x * window[:, None] * window[None], [0, side * (INTERPOLATION - 1)] * 2)
        power = torch.fft.fftn(x, dim=[2, 3]).abs().square().mean(1).sum(0)
        total = power if total is None else total + power
        count += len(batch)
    if total is None:
        raise UsageError("spectra need pictures, got none")
    return torch.fft.fftshift(total / count)


def radial_slice(spectrum: Tensor, degrees: float) -> tuple[Tensor, Tensor]:
    """Along a line from the centre: frequencies in cycles a picture [K], and the density in dB [K].

    From 0 to the Nyquist frequency, at every whole cycle; the paper shows 0 and 45 degrees.
    """
    size = spectrum.shape[0]
    frequencies = torch.arange(size // INTERPOLATION // 2, dtype=torch.float64)
    angle = math.radians(degrees)
    index = frequencies * INTERPOLATION
    x, y = size // 2 + index * math.cos(angle), size // 2 - index * math.sin(angle)
    grid = torch.stack([(x + 0.5) * 2 / size - 1, (y + 0.5) * 2 / size - 1], 1)[None, None]
    found = functional.grid_sample(spectrum[None, None], grid, mode="bilinear", align_corners=False)[0, 0, 0]
    return frequencies, 10 * found.clamp_min(1e-30).log10()


def spectral_gap(real: Tensor, fake: Tensor) -> float:
    """How far two spectra are apart, in dB: root mean square over whole frequencies below Nyquist, in a half plane."""
    if real.shape != fake.shape:
        raise UsageError(f"spectra of one size are compared, got {tuple(real.shape)} and {tuple(fake.shape)}")
    ratio = 10 * (fake.clamp_min(1e-30) / real.clamp_min(1e-30)).log10()[::INTERPOLATION, ::INTERPOLATION]
    return float(ratio.square().mean().sqrt())


def spectrum_picture(spectrum: Tensor, *, lowest: float = -60.0, highest: float = 40.0) -> Tensor:
    """A grey picture [1, 3, S, S] in [-1, 1]: black at ``lowest`` dB, white at ``highest``."""
    decibels = 10 * spectrum.clamp_min(1e-30).log10()
    grey = (decibels - lowest) / (highest - lowest) * 2 - 1
    return grey.clamp(-1, 1).float().expand(1, 3, -1, -1)

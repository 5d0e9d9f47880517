"""Design of the low-pass filters and preparation of FIR filters for ``upfirdn2d``.

Source: Karras et al. 2021, "Alias-Free Generative Adversarial Networks", section 3.2 and appendix C.1 (Kaiser-windowed
sinc, and the radially symmetric jinc of configuration R). Kaiser's formulas: Oppenheim & Schafer, section 7.5.3.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def kaiser_beta(numtaps: int, width: float, fs: float) -> float:
    """Kaiser window shape for ``numtaps`` taps and a transition band of ``width`` at sampling rate ``fs``."""
    attenuation = 2.285 * (numtaps - 1) * math.pi * (width / (fs / 2)) + 7.95  # in dB
    if attenuation > 50:
        return 0.1102 * (attenuation - 8.7)
    if attenuation > 21:
        return 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    return 0.0


def design_lowpass_filter(
    numtaps: int, cutoff: float, width: float, fs: float, *, radial: bool = False
) -> Tensor | None:
    """Low-pass FIR filter with unit gain at zero frequency.

    Args:
        numtaps: length; 1 means the identity. Radial designs need an even length (0/0 at the centre otherwise).
        cutoff: cutoff frequency, in the unit of ``fs``.
        width: width of the transition band, in the unit of ``fs``.
        fs: sampling rate.
        radial: a non-separable filter with a circular response (configuration R).

    Returns:
        float32 ``[numtaps]``, or ``[numtaps, numtaps]`` if radial; None for the identity.
    """
    if numtaps < 1:
        raise ValueError(f"a filter needs at least one tap, got numtaps={numtaps}")
    if numtaps == 1:
        return None
    if radial and numtaps % 2:
        raise ValueError(f"a radial filter needs an even number of taps, got numtaps={numtaps}")
    window = np.kaiser(numtaps, kaiser_beta(numtaps, width, fs))
    position = (np.arange(numtaps) - (numtaps - 1) / 2) / fs
    if not radial:
        taps = np.sinc(2 * cutoff * position) * window
        return torch.as_tensor(taps / taps.sum(), dtype=torch.float32)
    radius = torch.as_tensor(np.hypot(*np.meshgrid(position, position)), device="cpu")
    jinc = torch.special.bessel_j1(2 * math.pi * cutoff * radius) / (math.pi * radius)
    plane = jinc.numpy() * np.outer(window, window)
    return torch.as_tensor(plane / plane.sum(), dtype=torch.float32)


def setup_filter(
    taps: Tensor | Sequence[float] | Sequence[Sequence[float]] | float | None,
    *,
    normalize: bool = True,
    flip_filter: bool = False,
    gain: float = 1.0,
    separable: bool | None = None,
) -> Tensor:
    """Prepares taps for ``upfirdn2d``: float32, unit sum, ``gain`` applied to the overall 2-D magnitude.

    One-dimensional taps stay separable from eight taps up, as in published StyleGAN2 configurations; shorter ones
    become their outer product.
    """
    f = torch.as_tensor(1.0 if taps is None else taps, dtype=torch.float32)
    if f.ndim == 0:
        f = f[None]
    if f.ndim > 2 or f.numel() == 0:
        raise ValueError(f"filter taps must be a vector or a matrix, got shape {tuple(f.shape)}")
    if separable is None:
        separable = f.ndim == 1 and f.numel() >= 8
    if f.ndim == 1 and not separable:
        f = f.outer(f)
    if normalize:
        f = f / f.sum()
    if flip_filter:
        f = f.flip(list(range(f.ndim)))
    return f * gain ** (f.ndim / 2)

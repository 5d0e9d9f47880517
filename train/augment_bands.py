"""Augmentation of frequency bands, and corruption by noise and a cut-out box.

Source: Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", appendix B.4 (four octaves of
a filter bank built of the symlet sym2, amplified at random, normalised to the power spectrum 1/f of natural pictures)
and B.5.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from train.streams import Source

if TYPE_CHECKING:
    from train.augment import AugmentOptions

SYM2 = (-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025)
_EXPECTED_POWER = torch.tensor([10.0, 1.0, 1.0, 1.0]) / 13  # of the bands of natural pictures, coarsest first
BANDS = len(_EXPECTED_POWER)


@lru_cache(maxsize=1)
def filter_bank() -> Tensor:
    """[4, 43]: band-pass filters of a two-channel bank applied three times, coarsest first; they add up to identity."""
    low = np.array(SYM2)
    high = low * (-1.0) ** np.arange(len(low))
    low_pass = np.convolve(low, low[::-1]) / 2
    high_pass = np.convolve(high, high[::-1]) / 2
    bank = np.eye(BANDS, 1)  # the coarsest band takes everything
    for band in range(1, BANDS):
        finer = np.zeros((BANDS, bank.shape[1] * 2 - 1))
        finer[:, ::2] = bank
        bank = np.stack([np.convolve(row, low_pass) for row in finer])
        centre = (bank.shape[1] - len(high_pass)) // 2
        bank[band, centre : centre + len(high_pass)] += high_pass
    return torch.from_numpy(bank).float()


def filter_bands(images: Tensor, o: AugmentOptions, *, strength: float, source: Source) -> Tensor:
    """[N, C, H, W] with each octave amplified by its own factor; the expected power stays."""
    n, channels, height, width = images.shape
    gains = torch.ones(n, BANDS)
    for band, multiplier in enumerate(o.imgfilter_bands):
        factor = torch.exp2(source.normal(f"imgfilter{band}", n)[:, 0] * o.imgfilter_std)
        happens = source.uniform(f"imgfilter{band}?", n)[:, 0] < strength * o.imgfilter * multiplier
        factors = torch.ones(n, BANDS)
        factors[:, band] = torch.where(happens, factor, 1.0)
        gains = gains * factors / (_EXPECTED_POWER * factors.square()).sum(1, keepdim=True).sqrt()
    taps = (gains @ filter_bank()).to(images.device, images.dtype)  # [N, 43]
    taps = taps[:, None].repeat(1, channels, 1).flatten(0, 1)[:, None]  # [N C, 1, 43]
    half = taps.shape[2] // 2
    x = images.reshape(1, n * channels, height, width)
    x = _mirrored(x, half)
    x = functional.conv2d(x, taps[:, :, None], groups=n * channels)
    x = functional.conv2d(x, taps[:, :, :, None], groups=n * channels)
    return x.view(n, channels, height, width)


def corrupt(images: Tensor, o: AugmentOptions, *, strength: float, source: Source) -> Tensor:
    """White noise, then a box set to zero, which is grey."""
    n, _, height, width = images.shape
    if o.noise > 0:
        happens = source.uniform("noise?", n)[:, 0] < strength * o.noise
        sigma = torch.where(happens, source.normal("noise", n)[:, 0].abs() * o.noise_std, 0.0)
        field = source.field("noise", n, images.shape[1:])
        images = images + (field * sigma.view(-1, 1, 1, 1)).to(images.device, images.dtype)
    if o.cutout > 0:
        happens = source.uniform("cutout?", n)[:, 0] < strength * o.cutout
        size = torch.where(happens, o.cutout_size, 0.0)[:, None]
        centre = source.uniform("cutout", n, 2)
        x = (torch.arange(width) + 0.5) / width
        y = (torch.arange(height) + 0.5) / height
        outside_x = (x[None] - centre[:, :1]).abs() >= size / 2  # [N, W]
        outside_y = (y[None] - centre[:, 1:]).abs() >= size / 2
        kept = outside_x[:, None, :] | outside_y[:, :, None]
        images = images * kept[:, None].to(images.device, images.dtype)
    return images


def _mirrored(x: Tensor, margin: int) -> Tensor:
    """Reflection on all sides, by whole reflections where the margin is longer than the picture."""
    for axis in (2, 3):
        left = margin if x.shape[axis] > 1 else 0
        while left > 0:
            step = min(left, x.shape[axis] - 1)
            x = functional.pad(x, [0, 0, step, step] if axis == 2 else [step, step, 0, 0], mode="reflect")
            left -= step
    return x

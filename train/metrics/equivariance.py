"""Equivariance of a generator: does a picture of moved content equal the moved picture?

Source: Karras et al. 2021, "Alias-Free Generative Adversarial Networks", section 3.1, equation 9, and appendix E: EQ-T
with integer and with fractional translation, EQ-R; peak signal-to-noise ratios in dB over the pixels where both are
valid, for the range -1 to 1.

Pictures that fill little of that range, as an untrained network's, have small errors for that alone.
``Equivariance.normalised`` takes that out: it is the figure of the same pictures scaled to a standard deviation of 0.5,
about that of photos.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from editkit.errors import UsageError
from editkit.labels import Classes, labels_for_seeds
from editkit.transform import Transform
from train.metrics.equivariance_operators import (
    pseudo_rotate_fractional,
    rotate_fractional,
    translate_fractional,
    translate_integer,
)

if TYPE_CHECKING:
    from editkit.generator import Generator
    from editkit.latent import Latent

KINDS = ("eqt_integer", "eqt_fractional", "eqr")
REFERENCE_DEVIATION = 0.5
Progress = Callable[[int, int], object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Error:
    """Squared differences summed over valid pixels, and how many those are. They add up over draws."""

    squares: float
    pixels: float

    @property
    def psnr(self) -> float:
        """In dB, for a range of 2; infinite where nothing differs."""
        if self.pixels == 0:
            raise UsageError("no pixel is valid in both pictures: the translation is too long for their size")
        return math.inf if self.squares == 0 else 10 * math.log10(4 * self.pixels / self.squares)

    def __add__(self, other: Error) -> Error:
        return Error(squares=self.squares + other.squares, pixels=self.pixels + other.pixels)


@dataclass(frozen=True, kw_only=True, slots=True)
class Equivariance:
    """Figures in dB by kind, of ``samples`` pictures of standard ``deviation`` (within a picture)."""

    psnr: dict[str, float]
    deviation: float
    samples: int

    @property
    def normalised(self) -> dict[str, float]:
        """The same at a standard deviation of the pictures of 0.5."""
        change = 20 * math.log10(self.deviation / REFERENCE_DEVIATION)  # errors grow with the pictures
        return {kind: value + change for kind, value in self.psnr.items()}


def equivariance(
    G: Generator,
    *,
    samples: int = 1000,
    kinds: Sequence[str] = KINDS,
    batch: int = 4,
    seed: int = 0,
    translate_max: float = 0.125,
    rotate_max: float = 1.0,
    classes: Classes | None = None,
    on_progress: Progress | None = None,
) -> Equivariance:
    """Measures ``G``; the paper takes 50,000 samples.

    Args:
        kinds: which; batch: pictures that share one draw of each transformation.
        seed: of torch's generator, which draws for every batch z, then two numbers of the integer translation, two of
            the fractional one, and the angle, whatever ``kinds`` are asked for.
        translate_max: in picture widths; rotate_max: in half turns.
        classes: of a conditional generator, see ``editkit.labels``; drawn for each sample by default.

    Raises:
        UsageError: a kind that does not exist, no samples, or a generator that cannot move its content (StyleGAN2).
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise UsageError(f"equivariance is measured as {', '.join(KINDS)}; got {', '.join(unknown) or 'none'}")
    if samples < 1 or batch < 1:
        raise UsageError(f"equivariance needs samples and a batch from 1, got {samples} and {batch}")
    if G.spec.kind == "stylegan2":
        raise UsageError(f"{G.spec.name!r} is a StyleGAN2, whose content cannot be moved: there is no equivariance")
    stream = torch.Generator().manual_seed(seed)
    totals = {kind: Error(squares=0.0, pixels=0.0) for kind in kinds}
    variances, done = [], 0
    while done < samples:
        count = min(batch, samples - done)
        z = torch.randn([count, G.spec.z_dim], generator=stream)
        draws = [torch.rand(2, generator=stream) * 2 - 1, torch.rand(2, generator=stream) * 2 - 1]
        angle = float(torch.rand([], generator=stream) * 2 - 1) * rotate_max * math.pi
        labels = labels_for_seeds(G.spec, range(done, done + count), classes)
        with torch.no_grad():
            latent = G.map(z.to(G.device), label=labels)
            still = _synthesis(G)(latent, transform=Transform.identity()).float()
            variances.append(still.double().var((2, 3)).mean().item() * count)
            for kind in kinds:
                shift = [float(v) * translate_max for v in draws[kind == "eqt_fractional"]]
                totals[kind] += measure(G, latent, still, kind, shift=(shift[0], shift[1]), angle=angle)
        done += count
        if on_progress is not None:
            on_progress(done, samples)
    deviation = math.sqrt(sum(variances) / samples)
    if deviation == 0:
        raise UsageError(f"{G.spec.name!r} makes flat pictures: everything is equivariant")
    return Equivariance(psnr={kind: error.psnr for kind, error in totals.items()}, deviation=deviation, samples=samples)


def measure(
    G: Generator, latent: Latent, still: Tensor, kind: str, *, shift: tuple[float, float], angle: float
) -> Error:
    """One draw of one kind: ``still`` [N, C, R, R] moved, against ``latent`` rendered in its new place.

    shift: (x, y) in picture widths, rounded to whole pixels for "eqt_integer"; angle: radians, counter-clockwise.
    """
    size, synthesize = still.shape[3], _synthesis(G)
    if kind == "eqt_integer":
        shift = (round(shift[0] * size) / size, round(shift[1] * size) / size)
        reference, mask = translate_integer(still, *shift)
        moved = synthesize(latent, transform=Transform.translate(*shift)).float()
    elif kind == "eqt_fractional":
        reference, mask = translate_fractional(still, *shift)
        moved = synthesize(latent, transform=Transform.translate(*shift)).float()
    else:
        reference, mask = rotate_fractional(still, angle)
        turned = synthesize(latent, transform=Transform.rotate(math.degrees(angle))).float()
        moved, also = pseudo_rotate_fractional(turned, angle)
        mask = mask * also
    squares = ((reference - moved).double().square() * mask).sum()
    return Error(squares=float(squares), pixels=float(mask.double().sum()))


def _synthesis(G: Generator) -> Callable[..., Tensor]:
    """The network's own channels, where they are not RGB: putting alpha on white does not commute with a filter."""
    return getattr(G, "synthesize_channels", G.synthesize)

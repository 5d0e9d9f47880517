"""Texture sticking: detail that stays at its pixels while the content moves.

Source: Karras et al. 2021, "Alias-Free Generative Adversarial Networks": section 1 and figure 1 (left) for the average
of a neighbourhood, section 3 and appendix E.3 for the comparison of a translated picture with its translation.
Departures: both are reduced to shares of energy, so that generators of different contrast compare; StyleGAN2, which has
no transform, is moved by its learned constant; and the spectrum of the average is compared, not its looks alone.

Convention: pictures are [N, 3, R, R] in [-1, 1]; shifts are (x, y) of the content, in image widths where named so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from editkit.errors import UsageError
from editkit.generator import from_tensors
from editkit.labels import Classes, labels_for_seeds
from editkit.latent import Latent
from editkit.rendering import render
from editkit.sampling import sample_w
from editkit.seeds import normal, z_from_seeds
from editkit.transform import Transform

if TYPE_CHECKING:
    from editkit.network_generator import NetworkGenerator

Progress = Callable[[int, int], object]

HALF_WIDTH = 8
"""Taps of the resampling filter on either side, in pixels; what they reach of the border is cropped."""
DETAIL, OUTLINE = (1 / 8, 1 / 2), (0.0, 1 / 16)
"""Bands of spatial frequency in cycles a pixel: waves of 2 to 8 pixels, and of more than 16."""
_NEIGHBOUR_SEED = 9_000_017
_ENERGY_FLOOR = 1e-12


@dataclass(frozen=True, kw_only=True, slots=True)
class Sticking:
    """How well pictures follow a translation. Energies are means over samples, steps, channels and pixels.

    Attributes:
        psnr: of frames moved back against the frame that did not move, in dB of the range 2; high: all moves together.
        residual: the same energy as a share of the variance within pictures; 0 all moves, 2 nothing in common.
        stuck: that energy as a share of its sum with what moving back was to undo: 0 where all detail moves with the
            content, 1 where all stays at its pixels.
        samples, steps: how many; pixels: length of the path.
    """

    psnr: float
    residual: float
    stuck: float
    samples: int
    steps: int
    pixels: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Neighbourhood:
    """The average of pictures near a latent, as in figure 1 of the paper.

    Attributes:
        central, average: [3, R, R].
        detail_kept, outline_kept: share of the energy of single pictures that the average keeps, in fine detail and in
            the outline. Blur, detail well below outline, is as it should be: detail that sticks is kept.
        count, radius: of the neighbours, see ``neighbourhood``.
    """

    central: Tensor
    average: Tensor
    detail_kept: float
    outline_kept: float
    count: int
    radius: float


def translation_sticking(
    G: NetworkGenerator,
    *,
    samples: int = 16,
    steps: int = 8,
    length: float = 0.05,
    seed: int = 0,
    classes: Classes | None = None,
    batch: int = 8,
    on_progress: Progress | None = None,
) -> Sticking:
    """Move the content along a short line in sub-pixel steps, move the frames back, and measure what did not follow.

    Args:
        samples: pictures, of the seeds ``seed`` and up.
        steps: positions on the line, the start not counted.
        length: of the line, in image widths; it runs to the right and half as much up.
        classes: of a conditional generator, see ``editkit.labels``.
        on_progress: called with (done, total) steps.

    Raises:
        UsageError: numbers out of range, or a path that leaves nothing to compare.
    """
    if samples < 1 or steps < 1 or not 0 < length <= 0.25:
        raise UsageError(f"sticking needs samples and steps from 1 and a length of 0 to 0.25, got {length:g}")
    side = G.spec.resolution
    crop = HALF_WIDTH + math.ceil(length * side)
    if side - 2 * crop < 4:
        raise UsageError(f"pictures of {side} px leave nothing to compare; take a shorter length than {length:g}")
    latents = sample_w(G, range(seed, seed + samples), classes=classes)
    still = render(G, latents, batch=batch).double()
    inner = (..., slice(crop, side - crop), slice(crop, side - crop))
    missed = moved = 0.0
    for step in range(1, steps + 1):
        x, y = length * step / steps, -length / 2 * step / steps
        frames = translated(G, latents, (x, y), batch=batch).double()
        back = shift_pixels(frames, (-x * side, -y * side))
        missed += float((back[inner] - still[inner]).square().mean()) / steps
        moved += float((frames[inner] - still[inner]).square().mean()) / steps
        if on_progress is not None:
            on_progress(step, steps)
    variance = float(still[inner].var((2, 3)).mean())
    return Sticking(
        psnr=10 * math.log10(4 / missed) if missed > 0 else math.inf,
        residual=missed / max(variance, _ENERGY_FLOOR),
        # A flat picture moves nowhere: what does not change cannot be told from what follows.
        stuck=1.0 if moved <= _ENERGY_FLOOR else missed / (missed + moved),
        samples=samples,
        steps=steps,
        pixels=length * side * math.hypot(1, 0.5),
    )


def translated(G: NetworkGenerator, latents: Latent, shift: tuple[float, float], *, batch: int = 8) -> Tensor:
    """Pictures whose content a generator was asked to move by ``shift``, in image widths.

    StyleGAN3 takes a transform. StyleGAN2 draws from a learned constant on a 4 x 4 grid: that is shifted, as a periodic
    band-limited signal, which is what its first layer would see of a scene that moved.
    """
    if G.spec.kind != "stylegan2":
        return render(G, latents, transform=Transform.translate(*shift), batch=batch)
    tensors = G.state_dict()
    name = "synthesis.b4.const"
    size = tensors[name].shape[-1]
    tensors[name] = shift_periodic(tensors[name], (shift[0] * size, shift[1] * size))
    header = {"kind": G.spec.kind, "arguments": G.arguments, "id": G.spec.id, "name": G.spec.name}
    return render(from_tensors(tensors, header, device=G.device), latents, batch=batch)


def shift_pixels(images: Tensor, shift: tuple[float, float]) -> Tensor:
    """Content of images [N, C, H, W] moved by (x, y) pixels, by a Kaiser-windowed sinc.

    Right where it is further than ``HALF_WIDTH`` and the shift from the edge.
    """
    x, y = shift
    return _shift_axis(_shift_axis(images, x, axis=3), y, axis=2)


def shift_periodic(image: Tensor, shift: tuple[float, float]) -> Tensor:
    """Content of [..., H, W] moved by (x, y) pixels as a periodic band-limited signal."""
    height, width = image.shape[-2:]
    spectrum = torch.fft.fft2(image.double())
    turn_y = _phase(height, shift[1], image.device)[:, None]
    turn_x = _phase(width, shift[0], image.device)[None]
    return torch.fft.ifft2(spectrum * turn_y * turn_x).real.to(image.dtype)


def neighbourhood(
    G: NetworkGenerator,
    *,
    seed: int = 0,
    count: int = 64,
    radius: float = 0.3,
    classes: Classes | None = None,
    batch: int = 8,
) -> Neighbourhood:
    """Average the pictures of ``count`` latents near that of ``seed``.

    A neighbour of z is sqrt(1 - radius^2) z + radius n with n standard normal, which is as likely as z itself.

    Raises UsageError for a count below 2 or a radius outside 0 to 1.
    """
    if count < 2 or not 0 < radius < 1:
        raise UsageError(f"a neighbourhood needs 2 latents or more and a radius of 0 to 1, got {count} and {radius:g}")
    z = z_from_seeds([seed], G.spec.z_dim)
    near = math.sqrt(1 - radius**2) * z + radius * normal(_NEIGHBOUR_SEED, (count, G.spec.z_dim))
    label = labels_for_seeds(G.spec, [seed], classes)
    with torch.no_grad():
        w = G.map(
            torch.cat([z, near]).to(G.device), label=None if label is None else label.expand(count + 1, -1).to(G.device)
        )
    pictures = render(G, w, batch=batch).double()
    central, near = pictures[0], pictures[1:]
    return Neighbourhood(
        central=central.float(),
        average=near.mean(0).float(),
        detail_kept=kept_in_average(near, DETAIL),
        outline_kept=kept_in_average(near, OUTLINE),
        count=count,
        radius=radius,
    )


def kept_in_average(images: Tensor, band: Sequence[float]) -> float:
    """Share of the energy of images [N, C, H, W] in a band that their average keeps: 0 to 1.

    With F the spectra, |mean F|^2 over mean |F|^2, summed over the band above its lower end (in cycles a pixel); of
    N images without anything in common it would be 1 / N, which is taken off: (N share - 1) / (N - 1).
    """
    count, _, height, width = images.shape
    window = torch.outer(*(torch.hann_window(side, periodic=False, dtype=torch.float64) for side in (height, width)))
    windowed = (images.double() - images.double().mean((2, 3), keepdim=True)) * window
    spectra = torch.fft.fft2(windowed)
    frequency = torch.hypot(
        torch.fft.fftfreq(height, dtype=torch.float64)[:, None], torch.fft.fftfreq(width, dtype=torch.float64)[None]
    )
    inside = (frequency > band[0]) & (frequency <= band[1])
    single = spectra.abs().square().mean(0)[:, inside].sum()
    together = spectra.mean(0).abs().square()[:, inside].sum()
    if float(single) <= _ENERGY_FLOOR:
        raise UsageError("these pictures hold nothing in this band of frequencies; they are flat or too small")
    return max(0.0, (count * float(together / single) - 1) / (count - 1))


def _shift_axis(images: Tensor, shift: float, *, axis: int) -> Tensor:
    whole = round(shift)
    taps = torch.arange(-HALF_WIDTH, HALF_WIDTH + 1, dtype=images.dtype, device=images.device) + (shift - whole)
    reach = (taps / (HALF_WIDTH + 1)).square().clamp(max=1)
    kernel = torch.sinc(taps) * torch.i0(6.0 * (1 - reach).sqrt())
    kernel = kernel / kernel.sum()  # out[i] = sum over k of image[i + k] sinc(k + shift)
    margins = (HALF_WIDTH, HALF_WIDTH, 0, 0) if axis == 3 else (0, 0, HALF_WIDTH, HALF_WIDTH)
    padded = functional.pad(images.flatten(0, 1)[:, None], margins, "replicate")
    shaped = kernel.view(1, 1, 1, -1) if axis == 3 else kernel.view(1, 1, -1, 1)
    moved = functional.conv2d(padded, shaped).view(images.shape)
    return moved.roll(whole, axis)


def _phase(size: int, shift: float, device: torch.device) -> Tensor:
    frequency = torch.fft.fftfreq(size, dtype=torch.float64, device=device)  # cycles a pixel
    turn = torch.polar(torch.ones_like(frequency), -2 * math.pi * frequency * shift)
    if size % 2 == 0:  # Nyquist's component has no phase: its real part is what a shift leaves of it
        turn[size // 2] = math.cos(math.pi * shift)
    return turn

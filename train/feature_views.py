"""What the feature network sees in training: random views of faces, and distortions of a known strength.

Convention: images are float32 [N, 3, 64, 64] in [-1, 1]; points are (x, y) in image widths, origin at the top-left
corner; displacements and blur radii are in pixels of the 64-pixel image. Everything random comes from the generator
that is passed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from train.faces import MIRRORED_POINTS

SIZE = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Views:
    """A batch of random views.

    Attributes:
        images: [N, 3, 64, 64] in [-1, 1].
        landmarks: [N, 5, 2] in image widths.
        yaw: [N] in eye distances, sign changed where the view is mirrored.
        parameters: [N, 9] what was done, each about zero mean and unit scale: tilt, log scale, shift x, shift y,
            brightness, log contrast, saturation, blur, noise.
    """

    images: Tensor
    landmarks: Tensor
    yaw: Tensor
    parameters: Tensor


def random_views(pixels: Tensor, landmarks: Tensor, yaw: Tensor, generator: torch.Generator) -> Views:
    """Mirror, tilt (+-8 degrees), scale (0.88-1.14), shift (+-6 %), recolour, blur and add noise, at random.

    pixels: uint8 [N, 3, 128, 128]; landmarks: [N, 5, 2] in image widths; yaw: [N].
    """
    count = len(pixels)
    uniform = _uniform(count, 8, generator)
    mirrored = torch.rand(count, generator=generator) < 0.5
    tilt, log_scale = uniform[0] * math.radians(8.0), uniform[1] * 0.13
    shift = uniform[2:4].T * 0.06  # image widths
    # The matrix takes view coordinates (centre at the origin, half-widths) to those of the source picture.
    cos, sin = torch.cos(tilt) / log_scale.exp(), torch.sin(tilt) / log_scale.exp()
    sign = torch.where(mirrored, -1.0, 1.0)
    matrix = torch.stack([torch.stack([cos * sign, sin * sign], 1), torch.stack([-sin, cos], 1)], 1)  # [N, 2, 2]
    offset = -torch.einsum("nij,nj->ni", matrix, 2.0 * shift)
    source = pixels.float().div_(127.5).sub_(1.0)
    grid = F.affine_grid(torch.cat([matrix, offset[:, :, None]], 2), [count, 3, 128, 128], align_corners=False)
    images = F.grid_sample(source, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    images = F.avg_pool2d(images, 2)
    inverse = torch.linalg.inv(matrix)
    points = torch.einsum("nij,npj->npi", inverse, landmarks * 2.0 - 1.0 - offset[:, None]) / 2.0 + 0.5
    points = torch.where(mirrored[:, None, None], points[:, list(MIRRORED_POINTS)], points)
    applied = (torch.rand(3, count, generator=generator) < torch.tensor([[0.6], [0.35], [0.35]])).float()
    brightness, log_contrast, saturation = (uniform[4:7] * torch.tensor([[0.25], [0.3], [0.5]])) * applied[0]
    images = recolour(images, brightness, log_contrast.exp(), 1.0 + saturation)
    blur = (uniform[7] + 1.0) * 0.8 * applied[1]
    images = gaussian_blur(images, blur)
    noise = torch.rand(count, generator=generator) * 0.2 * applied[2]
    images = images + noise[:, None, None, None] * torch.randn(images.shape, generator=generator)
    parameters = [uniform[0], uniform[1], uniform[2], uniform[3], brightness * 4, log_contrast * 4, saturation * 3]
    return Views(
        images=images.clamp_(-1.0, 1.0),
        landmarks=points,
        yaw=yaw * sign,
        parameters=torch.stack([*parameters, blur * 2 - 0.6, noise * 12 - 0.4], 1),
    )


def recolour(images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """Contrast about mid-grey, then brightness added; saturation about the pixel's luma. Each factor is [N]."""
    luma = (images * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    images = luma + (images - luma) * saturation[:, None, None, None]
    return images * contrast[:, None, None, None] + brightness[:, None, None, None]


def gaussian_blur(images: Tensor, sigma: Tensor) -> Tensor:
    """A Gaussian of standard deviation ``sigma`` [N] pixels for each image; zero leaves an image as it is."""
    count, channels, height, width = images.shape
    radius = max(1, math.ceil(2.5 * float(sigma.max())))
    steps = torch.arange(-radius, radius + 1, dtype=images.dtype)
    taps = torch.exp(-0.5 * (steps / sigma.clamp(min=1e-3)[:, None]) ** 2)
    taps = (taps / taps.sum(1, keepdim=True)).repeat_interleave(channels, 0)  # [N * C, taps]
    flat = images.reshape(1, count * channels, height, width)
    flat = F.pad(flat, (radius, radius, radius, radius), mode="reflect")
    flat = F.conv2d(flat, taps[:, None, :, None], groups=count * channels)
    flat = F.conv2d(flat, taps[:, None, None, :], groups=count * channels)
    return flat.reshape(images.shape)


# Distortions of graded strength. Each takes images [n, 3, 64, 64] and a visibility [n] and returns images. Visibility
# 1 is "plainly degraded to the eye"; the scales are our judgement at 64 px (there is no human study behind them): a
# shift of 4 px, a warp of 2.5 px, a blur of 1.4 px, noise of 0.3, a brightness change of 0.8, coefficients rounded to
# 0.8, or a quarter of the picture replaced are about equally bad.


def shifted(images: Tensor, visibility: Tensor, generator: torch.Generator) -> Tensor:
    """Moved in a random direction by ``4 * visibility`` pixels."""
    angle = torch.rand(len(images), generator=generator) * 2 * math.pi
    move = torch.stack([angle.cos(), angle.sin()], 1) * (4.0 * visibility)[:, None]
    return _displaced(images, move[:, :, None, None].expand(-1, 2, SIZE, SIZE))


def warped(images: Tensor, visibility: Tensor, generator: torch.Generator) -> Tensor:
    """Smoothly warped by a random field of ``2.5 * visibility`` pixels (root mean square)."""
    field = torch.randn(len(images), 2, 5, 5, generator=generator)
    field = F.interpolate(field, size=(SIZE, SIZE), mode="bicubic", align_corners=True)
    size = field.square().sum(1).mean((1, 2)).sqrt()
    return _displaced(images, field * (2.5 * visibility / size)[:, None, None, None])


def blurred(images: Tensor, visibility: Tensor, generator: torch.Generator) -> Tensor:
    """Blurred by a Gaussian of ``0.25 + 1.15 * visibility`` pixels; below 0.25 a Gaussian does nothing to pixels."""
    return gaussian_blur(images, 0.25 + 1.15 * visibility)


def noisy(images: Tensor, visibility: Tensor, generator: torch.Generator) -> Tensor:
    """White noise of standard deviation ``0.3 * visibility`` added."""
    return images + (0.3 * visibility)[:, None, None, None] * torch.randn(images.shape, generator=generator)


def recoloured(images: Tensor, visibility: Tensor, generator: torch.Generator) -> Tensor:
    """Brightness and the balance of the channels changed by ``0.8 * visibility`` in a random direction."""
    direction = torch.randn(len(images), 3, generator=generator) + 2.0 * torch.randn(
        len(images), 1, generator=generator
    )
    direction = direction / direction.square().mean(1, keepdim=True).sqrt()
    return images + (direction * (0.8 * visibility)[:, None])[:, :, None, None]


def quantised(images: Tensor, visibility: Tensor, generator: torch.Generator) -> Tensor:
    """Cosine coefficients of 8x8 blocks rounded to multiples of ``0.8 * visibility``, as a coarse JPEG would."""
    k, n = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    basis = torch.cos(math.pi * (n + 0.5) * k / 8.0) * torch.where(k == 0, math.sqrt(1 / 8), 0.5)
    blocks = images.reshape(-1, 3, 8, 8, 8, 8).permute(0, 1, 2, 4, 3, 5)  # [n, 3, by, bx, 8, 8]
    step = (0.8 * visibility).clamp(min=1e-3).view(-1, 1, 1, 1, 1, 1)
    coefficients = torch.round(basis @ blocks @ basis.T / step) * step
    blocks = basis.T @ coefficients @ basis
    return blocks.permute(0, 1, 2, 4, 3, 5).reshape(images.shape)


def patched(images: Tensor, visibility: Tensor, generator: torch.Generator) -> Tensor:
    """A square of half the side times ``visibility`` replaced by the same place of the batch's next image."""
    side = (0.5 * visibility).clamp(max=1.0)[:, None]
    corner = torch.rand(len(images), 2, generator=generator) * (1.0 - side)
    place = (torch.arange(SIZE) + 0.5) / SIZE
    inside = (place >= corner[..., None]) & (place < (corner + side)[..., None])  # [n, 2, 64]
    mask = inside[:, 1, :, None] & inside[:, 0, None, :]
    return torch.where(mask[:, None], images.roll(1, 0), images)


DISTORTIONS: tuple[Callable[[Tensor, Tensor, torch.Generator], Tensor], ...] = (
    shifted,
    warped,
    blurred,
    noisy,
    recoloured,
    quantised,
    patched,
)


def distorted(images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Each image under one random distortion: (images [N, 3, 64, 64], visibility [N], from 0.1 to 1.6)."""
    count = len(images)
    visibility = torch.exp(torch.rand(count, generator=generator) * math.log(16.0) + math.log(0.1))
    kinds = torch.randint(len(DISTORTIONS), (count,), generator=generator)
    result = images.clone()
    for kind, distort in enumerate(DISTORTIONS):
        chosen = kinds == kind
        if int(chosen.sum()) > (1 if distort is patched else 0):
            result[chosen] = distort(images[chosen], visibility[chosen], generator)
        elif bool(chosen.any()):  # a patch needs a second image to come from
            result[chosen] = noisy(images[chosen], visibility[chosen], generator)
    return result.clamp_(-1.0, 1.0), visibility


def _displaced(images: Tensor, field: Tensor) -> Tensor:
    """Content moved by ``field`` [n, 2, 64, 64] (x, y) pixels, cubic interpolation, edges repeated."""
    identity = F.affine_grid(torch.eye(2, 3).expand(len(images), 2, 3), list(images.shape), align_corners=False)
    grid = identity - field.permute(0, 2, 3, 1) * (2.0 / SIZE)
    return F.grid_sample(images, grid, mode="bicubic", padding_mode="border", align_corners=False)


def _uniform(count: int, rows: int, generator: torch.Generator) -> Tensor:
    return torch.rand(rows, count, generator=generator) * 2.0 - 1.0

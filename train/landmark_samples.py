"""Crops that train and judge the landmark network: faces under random transforms, and things that are no faces.

Convention:
    sources are uint8 [M, 128, 128, 3]; samples float32 [N, 3, 64, 64] in [-1, 1]; points are fractions of the crop.
    A pose is content-forward: a point p of the source (fractions) lands on ``0.5 + A @ (p - 0.5) + t``.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from train.faces import MIRRORED_POINTS, Faces

SOURCE = 128  # side of the stored pictures
SAMPLE = 64  # side of the network's input
MAX_ROTATION, SCALES, MAX_SHIFT = 30.0, (0.7, 1.4), 0.15
# Reflected, stretched edges, plain colour, another picture: the border of the crop must not give the face away.
FILLS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Pose:
    """Similarities, one a sample."""

    matrix: Tensor  # [N, 2, 2]
    shift: Tensor  # [N, 2], fractions of the crop

    def apply(self, points: Tensor) -> Tensor:
        """points [N, P, 2] of the sources -> of the samples."""
        moved = 0.5 + (points - 0.5) @ self.matrix.mT + self.shift[:, None]
        mirrored = torch.linalg.det(self.matrix) < 0
        return torch.where(mirrored[:, None, None], moved[:, list(MIRRORED_POINTS)], moved)

    def grid(self) -> Tensor:
        """Where each pixel of a SOURCE-sized sample looks in its source, for grid_sample: [N, 128, 128, 2]."""
        inverse = torch.linalg.inv(self.matrix)
        offset = -2 * (inverse @ self.shift[..., None])
        return functional.affine_grid(torch.cat((inverse, offset), 2), [len(inverse), 1, SOURCE, SOURCE], False)


def make_pose(*, degrees: Tensor, scale: Tensor, shift: Tensor, mirror: Tensor) -> Pose:
    """Counter-clockwise degrees [N], scale [N], shift [N, 2] and mirror bool [N] as one pose."""
    angle = torch.deg2rad(degrees)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    sign = torch.where(mirror, -1.0, 1.0)
    rows = torch.stack((torch.stack((cos * sign, sin), 1), torch.stack((-sin * sign, cos), 1)), 1)
    return Pose(matrix=rows, shift=shift)


def _uniform(rng: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=rng)


def _chance(rng: torch.Generator, probability: float, count: int) -> Tensor:
    return torch.rand(count, generator=rng) < probability


def full_pose(count: int, rng: torch.Generator) -> Pose:
    """The whole range: rotation to +-30 degrees, scale 0.7-1.4 (log-uniform), shift +-15 %, half of them mirrored."""
    return make_pose(
        degrees=_uniform(rng, -MAX_ROTATION, MAX_ROTATION, count),
        scale=_uniform(rng, math.log(SCALES[0]), math.log(SCALES[1]), count).exp(),
        shift=_uniform(rng, -MAX_SHIFT, MAX_SHIFT, count, 2),
        mirror=_chance(rng, 0.5, count),
    )


def near_pose(count: int, rng: torch.Generator) -> Pose:
    """What the second look sees: a crop that the first one has already put nearly right."""
    return make_pose(
        degrees=4 * torch.randn(count, generator=rng),
        scale=(0.06 * torch.randn(count, generator=rng)).exp(),
        shift=0.02 * torch.randn(count, 2, generator=rng),
        mirror=_chance(rng, 0.5, count),
    )


def wrong_pose(count: int, rng: torch.Generator) -> Pose:
    """Faces framed so badly that they do not count: far too near, too far, off to the side, or upside down."""
    kind = torch.randint(4, (count,), generator=rng)
    degrees = _uniform(rng, -MAX_ROTATION, MAX_ROTATION, count)
    scale = _uniform(rng, math.log(0.7), math.log(1.4), count).exp()
    shift = _uniform(rng, -MAX_SHIFT, MAX_SHIFT, count, 2)
    scale = torch.where(kind == 0, _uniform(rng, 2.4, 5.0, count), scale)
    shift = torch.where((kind == 0)[:, None], _uniform(rng, -1.0, 1.0, count, 2), shift)
    scale = torch.where(kind == 1, _uniform(rng, 0.15, 0.4, count), scale)
    away = torch.polar(_uniform(rng, 0.45, 0.9, count), _uniform(rng, 0.0, 2 * math.pi, count))
    shift = torch.where((kind == 2)[:, None], torch.view_as_real(away), shift)
    degrees = torch.where(kind == 3, _uniform(rng, 110.0, 250.0, count), degrees)
    return make_pose(degrees=degrees, scale=scale, shift=shift, mirror=_chance(rng, 0.5, count))


def to_float(pictures: np.ndarray) -> Tensor:
    """uint8 [N, H, W, 3] -> float32 [N, 3, H, W] in [0, 1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div_(255)


def place(sources: Tensor, pose: Pose, rng: torch.Generator, *, fillers: Tensor, size: int = SAMPLE) -> Tensor:
    """Sources moved by their poses, the outside filled.

    sources: [N, 3, 128, 128] in [0, 1]. fillers: [N, 3, size, size] in [0, 1], what may lie outside. size: 128, or 64,
    which is sampled at 128 and averaged. Returns [N, 3, size, size].
    """
    grid = pose.grid()
    fill = torch.randint(FILLS, (len(sources),), generator=rng)
    moved = torch.empty_like(sources)
    for padding, rows in (("reflection", fill == 0), ("border", fill > 0)):
        if rows.any():
            moved[rows] = functional.grid_sample(
                sources[rows], grid[rows], mode="bilinear", padding_mode=padding, align_corners=False
            )
    edge = 1 - grid.abs().amax(3)[:, None]
    if size != SOURCE:
        moved, edge = functional.avg_pool2d(moved, SOURCE // size), functional.avg_pool2d(edge, SOURCE // size)
    feather = _uniform(rng, 0.01, 0.25, len(sources), 1, 1, 1)
    inside = (edge / feather + 1).clamp_(0, 1)
    plain = torch.rand(len(sources), 3, 1, 1, generator=rng)
    outside = torch.where((fill == 2)[:, None, None, None], plain, fillers)
    return torch.where((fill >= 2)[:, None, None, None], outside.lerp(moved, inside), moved)


def degrade(images: Tensor, rng: torch.Generator, *, artefacts: bool = True) -> Tensor:
    """Blur and colour, with ``artefacts`` noise and JPEG's blocks too: [N, 3, S, S], [0, 1] -> [-1, 1]."""
    count = len(images)
    images = _blur(images, _uniform(rng, 0.0, 1.0, count).square() * 1.6 * _chance(rng, 0.6, count))
    gains = (0.12 * torch.randn(count, 3, 1, 1, generator=rng)).exp()
    gamma = (0.3 * torch.randn(count, 1, 1, 1, generator=rng)).exp()
    contrast = _uniform(rng, 0.55, 1.35, count, 1, 1, 1)
    brightness = 0.1 * torch.randn(count, 1, 1, 1, generator=rng)
    saturation = _uniform(rng, 0.0, 1.5, count) * ~_chance(rng, 0.12, count)
    grey = images.mean(1, keepdim=True)
    images = grey.lerp(images, saturation[:, None, None, None])
    images = (images.clamp(1e-4, 1) ** gamma * gains - 0.5) * contrast + 0.5 + brightness
    if artefacts:
        blocky = _chance(rng, 0.3, count)
        if blocky.any():
            images[blocky] = _block_artefacts(images[blocky], _uniform(rng, 0.02, 0.15, int(blocky.sum())))
        noise = _uniform(rng, 0.0, 0.06, count) * _chance(rng, 0.5, count)
        images = images + noise[:, None, None, None] * torch.randn(images.shape, generator=rng)
    return images.clamp_(0, 1).mul_(2).sub_(1)


def occlude(images: Tensor, rng: torch.Generator, *, probability: float = 0.2) -> Tensor:
    """A plain rectangle over some of the pictures: hands, microphones, hair."""
    count, _, height, width = images.shape
    size, centre = _uniform(rng, 0.08, 0.35, count, 2), _uniform(rng, 0.0, 1.0, count, 2)
    x, y = (torch.arange(width) + 0.5) / width, (torch.arange(height) + 0.5) / height
    columns = (x - centre[:, :1]).abs() < size[:, :1] / 2
    rows = (y - centre[:, 1:]).abs() < size[:, 1:] / 2
    covered = rows[:, None, :, None] & columns[:, None, None, :] & _chance(rng, probability, count)[:, None, None, None]
    return torch.where(covered, torch.rand(count, 3, 1, 1, generator=rng), images)


def _blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur; sigma [N] is a standard deviation in 64ths of the picture, whatever its size."""
    ratio = images.shape[3] / SAMPLE
    sigma, radius = sigma * ratio, math.ceil(3 * ratio)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma.clamp_min(0.05)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(3, 0)[:, None]  # [3N, 1, taps]
    flat = functional.pad(images.flatten(0, 1)[None], (radius,) * 4, mode="replicate")
    flat = functional.conv2d(flat, kernel[:, :, None], groups=len(kernel))
    flat = functional.conv2d(flat, kernel[:, :, :, None], groups=len(kernel))
    return flat[0].view_as(images)


def _block_artefacts(images: Tensor, step: Tensor) -> Tensor:
    """Quantise the 8x8 cosine transform, as JPEG does; step [N] grows with frequency."""
    k = torch.arange(8, dtype=torch.float32)
    basis = torch.cos(math.pi / 8 * (k[None] + 0.5) * k[:, None]) * 0.5
    basis[0] /= math.sqrt(2)
    blocks = images.unflatten(2, (-1, 8)).unflatten(4, (-1, 8)).transpose(3, 4)  # [N, 3, H/8, W/8, 8, 8]
    quantum = step.view(-1, 1, 1, 1, 1, 1) * (1 + k[:, None] + k[None])
    coefficients = torch.round(basis @ blocks @ basis.T / quantum) * quantum
    return (basis.T @ coefficients @ basis).transpose(3, 4).flatten(4, 5).flatten(2, 3)


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationSamples:
    """The evaluation split under the stated transforms, and as it was."""

    pictures: Tensor  # [N, 3, 128, 128] in [-1, 1], transformed
    points: Tensor  # [N, 5, 2], labelled points in the transformed pictures, as fractions of them
    originals: Tensor  # [N, 3, 128, 128] in [-1, 1], as stored
    pose: Pose  # from the originals to the pictures


def evaluation_samples(faces: Faces, *, seed: int) -> EvaluationSamples:
    """The stated test: evaluation photos under the full transforms, blur and colour, from one fixed seed.

    The aligner then looks at each picture as it would at a photo.
    """
    rng = torch.Generator().manual_seed(seed)
    rows = np.flatnonzero(faces.is_evaluation)
    sources, fillers = to_float(faces.images[rows]), to_float(faces.images[np.roll(rows, 1)])
    pose = full_pose(len(rows), rng)
    fillers = _blur(fillers, torch.full((len(rows),), 1.5))
    pictures = place(sources, pose, rng, fillers=fillers, size=SOURCE)
    return EvaluationSamples(
        pictures=degrade(pictures, rng, artefacts=False),
        points=pose.apply(torch.from_numpy(faces.landmarks[rows]) / SOURCE),
        originals=sources * 2 - 1,
        pose=pose,
    )

"""Judges a feature network on the evaluation split, which it never saw: attributes, distance, fd_faces, speed.

There is no study with human judges behind the figures of the distance. They show what can be shown without one: that
it grows with the strength of a distortion, and that it orders distortions of different kinds as intended where the
mean squared error does not. Two of the distortions are kinds that training never showed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from editkit.errors import TrainingDataError
from editkit.networks.features import FeatureNetwork
from editkit.perceptual import Bundled
from train.faces import Faces
from train.feature_views import DISTORTIONS, blurred, gaussian_blur, noisy, patched, shifted, warped
from train.metrics.frechet import fd_faces
from train.scorers import labels_of

Distortion = Callable[[Tensor, Tensor, torch.Generator], Tensor]
STRENGTHS = (0.1, 0.2, 0.4, 0.8, 1.6)


def evaluate(network: FeatureNetwork, faces: Faces, *, seed: int = 1, fd_count: int = 1000) -> dict[str, object]:
    """Every figure of the card.

    faces: at 128 px, with both splits (fd_faces compares training photos too). Raises TrainingDataError where fewer
    than ten are for evaluation.
    """
    held_out = torch.from_numpy(faces.is_evaluation.nonzero()[0])
    if len(held_out) < 10:
        raise TrainingDataError(f"Judging needs ten or more evaluation photos, got {len(held_out)}: read more faces.")
    images = _small(faces, held_out)
    distance = Bundled.of(network)
    with torch.no_grad():
        result: dict[str, object] = {
            "photos": len(images),
            "attributes": _attributes(network, faces, held_out, images),
            "monotone": {
                kind.__name__: _monotone(distance, images[:128], kind, seed) for kind in (*DISTORTIONS, *UNSEEN)
            },
            "prefers": _preferences(distance, images[:384], seed),
            "choices": _choices(distance, images[:384], seed),
            "different_faces": _different_faces(distance, faces, held_out),
            "fd_faces": _fd(distance, faces, fd_count, seed),
        }
    result["milliseconds"] = _milliseconds(distance)
    return result


def pixelated(images: Tensor, visibility: Tensor, generator: torch.Generator) -> Tensor:
    """Reduced by up to 5.8 (at visibility 1.6) by area and enlarged again to squares; a kind training never showed."""
    sides = (64 / (1.0 + 3.0 * visibility)).round().int().tolist()
    pairs = zip(images, sides, strict=True)
    small = [F.interpolate(image[None], size=(side, side), mode="area") for image, side in pairs]
    return torch.cat([F.interpolate(image, size=images.shape[2:], mode="nearest") for image in small])


def streaked(images: Tensor, visibility: Tensor, generator: torch.Generator) -> Tensor:
    """Whole rows shifted in brightness at random, as by a failing sensor; a kind training never showed."""
    rows = torch.randn(len(images), 1, images.shape[2], 1, generator=generator)
    return images + rows * (0.25 * visibility)[:, None, None, None]


UNSEEN: tuple[Distortion, ...] = (pixelated, streaked)


def _small(faces: Faces, rows: Tensor) -> Tensor:
    pixels = torch.from_numpy(faces.images[rows.numpy()]).permute(0, 3, 1, 2).float()
    return F.avg_pool2d(pixels.div_(127.5).sub_(1.0), 2)


def _attributes(network: FeatureNetwork, faces: Faces, rows: Tensor, images: Tensor) -> dict[str, float]:
    labels = labels_of(faces, rows.numpy())
    parts = [network.attributes(part) for part in images.split(64)]
    age_logits = torch.cat([part.age_logits for part in parts])
    bracket = age_logits.argmax(1)
    male = torch.cat([part.gender_logit for part in parts]) > 0
    yaw = torch.cat([part.yaw for part in parts])
    landmarks = torch.cat([part.landmarks for part in parts])
    eyes = (labels.landmarks[:, 1] - labels.landmarks[:, 0]).norm(dim=1)
    width = [
        (points[:, 4] - points[:, 3]).norm(dim=1) / (points[:, 1] - points[:, 0]).norm(dim=1)
        for points in (landmarks, labels.landmarks)
    ]

    def error(points: Tensor) -> float:
        return float(((points - labels.landmarks).norm(dim=2).mean(1) / eyes).mean())

    return {
        "gender_accuracy": float((male == labels.male.bool()).float().mean()),
        "gender_majority": float(torch.maximum(labels.male.mean(), 1 - labels.male.mean())),
        "age_accuracy": float((bracket == labels.age).float().mean()),
        "age_majority": float((labels.age == labels.age.mode().values).float().mean()),
        "age_within_one": float(((bracket - labels.age).abs() <= 1).float().mean()),
        "yaw_correlation": float(torch.corrcoef(torch.stack([yaw, labels.yaw]))[0, 1]),
        "mouth_width_correlation": float(torch.corrcoef(torch.stack(width))[0, 1]),
        "landmark_error": error(landmarks),
        "landmark_error_constant": error(labels.landmarks.mean(0, keepdim=True)),
    }


def _monotone(distance: Bundled, images: Tensor, kind: Distortion, seed: int) -> dict[str, object]:
    found = []
    for strength in STRENGTHS:
        generator = torch.Generator().manual_seed(seed)  # the same direction or pattern at every strength
        changed = kind(images, torch.full((len(images),), strength), generator).clamp(-1.0, 1.0)
        found.append(_distances(distance, images, changed))
    grid = torch.stack(found)  # [strengths, N]
    return {
        "mean_distance": [round(float(row.mean()), 4) for row in grid],
        "always_growing": float((grid.diff(dim=0) > 0).all(0).float().mean()),
    }


def _preferences(distance: Bundled, images: Tensor, seed: int) -> dict[str, dict[str, float]]:
    """How often the first, milder to the eye, is nearer to the photo than the second: ours, and squared error's."""
    generator = torch.Generator().manual_seed(seed)
    count = len(images)

    def at(kind: Distortion, visibility: float) -> Tensor:
        return kind(images, torch.full((count,), visibility), generator).clamp(-1.0, 1.0)

    blur = gaussian_blur(images, torch.full((count,), 1.2))
    cases = {
        "shift of 1 px before blur of 1.2 px": (at(shifted, 0.25), blur),
        "warp of 1 px before blur of 1.2 px": (at(warped, 0.4), blur),
        "noise of 0.06 before blur of 1.2 px": (at(noisy, 0.2), blur),
        "shift of 1 px before noise of 0.15": (at(shifted, 0.25), at(noisy, 0.5)),
        "shift of 1 px before a patch of 3/8": (at(shifted, 0.25), at(patched, 0.75)),
        "blur of 0.6 px before 2x pixelation": (at(blurred, 0.3), at(pixelated, 0.34)),
    }
    return {name: _share(distance, images, *pair) for name, pair in cases.items()}


def _choices(distance: Bundled, images: Tensor, seed: int) -> dict[str, float]:
    """Two random distortions a photo, strengths at least a factor 1.5 apart: how often the weaker is nearer."""
    generator = torch.Generator().manual_seed(seed)
    strength = torch.exp(torch.rand(2, len(images), generator=generator) * 2.77) * 0.1
    kinds = torch.randint(len(DISTORTIONS), (2, len(images)), generator=generator)
    first, second = torch.empty_like(images), torch.empty_like(images)
    for target, side in ((first, 0), (second, 1)):
        for index, kind in enumerate(DISTORTIONS):
            chosen = kinds[side] == index
            if not bool(chosen.any()):
                continue
            target[chosen] = kind(images[chosen], strength[side][chosen], generator).clamp(-1.0, 1.0)
    weaker = torch.where((strength[0] < strength[1])[:, None, None, None], first, second)
    stronger = torch.where((strength[0] < strength[1])[:, None, None, None], second, first)
    apart = strength.log().diff(dim=0)[0].abs() > 0.405
    return _share(distance, images[apart], weaker[apart], stronger[apart])


def _share(distance: Bundled, images: Tensor, milder: Tensor, worse: Tensor) -> dict[str, float]:
    ours = _distances(distance, images, milder) < _distances(distance, images, worse)
    squared = (images - milder).square().mean((1, 2, 3)) < (images - worse).square().mean((1, 2, 3))
    return {"ours": float(ours.float().mean()), "squared_error": float(squared.float().mean())}


def _distances(distance: Bundled, first: Tensor, second: Tensor) -> Tensor:
    pairs = zip(first.split(64), second.split(64), strict=True)
    return torch.cat([distance.distance(a, b) for a, b in pairs])


def _different_faces(distance: Bundled, faces: Faces, rows: Tensor) -> dict[str, float]:
    large = torch.from_numpy(faces.images[rows.numpy()]).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)
    result = {}
    for side in (64, 96, 128):
        images = F.interpolate(large, size=(side, side), mode="area")
        found = _distances(distance, images, images.roll(-1, 0))
        result[f"mean_{side}"], result[f"deviation_{side}"] = float(found.mean()), float(found.std())
    return result


def _fd(distance: Bundled, faces: Faces, count: int, seed: int) -> dict[str, float]:
    """Photos against other photos and against degraded copies of those; ``count`` a side, or half of all."""
    order = torch.randperm(len(faces), generator=torch.Generator().manual_seed(seed))
    count = min(count, len(faces) // 2)
    real, other = _small(faces, order[:count]), _small(faces, order[count : 2 * count])
    generator = torch.Generator().manual_seed(seed)

    def at(kind: Distortion, visibility: float) -> Tensor:
        return kind(other, torch.full((count,), visibility), generator).clamp_(-1.0, 1.0)

    sets: dict[str, Tensor] = {
        "photos": other,
        "mirrored": other.flip(3),
        "blur 0.5 px": gaussian_blur(other, torch.full((count,), 0.5)),
        "blur 1 px": gaussian_blur(other, torch.full((count,), 1.0)),
        "blur 2 px": gaussian_blur(other, torch.full((count,), 2.0)),
        "noise 0.05": at(noisy, 1 / 6),
        "noise 0.15": at(noisy, 0.5),
        "warp 1 px": at(warped, 0.4),
        "mean of two faces": 0.5 * (other + other.roll(1, 0)),
        "50 faces repeated": other[:50].repeat(-(-count // 50), 1, 1, 1)[:count],
    }
    return {"count": float(count), **{name: fd_faces(real, images, network=distance) for name, images in sets.items()}}


def _milliseconds(distance: Bundled) -> dict[str, float]:
    """Processor time per image of a projection step's share: forward and backward to 64 px, the target prepared."""
    result = {"threads": float(torch.get_num_threads())}
    for batch in (1, 4):
        target = distance.prepare(torch.zeros(1, 3, 64, 64))
        images = torch.randn(batch, 3, 64, 64, generator=torch.Generator().manual_seed(0)).requires_grad_()
        taken = [_timed(lambda: target.distance(images).sum().backward()) for _ in range(20)]  # noqa: B023
        result[f"batch_{batch}"] = 1e3 * sorted(taken)[len(taken) // 2] / batch
    return result


def _timed(call: Callable[[], object]) -> float:
    start = time.process_time()  # of the processor, so that a busy machine does not count
    call()
    return time.process_time() - start


def summary(result: dict[str, object]) -> Sequence[str]:
    """The figures as lines of text."""
    lines = []
    for name, value in result.items():
        if isinstance(value, dict):
            lines += [f"{name}: {key}: {_text(inner)}" for key, inner in value.items()]
        else:
            lines.append(f"{name}: {_text(value)}")
    return lines


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(inner)}" for key, inner in value.items())
    return str(value)

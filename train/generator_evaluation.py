"""How good a generator of faces is: inversion of unseen photos, variety of its samples, distance of the two sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from editkit.generator import Generator
from editkit.perceptual import Bundled
from editkit.photo import image_from_uint8, psnr, ssim
from editkit.rendering import render
from editkit.sampling import sample_w
from projector.encoder import Encode, fitting_encoder
from projector.optimise import Optimise, search
from train.metrics.equivariance import equivariance
from train.metrics.frechet import frechet_distance, statistics
from train.metrics.kid import kernel_distance
from train.metrics.precision_recall import precision_recall

Progress = Callable[[str], None]
EQUIVARIANCE_SAMPLES = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorEvaluation:
    """Figures of one generator.

    Attributes:
        inversion: per space ("w", "w+"): mean "psnr" (dB), "ssim" and "perceptual" over unseen photos, with "steps".
        photos: how many were inverted.
        variety: mean pairwise perceptual distance of ``variety_count`` untruncated samples; variety_real: of photos.
        closest_pair: the smallest distance between two of those samples; closest_pair_real: between two photos.
        fd_faces: Frechet distance of ``fd_count`` samples and photos on the bundled features (not FID); kid_faces,
            precision and recall: on the same.
        equivariance: "eqt_integer", "eqt_fractional", "eqr" in dB of 100 samples; none of StyleGAN2.
        groups: per group of the evaluation photos ("age 20-29"): how many, and their mean PSNR (dB) from the encoder
            alone; none without an encoder.
    """

    inversion: dict[str, dict[str, float]]
    photos: int
    variety: float
    variety_real: float
    closest_pair: float
    closest_pair_real: float
    variety_count: int
    fd_faces: float
    fd_count: int
    kid_faces: float = 0.0
    precision: float = 0.0
    recall: float = 0.0
    equivariance: dict[str, float] = field(default_factory=dict)
    groups: dict[str, tuple[int, float]] = field(default_factory=dict)


def evaluate(
    G: Generator,
    *,
    unseen: np.ndarray,
    evaluation: np.ndarray,
    spaces: Sequence[str] = ("w+",),
    steps: int = 200,
    batch: int = 16,
    variety_count: int = 64,
    labels: Mapping[str, np.ndarray] | None = None,
    on_progress: Progress | None = None,
) -> GeneratorEvaluation:
    """Judges ``G``.

    Args:
        unseen: uint8 [N, R, R, 3], photos to invert.
        evaluation: uint8 [M, R, R, 3], photos that samples are compared with; neither was trained on.
        spaces: "w", "w+" or both; steps: of the inversions.
        labels: of ``evaluation``, [M] each, by what they tell ("age"): its groups are reconstructed by the encoder.
    """
    say = on_progress or (lambda text: None)
    distance = Bundled()
    inversion = {}
    for space in spaces:
        inversion[space] = _invert(G, image_from_uint8(unseen), space, steps, batch, distance)
        say(f"{space}: {inversion[space]}")
    real = image_from_uint8(evaluation)
    samples = sample(G, range(len(real)))
    say("samples rendered")
    fake_near, fake_mean = _pairs(samples[:variety_count], distance)
    spread = np.linspace(0, len(real) - 1, variety_count).astype(int)
    real_near, real_mean = _pairs(real[torch.from_numpy(spread)], distance)
    with torch.no_grad():
        real_features, fake_features = (
            torch.cat([distance.features(part) for part in images.split(64)]) for images in (real, samples)
        )
    shares = precision_recall(real_features, fake_features)
    moved = {} if G.spec.kind == "stylegan2" else equivariance(G, samples=EQUIVARIANCE_SAMPLES).psnr
    say(f"equivariance: {moved}")
    groups = _groups(G, real, labels, distance) if labels and fitting_encoder(G) is not None else {}
    return GeneratorEvaluation(
        inversion=inversion,
        photos=len(unseen),
        variety=fake_mean,
        variety_real=real_mean,
        closest_pair=fake_near,
        closest_pair_real=real_near,
        variety_count=variety_count,
        fd_faces=frechet_distance(statistics(real_features), statistics(fake_features)),
        fd_count=len(real),
        kid_faces=kernel_distance(real_features, fake_features),
        precision=shares.precision,
        recall=shares.recall,
        equivariance=moved,
        groups=groups,
    )


def _groups(
    G: Generator, photos: Tensor, labels: Mapping[str, np.ndarray], distance: Bundled
) -> dict[str, tuple[int, float]]:
    """How many photos of every label there are, and their mean PSNR from the encoder alone."""
    scores = []
    for part in photos.split(16):
        found = Encode().find(G, part, perceptual=distance)
        with torch.no_grad():
            scores.append(psnr(G.synthesize(found.latent).cpu(), part))
    values = torch.cat(scores).numpy()
    return {
        f"{what} {label}": (int((told == label).sum()), float(values[told == label].mean()))
        for what, told in labels.items()
        for label in sorted(set(told.tolist()))
    }


def sample(G: Generator, seeds: range, *, truncation_psi: float = 1.0) -> Tensor:
    """[len(seeds), 3, R, R] on the CPU, within [-1, 1]."""
    return render(G, sample_w(G, seeds, truncation_psi=truncation_psi), batch=16).clamp(-1, 1)


def _invert(G: Generator, photos: Tensor, space: str, steps: int, batch: int, distance: Bundled) -> dict[str, float]:
    method = Optimise(steps=steps, space=space, patience=0)  # type: ignore[arg-type]
    scores = []
    for part in photos.split(batch):
        found = search(G, part, method, perceptual=distance)
        with torch.no_grad():
            image = G.synthesize(found.latent).cpu()
            near = distance.distance(image, part)
        scores.append(torch.stack([psnr(image, part), ssim(image, part), near.to(torch.float64)]))
    mean = torch.cat(scores, 1).mean(1)
    return {"psnr": float(mean[0]), "ssim": float(mean[1]), "perceptual": float(mean[2]), "steps": float(steps)}


def _pairs(images: Tensor, distance: Bundled) -> tuple[float, float]:
    """Smallest and mean distance over all pairs of different pictures."""
    rows = []
    with torch.no_grad():
        for i in range(len(images) - 1):
            rows.append(distance.distance(images[i + 1 :], images[i : i + 1].expand(len(images) - i - 1, -1, -1, -1)))
    values = torch.cat(rows)
    return float(values.min()), float(values.mean())

"""How good an encoder is on photographs it was not trained on, and the file that it is kept in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editkit.checkpoints.native import halve, write_checkpoint
from editkit.generator import Generator
from editkit.perceptual import PerceptualDistance
from editkit.photo import image_from_uint8, psnr, ssim
from projector.curvature import Curvature
from projector.encoder import Encode
from projector.encoder_network import EncoderNetwork
from train.dataset import open_dataset
from train.dataset_source import Source
from train.encoder import Progress
from train.faces import LABELS

BATCH = 16
LOOKS = (1, 3, 5)


def unseen_photos(data: Path, resolution: int, count: int) -> Tensor | None:
    """At most ``count`` pictures [N, 3, R, R] of the evaluation part, evenly spaced; None where there is none."""
    if LABELS not in Source(data).others:
        return None
    found = open_dataset(data, resolution=resolution, channels=3, part="evaluation", cache="none")
    count = min(count, len(found))
    places = [index * len(found) // count for index in range(count)]
    return image_from_uint8(found.__getitems__(places).images)


def evaluate_encoder(G: Generator, encoder: Path, photos: Tensor, *, perceptual: PerceptualDistance) -> dict[str, Any]:
    """Means over ``photos`` [N, 3, R, R]: "psnr_N" (dB) after N looks, "ssim" and "perceptual" after the most.

    PSNR and SSIM on uint8-rounded pictures, data range 255.
    """
    figures: dict[str, Any] = {"photos": len(photos), "perceptual_name": perceptual.name}
    for looks in LOOKS:
        scores = []
        for part in photos.split(BATCH):
            found = Encode(iterations=looks, encoder=str(encoder)).find(G, part, perceptual=perceptual)
            with torch.no_grad():
                image = G.synthesize(found.latent)
                near = perceptual.distance(image, part.to(G.device)).cpu()
            image = image.cpu()
            scores.append(torch.stack([psnr(image, part), ssim(image, part), near.to(torch.float64)]))
        mean = torch.cat(scores, 1).mean(1)
        figures[f"psnr_{looks}"] = round(float(mean[0]), 3)
    return figures | {"ssim": round(float(mean[1]), 4), "perceptual": round(float(mean[2]), 4)}


def write_encoder(
    path: Path,
    network: EncoderNetwork,
    curvature: Curvature,
    G: Generator,
    *,
    data: str | None,
    progress: Progress,
    searched: int = 0,
    evaluation: Mapping[str, object] | None = None,
) -> None:
    """Write the file of an encoder: half precision, with the generator's id. Raises OutputError.

    ``searched``: photographs whose codes its start is the mean of.
    """
    header = {
        "kind": "encoder",
        "arguments": network.arguments,
        "name": f"encoder of {G.spec.name}",
        "domain": G.spec.domain,
        "alignment": G.spec.alignment,
        "licence": G.spec.licence,
        "training": {
            "generator": G.spec.id,
            "data": data,
            "searched": searched,
            "steps": progress.step,
            "pictures_rendered": progress.pictures,
            "minutes": round(progress.seconds / 60, 1),
            "last_losses": {name: round(value, 4) for name, value in progress.losses.items()},
            "evaluation": dict(evaluation or {}),
        },
    }
    kept = {"curvature.basis": curvature.basis.half(), "curvature.shrink": curvature.shrink}
    write_checkpoint(path, halve(network.state_dict()) | kept, header)

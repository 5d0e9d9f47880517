"""Trains and judges the landmark network of the aligner; ``editkit train landmarks`` is the command.

``evaluate`` applies the stated transforms (rotation +-30 degrees, scale 0.7-1.4, shift +-15 %, blur, colour; fixed
seed) to the evaluation split and reports the mean point error in eye distances, beside what a constant prediction gets.
"""

import copy
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from editkit.checkpoints.native import halve, write_checkpoint
from editkit.faces import LOOKS, MIN_CONFIDENCE, refine
from editkit.networks.landmarks import LandmarkNetwork
from train.faces import Faces
from train.landmark_negatives import negative_tiles
from train.landmark_samples import (
    SOURCE,
    degrade,
    evaluation_samples,
    full_pose,
    near_pose,
    occlude,
    place,
    to_float,
    wrong_pose,
)

log = logging.getLogger(__name__)
EVALUATION_SEED = 20261122


@dataclass(frozen=True, kw_only=True, slots=True)
class LandmarkTraining:
    """What `train` does. The bundled weights: see the header of editkit/models/landmarks.safetensors."""

    steps: int = 3000
    full: int = 36  # faces a step under the full transforms
    near: int = 12  # faces a step nearly in place, as the second look sees them
    wrong: int = 8  # badly framed faces a step, which must score low
    empty: int = 8  # pictures without a face a step
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    score_weight: float = 0.1
    spread_weight: float = 0.02
    target_spread: float = 1 / 32  # of a heat map, in crops: one cell
    average: float = 0.997  # decay of the averaged weights that are kept
    seed: int = 0


class _Batches:
    """Draws training batches from faces that are not in the evaluation split."""

    def __init__(self, faces: Faces, config: LandmarkTraining):
        rows = np.flatnonzero(~faces.is_evaluation)
        self.images, self.landmarks = faces.images[rows], torch.from_numpy(faces.landmarks[rows]) / SOURCE
        self.tiles = negative_tiles(self.images, count=4000, seed=config.seed)
        self.config = config
        self.rng = torch.Generator().manual_seed(config.seed)

    def draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """Images [N, 3, 64, 64]; points [P, 5, 2] of the first P, which hold a well-framed face; labels [N]."""
        c, rng = self.config, self.rng
        positives = c.full + c.near
        rows = torch.randint(len(self.images), (positives + c.wrong,), generator=rng)
        tiles = torch.randint(len(self.tiles), (c.empty,), generator=rng)
        sources = torch.cat((to_float(self.images[rows.numpy()]), to_float(self.tiles[tiles.numpy()])))
        poses = [full_pose(c.full, rng), near_pose(c.near, rng), wrong_pose(c.wrong, rng), full_pose(c.empty, rng)]
        pose = type(poses[0])(matrix=torch.cat([p.matrix for p in poses]), shift=torch.cat([p.shift for p in poses]))
        others = torch.randint(len(self.tiles), (len(sources),), generator=rng)
        fillers = to_float(self.tiles[others.numpy(), ::2, ::2])
        images = degrade(occlude(place(sources, pose, rng, fillers=fillers), rng), rng)
        points = pose.apply(torch.cat((self.landmarks[rows], torch.zeros(c.empty, 5, 2))))[:positives]
        return images, points, (torch.arange(len(sources)) < positives).float()


def eye_distance(points: Tensor) -> Tensor:
    """[N, 5, 2] -> [N]."""
    return (points[:, 1] - points[:, 0]).norm(dim=1)


def train(
    faces: Faces, config: LandmarkTraining, *, on_report: Callable[[int, LandmarkNetwork], None] | None = None
) -> LandmarkNetwork:
    """Train from scratch on the rows outside the evaluation split; returns the averaged network in evaluation mode.

    on_report: called every hundred steps with the step and the averaged network so far.
    """
    torch.manual_seed(config.seed)
    network = LandmarkNetwork().train()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    averaged = copy.deepcopy(network).requires_grad_(False)
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=config.learning_rate, total_steps=config.steps, pct_start=0.08, cycle_momentum=False
    )
    batches, started = _Batches(faces, config), time.perf_counter()
    sums = torch.zeros(2)
    for step in range(1, config.steps + 1):
        images, points, labels = batches.draw()
        found = network(images.contiguous(memory_format=torch.channels_last))
        seen = len(points)
        error = (found.points[:seen] - points).norm(dim=2) / eye_distance(points)[:, None]
        spread = (found.spread[:seen] / config.target_spread - 1).square().mean()
        score = functional.binary_cross_entropy_with_logits(found.logit, labels)
        loss = error.mean() + config.spread_weight * spread + config.score_weight * score
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        _average(averaged, network, config.average)
        sums += torch.stack((error.mean(), score)).detach()
        if step % 100 == 0 or step == config.steps:
            count = step % 100 or 100
            seconds = (time.perf_counter() - started) / step * (config.steps - step)
            log.info("step %d error %.4f score %.4f, %.0f s left", step, *(sums / count).tolist(), seconds)
            sums.zero_()
            if on_report is not None:
                on_report(step, averaged)
    return averaged.eval()


@torch.no_grad()
def _average(averaged: LandmarkNetwork, network: LandmarkNetwork, decay: float) -> None:
    """Move the average towards the network: weights and the statistics of the normalisation; counters are copied."""
    for old, new in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
        if old.is_floating_point():
            old.lerp_(new, 1 - decay)
        else:
            old.copy_(new)


@dataclass(frozen=True, kw_only=True, slots=True)
class LandmarkReport:
    """Mean point distances over the evaluation split, in eye distances.

    The labels come from a detector and carry noise of their own, about as large as ``error`` (see the model card);
    ``moved`` is free of it.
    """

    photos: int
    one_look: float  # to the labels, after one pass over the whole picture
    error: float  # to the labels, as the aligner does it: look, crop again by what was seen, look again
    constant: float  # to the labels, of the mean training points, whatever the picture
    still: float  # to the labels, on the untransformed crops
    moved: float  # from what is found in a transformed picture to what is found in the untransformed one
    misses: float  # share of faces the confidence drops
    phantoms: float  # share of pictures without a face that it keeps


def evaluate(faces: Faces, network: LandmarkNetwork, *, looks: int = LOOKS) -> LandmarkReport:
    """Judge a network on the evaluation split under the stated transforms, from a fixed seed."""
    samples = evaluation_samples(faces, seed=EVALUATION_SEED)
    labels = torch.from_numpy(faces.landmarks) / SOURCE
    with torch.no_grad():
        once = torch.cat([network(functional.avg_pool2d(chunk, 2)).points for chunk in samples.pictures.split(128)])
    found, sure = _found(network, samples.pictures, looks)
    still, _ = _found(network, samples.originals, looks)
    empty = to_float(negative_tiles(faces.images[~faces.is_evaluation], count=800, seed=EVALUATION_SEED)) * 2 - 1
    _, phantoms = _found(network, empty, looks)
    return LandmarkReport(
        photos=len(samples.points),
        one_look=_distance(once, samples.points),
        error=_distance(found, samples.points),
        constant=_distance(labels[~faces.is_evaluation].mean(0).expand_as(found), samples.points),
        still=_distance(still, labels[faces.is_evaluation]),
        moved=_distance(found, samples.pose.apply(still)),
        misses=float((sure < MIN_CONFIDENCE).float().mean()),
        phantoms=float((phantoms >= MIN_CONFIDENCE).float().mean()),
    )


def _found(network: LandmarkNetwork, pictures: Tensor, looks: int) -> tuple[Tensor, Tensor]:
    """Points [N, 5, 2] as fractions of the pictures, and confidences [N], as the aligner finds them."""
    whole = torch.tensor([[0.0, 0.0, SOURCE, SOURCE]], dtype=torch.float64)
    seen = [refine(network, picture[None], whole, looks=looks) for picture in pictures]
    return torch.cat([one.points for one in seen]).float() / SOURCE, torch.cat([one.confidence for one in seen])


def _distance(points: Tensor, truth: Tensor) -> float:
    return float(((points - truth).norm(dim=2) / eye_distance(truth)[:, None]).mean())


def save(path: Path, network: LandmarkNetwork, *, training: dict[str, Any]) -> None:
    """Write the weights in half precision, with what is known of their training. Raises OutputError."""
    header = {
        "kind": "landmarks",
        "arguments": {},
        "name": "landmarks",
        "domain": "faces",
        "alignment": "faces128",
        "licence": "Apache-2.0; trained on FairFace (Karkkainen & Joo, WACV 2021), CC BY 4.0",
        "training": training,
    }
    write_checkpoint(path, halve(network.state_dict()), header)

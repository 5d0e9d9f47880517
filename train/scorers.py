"""Trains the bundled feature network (editkit.networks.features) on a zip of aligned faces.

One run gives the weights behind the bundled perceptual distance, ``fd_faces`` and the attribute scorers of
``directions``. The learning rate follows a half cosine over the steps; where the minutes run out first, it follows the
minutes, so that a run cut short is still a complete, weaker one.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from editkit.errors import TrainingDataError, UsageError
from editkit.files import atomic_path
from editkit.networks.features import FeatureNetwork
from editkit.perceptual import unit_vectors
from train.faces import Faces
from train.feature_calibration import calibrate
from train.feature_objectives import Labels, TrainingHeads, instance_loss, label_loss, ranking_loss, stage_distances
from train.feature_views import Views, distorted, random_views

AGE_BRACKETS: tuple[str, ...] = ("20-29", "30-39", "40-49", "50-59", "60-69", "more than 70")
DIFFERENT_FACE_VISIBILITY = 2.4
"""Where two views of different people stand on the visibility scale of feature_views: beyond every distortion."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScorerConfig:
    """How to train the feature network.

    Attributes:
        steps: length of the run.
        minutes: the most it may take.
        batch: faces in a step; a step sees two views of each.
        learning_rate: peak of AdamW.
        seed: of the weights, the order of the faces and the views.
        ema: decay of the averaged weights that are kept.
        snapshot: file to write the averaged weights to once a minute, or None.
    """

    steps: int = 3000
    minutes: float = 60.0
    batch: int = 32
    learning_rate: float = 1.5e-3
    seed: int = 0
    ema: float = 0.998
    snapshot: Path | None = None

    def __post_init__(self) -> None:
        positive = self.steps >= 1 and self.minutes > 0 and self.learning_rate > 0
        if not (positive and self.batch >= 2 and 0 <= self.ema < 1):
            raise UsageError(
                f"Training needs steps >= 1, minutes > 0, learning_rate > 0, batch >= 2 and 0 <= ema < 1, got {self}."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where a run stands: steps and photos seen, seconds since its start, and the running mean of each loss."""

    step: int
    photos: int
    seconds: float
    losses: dict[str, float]


def train_scorers(
    faces: Faces, config: ScorerConfig, *, on_progress: Callable[[Progress], None] | None = None
) -> tuple[FeatureNetwork, Progress]:
    """Train on the rows of ``faces`` outside the evaluation split; the averaged network and the last progress.

    faces: at 128 px. Raises TrainingDataError when there are too few, or labels that are not of the known brackets.
    """
    data = _Data(faces)
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    network = FeatureNetwork()
    heads = TrainingHeads(embedding_dim=network.embedding_dim)
    average = copy.deepcopy(network).requires_grad_(False)
    weights = [*network.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.02)
    scale = torch.ones(len(network.widths))  # running mean of each stage's distance between different faces
    start = last_log = last_snapshot = time.monotonic()
    sums: dict[str, float] = {}
    counted = step = 0
    progress = Progress(step=0, photos=0, seconds=0.0, losses={})
    while (fraction := max(step / config.steps, (time.monotonic() - start) / (config.minutes * 60.0))) < 1.0:
        _set_rate(optimiser, config.learning_rate, step=step, fraction=fraction)
        rows = data.draw(config.batch, generator)
        losses = _losses(network, heads, scale, data, rows, generator, discriminate=step % 2 == 0)
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        nn.utils.clip_grad_norm_(weights, 2.0)
        optimiser.step()
        _average(average, network, min(config.ema, (1 + step) / (10 + step)))
        step += 1
        counted += 1
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        now = time.monotonic()
        if now - last_log >= 15.0:
            means = {name: value / counted for name, value in sums.items()}
            progress = Progress(step=step, photos=step * config.batch, seconds=now - start, losses=means)
            _log.info("step %d, %.0f s: %s", step, now - start, {k: round(v, 4) for k, v in means.items()})
            if on_progress is not None:
                on_progress(progress)
            sums, counted, last_log = {}, 0, now
        if config.snapshot is not None and now - last_snapshot >= 60.0:
            write_snapshot(config.snapshot, average)
            last_snapshot = now
    average.requires_grad_(False).eval()
    calibrate(average, data.pixels, different=DIFFERENT_FACE_VISIBILITY, seed=config.seed)
    final = Progress(step=step, photos=step * config.batch, seconds=time.monotonic() - start, losses=progress.losses)
    return average, final


def write_features(
    path: Path,
    network: FeatureNetwork,
    *,
    faces: Faces,
    data: str,
    progress: Progress,
    evaluation: Mapping[str, object],
) -> None:
    """Write the bundled file: half-precision weights, single-precision calibration, facts and figures in the header.

    data: the name of the data set, for the header. Raises OutputError.
    """
    from editkit.checkpoints.native import halve, write_checkpoint

    header = {
        "kind": "features",
        "arguments": {"widths": list(network.widths), "embedding_dim": network.embedding_dim},
        "name": "editkit-faces features",
        "domain": "aligned faces of adults",
        "alignment": "faces128",
        "licence": "Apache-2.0; trained on FairFace photos (Karkkainen and Joo, WACV 2021), CC BY 4.0",
        "training": {
            "data": data,
            "trained_on": int((~faces.is_evaluation).sum()),
            "evaluated_on": int(faces.is_evaluation.sum()),
            "split": "rows whose index is a multiple of 10 were never trained on",
            "steps": progress.step,
            "photos_seen": progress.photos,
            "minutes": round(progress.seconds / 60.0, 1),
            "last_losses": {name: round(value, 4) for name, value in progress.losses.items()},
            "evaluation": dict(evaluation),
        },
    }
    write_checkpoint(path, halve(network.state_dict()), header)


def write_snapshot(path: Path, network: FeatureNetwork) -> None:
    """The bare weights, for looking at a run that is not over."""
    from safetensors.torch import save_file

    with atomic_path(path) as temporary:
        save_file({name: value.contiguous() for name, value in network.state_dict().items()}, temporary)


class _Data:
    """The training rows as tensors."""

    def __init__(self, faces: Faces) -> None:
        rows = (~faces.is_evaluation).nonzero()[0]
        unknown = sorted(set(faces.ages[rows].tolist()) - set(AGE_BRACKETS))
        if len(rows) < 16 or unknown or faces.images.shape[1:] != (128, 128, 3):
            raise TrainingDataError(
                f"Scorers train on 16 or more 128-pixel faces labelled {', '.join(AGE_BRACKETS)}; got {len(rows)} of "
                f"{faces.images.shape[1]} pixels" + (f" with brackets {', '.join(unknown)}." if unknown else ".")
            )
        self.pixels = torch.from_numpy(faces.images[rows]).permute(0, 3, 1, 2).contiguous()
        self.labels = labels_of(faces, rows)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.randint(len(self.pixels), (count,), generator=generator)

    def views(self, rows: Tensor, generator: torch.Generator) -> tuple[Views, Labels]:
        views = random_views(self.pixels[rows], self.labels.landmarks[rows], self.labels.yaw[rows], generator)
        age, male = self.labels.age[rows], self.labels.male[rows]
        return views, Labels(age=age, male=male, yaw=views.yaw, landmarks=views.landmarks)


def labels_of(faces: Faces, rows: np.ndarray) -> Labels:
    """The labels of the given rows as tensors."""
    return Labels(
        age=torch.tensor([AGE_BRACKETS.index(age) for age in faces.ages[rows]]),
        male=torch.tensor([float(gender == "Male") for gender in faces.genders[rows]]),
        yaw=torch.from_numpy(faces.yaw[rows]),
        landmarks=torch.from_numpy(faces.landmarks[rows]) / 128.0,
    )


def _losses(
    network: FeatureNetwork,
    heads: TrainingHeads,
    scale: Tensor,
    data: _Data,
    rows: Tensor,
    generator: torch.Generator,
    *,
    discriminate: bool,
) -> dict[str, Tensor]:
    """Labels on every step; then instance discrimination and ordering of distortions in turn."""
    count, half = len(rows), len(rows) // 2
    views, labels = data.views(rows, generator)
    if discriminate:
        others, other_labels = data.views(rows, generator)
        second = others.images
    else:
        second, visibility = distorted(views.images, generator)
        other_labels = labels
    stages, embedding, found = network(torch.cat([views.images, second]))
    both = Labels(**{name: torch.cat([value, asdict(other_labels)[name]]) for name, value in asdict(labels).items()})
    losses = {"labels": label_loss(found, both)}
    if discriminate:
        projected = heads.projection(embedding)
        losses["instance"] = 0.3 * instance_loss(projected[:count], projected[count:])
        done = torch.cat([views.parameters, others.parameters])
        losses["parameters"] = 0.5 * (heads.parameters_out(embedding) - done).square().mean()
        return losses
    units = [stage.split([half, count - half, count]) for stage in unit_vectors(stages)]
    before = [torch.cat(parts[:2]) for parts in units]
    between = stage_distances([parts[0] for parts in units], [parts[1][:half] for parts in units])
    copies = stage_distances(before, [parts[2] for parts in units])
    first_time = bool((scale == 1.0).all())
    scale.lerp_(between.detach().mean(0), 1.0 if first_time else 0.05)
    distances = torch.cat([(copies / scale).mean(1), (between / scale).mean(1)])
    ranks = torch.cat([visibility, torch.full((half,), DIFFERENT_FACE_VISIBILITY)])
    losses["ranking"] = 2.0 * ranking_loss(distances, ranks)
    return losses


def _set_rate(optimiser: torch.optim.Optimizer, peak: float, *, step: int, fraction: float) -> None:
    rate = peak * min(1.0, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * min(fraction, 1.0))))
    for group in optimiser.param_groups:
        group["lr"] = rate


def _average(average: nn.Module, network: nn.Module, decay: float) -> None:
    with torch.no_grad():
        for kept, current in zip(average.parameters(), network.parameters(), strict=True):
            kept.lerp_(current, 1.0 - decay)

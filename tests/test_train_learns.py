"""Each kind of recipe learns, at a size for a processor: distances of its samples to the pictures fall.

``test_train_run.py`` shows the same of ``tiny``, which plays R3GAN's game, and from the command line.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from toy_pictures import write_toys

from editkit.photo import image_from_uint8
from train.dataset import ImageDataset, open_dataset
from train.dataset_loader import load_batches
from train.metrics.frechet import distance_from
from train.presets import preset
from train.snapshot_metric import snapshot_metric, thumbnails
from train.snapshots import samples
from train.training import Training

NETWORKS = {"z_dim": 64, "w_dim": 64, "num_fp16_res": 0, "conv_clamp": None, "channel_base": 1024, "channel_max": 32}
JUDGE = {"channel_base": 1024, "channel_max": 32, "num_fp16_res": 0, "conv_clamp": None}
LAYERS = {"num_layers": 6, "margin_size": 4}
QUICK = {"augment": "none", "gamma": 0.3, "clip": 10.0, "average_ramp": 0.1, "lr": 0.004, "lr_discriminator": 0.004}


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> ImageDataset:
    return open_dataset(write_toys(tmp_path_factory.mktemp("data") / "toys"))


def distances(training: Training, toys: ImageDataset) -> tuple[float, float]:
    """Of 256 samples on thumbnails, fd_pixels, and on the bundled network's channels, fd_texture."""
    _, texture = snapshot_metric(toys, "fd_texture", count=256, domain=None, device=torch.device("cpu"))
    assert texture is not None
    pixels = distance_from(image_from_uint8(toys.__getitems__(range(256)).images), thumbnails)
    return pixels(samples(training, 256).clamp(-1, 1)), texture(training)


def after(images: int, toys: ImageDataset, recipe: str, **changes: Any) -> tuple[float, float]:
    """What is left of both distances, as shares of those before the first step."""
    training = Training(preset(recipe, resolution=16, batch=16, **changes))
    before = distances(training, toys)
    for batch in load_batches(toys, batch=16, workers=0):
        training.step(batch)
        if training.seen >= images:
            break
    pixels, texture = (now / first for now, first in zip(distances(training, toys), before, strict=True))
    return pixels, texture


def test_stylegan3_r_learns_while_the_blur_fades(toys: ImageDataset) -> None:
    """Rotation-equivariant layers, non-saturating loss with R1 every 16 steps, and the blur in small."""
    pixels, texture = after(
        640, toys, "stylegan3-r", generator=NETWORKS | LAYERS, discriminator=JUDGE, blur_images=320, **QUICK
    )
    assert pixels < 1 / 2 and texture < 2 / 3


def test_stylegan_xl_learns_from_projected_discriminators(toys: ImageDataset) -> None:
    """No penalties, four discriminators on frozen features; fd_texture looks through the same network as they do."""
    _, texture = after(960, toys, "tiny-xl", augment="none")
    assert texture < 2 / 3

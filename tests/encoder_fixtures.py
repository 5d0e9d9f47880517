"""Shared by the tests of the encoder: a tiny generator, an encoder of it, faces and photos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from editkit.alignment import AlignedPhoto, align
from editkit.generator import NetworkGenerator, random_generator
from editkit.perceptual import Bundled
from editkit.photo import Photo
from editkit.sampling import sample_w
from projector.statistics import WStatistics, sample_statistics
from train.encoder import EncoderConfig
from train.encoder_curvature import measure_curvature
from train.encoder_evaluation import write_encoder
from train.encoder_run import train_encoder
from train.encoder_start import coarse_jacobian

TINY = EncoderConfig(steps=3, pool=48, batch=4, samples=4)


@pytest.fixture(scope="module")
def G() -> NetworkGenerator:
    return random_generator(resolution=16, output_scale=0.8, alignment="centre")


@pytest.fixture(scope="module")
def file(G: NetworkGenerator, jacobians: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder of G, trained on samples alone for a moment."""
    path = tmp_path_factory.mktemp("encoder") / "encoder.safetensors"
    network, progress, _ = train_encoder(G, None, TINY, perceptual=Bundled())
    curvature = measure_curvature(G, sample_statistics(G), codes=16)
    write_encoder(path, network, curvature, G, data=None, progress=progress)
    return path


@pytest.fixture(scope="module", autouse=True)
def jacobians() -> Iterator[None]:
    """Each generator's is computed once."""
    known: dict[str, torch.Tensor] = {}

    def once(G: NetworkGenerator, statistics: WStatistics, at: torch.Tensor) -> torch.Tensor:
        if (key := f"{G.spec.id} {at.double().sum()}") not in known:
            known[key] = coarse_jacobian(G, statistics, at)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.encoder.coarse_jacobian", once)
        yield


def picture(G: NetworkGenerator, seed: int) -> torch.Tensor:
    with torch.no_grad():
        return G.synthesize(sample_w(G, [seed]))


def face(G: NetworkGenerator, seed: int) -> AlignedPhoto:
    return align(Photo(image=picture(G, seed).clamp(-1, 1)), G.spec, convention="centre")


def photographs(folder: Path, count: int = 6, side: int = 16) -> Path:
    folder.mkdir()
    for index in range(count):
        pixels = np.random.default_rng(index).integers(0, 255, (side, side, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder

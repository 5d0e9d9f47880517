"""What snapshots are measured by: chosen by the pictures, the same in parts as whole; the best is of one metric."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import torch
from small_training import SMALL, small
from toy_pictures import write_toys

from editkit.checkpoints.native import read_header
from editkit.networks.features import resize
from editkit.perceptual import feature_network
from editkit.photo import image_from_uint8
from train import snapshot_metric as module
from train.dataset import ImageDataset, open_dataset
from train.metrics.frechet import fd_faces, frechet_distance, statistics
from train.run import RunOptions, run
from train.snapshot_metric import picture_facts, snapshot_metric, thumbnails
from train.snapshots import Folder, samples
from train.training import Training

CPU = torch.device("cpu")


def packed(folder: Path, **document: object) -> ImageDataset:
    """A zip of toys with ``document`` as its dataset.json, if there is any."""
    toys = write_toys(folder / "toys", count=9)
    with zipfile.ZipFile(folder / "data.zip", "w") as archive:
        for path in sorted(toys.glob("*.png")):
            archive.write(path, path.name)
        if document:
            archive.writestr("dataset.json", json.dumps(document))
    return open_dataset(folder / "data.zip", use_labels="labels" in document)


def test_face_crops_are_faces_and_nothing_else_is(tmp_path: Path) -> None:
    faces = {"domain": "faces", "alignment": "faces128"}
    labels = {"labels": [[f"{i:04d}.png", i % 3] for i in range(9)]}
    ffhq = {"crop": "face", "convention": "ffhq"}
    cases: list[tuple[dict[str, object], dict[str, str]]] = [
        ({"editkit": {"crop": "face"}}, faces),
        ({"editkit": ffhq}, faces | {"alignment": "ffhq"}),
        ({"editkit": {"crop": "centre"}}, {}),
        (labels, {}),
        ({}, {}),
    ]
    for place, (document, expected) in enumerate(cases):
        (tmp_path / str(place)).mkdir()
        assert picture_facts(packed(tmp_path / str(place), **document)) == expected
    toys = write_toys(tmp_path / "listed", count=20)
    (toys / "labels.csv").write_text("file,age\n" + "".join(f"{i:04d}.png,20-29\n" for i in range(20)))
    dataset = open_dataset(toys)
    assert picture_facts(dataset) == faces
    assert snapshot_metric(dataset, "auto", count=4, domain="faces", device=CPU)[0] == "fd_faces"
    assert snapshot_metric(dataset, "auto", count=4, domain=None, device=CPU)[0] == "fd_texture"
    assert snapshot_metric(dataset, "none", count=4, domain="faces", device=CPU) == ("none", None)


@pytest.mark.parametrize("classes", [0, 3])
def test_in_parts_it_is_what_it_is_as_a_whole(classes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = {"labels": [[f"{i:04d}.png", i % 3] for i in range(9)]} if classes else {}
    dataset = packed(tmp_path, **labels)
    training = Training(small(c_dim=classes, generator=SMALL | {"num_layers": 4}))
    real = image_from_uint8(dataset.__getitems__(range(9)).images)
    made = samples(training, 9, seed=module._SEED).clamp(-1, 1)
    network = feature_network()

    def texture(images: torch.Tensor) -> torch.Tensor:
        stages = network.stages(resize(images, (16, 16)))
        return torch.cat([x for s in stages for x in (s.mean((2, 3)), s.flatten(2).std(2, correction=0))], 1)

    monkeypatch.setattr(module, "_AT_A_TIME", 2)
    expected = {
        "fd_faces": fd_faces(real, made),
        "fd_texture": frechet_distance(statistics(texture(real)), statistics(texture(made))),
        "fd_pixels": frechet_distance(statistics(thumbnails(real)), statistics(thumbnails(made))),
    }
    for name, value in expected.items():
        found, measure = snapshot_metric(dataset, name, count=1000, domain=None, device=CPU)
        assert found == name and measure is not None
        assert measure(training) == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_transparent_pictures(channels: int, tmp_path: Path) -> None:
    toys = write_toys(tmp_path / "toys", count=6)
    dataset = open_dataset(toys, channels=channels)
    training = Training(small(channels=channels, generator=SMALL | {"num_layers": 4}))
    for name in ("fd_faces", "fd_texture", "fd_pixels"):
        _, measure = snapshot_metric(dataset, name, count=6, domain=None, device=CPU)
        assert measure is not None and measure(training) > 0


def test_texture_sees_blur_that_thumbnails_do_not(tmp_path: Path) -> None:
    dataset = open_dataset(write_toys(tmp_path / "toys", count=64, side=32))
    sharp = image_from_uint8(dataset.__getitems__(range(64)).images)
    blurred = resize(resize(sharp, (8, 8)), (32, 32))
    texture = module._network_features("fd_texture", CPU)
    a, b, c = (statistics(texture(x)) for x in (sharp[:32], sharp[32:], blurred[32:]))
    assert frechet_distance(a, c) > 2 * frechet_distance(a, b)


def test_without_the_network_it_falls_back_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = packed(tmp_path)
    monkeypatch.setattr("editkit.perceptual.bundled_weights", lambda: tmp_path / "none.safetensors")
    name, measure = snapshot_metric(dataset, "auto", count=9, domain="faces", device=CPU)
    assert name == "fd_pixels" and measure is not None and "no fd_faces" in caplog.text


def test_the_best_is_of_one_metric(tmp_path: Path) -> None:
    """Another metric begins anew; the same goes on from what was best."""
    dataset = packed(tmp_path)
    config = small(generator=SMALL | {"num_layers": 4})

    def go(metric: str, images: int, best: float | None) -> float | None:
        options = RunOptions(images=images, snapshot_images=8, metric=metric, workers=0, facts={"best": best})
        training = Training(config)
        training.seen = images - 8
        ended = run(training, dataset, Folder(tmp_path / "run"), options)
        assert ended.metric_name == metric
        return ended.best

    def kept() -> str:
        return read_header(tmp_path / "run" / "best.safetensors")["training"]["facts"]["metric_name"]

    first = go("fd_pixels", 8, None)
    assert first is not None and kept() == "fd_pixels"
    assert go("fd_pixels", 16, 1e-9) == 1e-9  # nothing is better than that
    assert go("fd_texture", 24, 1e-9) != 1e-9 and kept() == "fd_texture"

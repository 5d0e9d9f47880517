"""Random labels are those of the data: shares of classes and vectors, kept by a run in its generator's file."""

from __future__ import annotations

import json
import logging
import zipfile
from pathlib import Path

import pytest
import torch
from small_training import SMALL, small
from toy_pictures import write_toys

from editkit.checkpoints.native import read_checkpoint, read_header, write_checkpoint
from editkit.errors import CheckpointError
from editkit.generator import load_generator, random_generator, save_generator
from editkit.label_prior import LabelPrior, seeded_share
from editkit.labels import labels_for_seeds, seeded_classes
from editkit.rendering import render
from editkit.sampling import sample_w
from train.dataset import ImageDataset, open_dataset
from train.label_prior import MOST_NUMBERS, MOST_VECTORS, label_prior
from train.metrics.feature_sets import sample_batches
from train.run import RunOptions, _line, run
from train.snapshots import Folder, samples
from train.training import Training

VECTORS = [[0.1 * i, -1.0, 1 / (i + 3)] for i in range(16)]
UNEVEN = [0] * 13 + [2] * 3


def labelled(folder: Path, labels: list[object]) -> ImageDataset:
    toys = write_toys(folder / "toys", count=len(labels))
    with zipfile.ZipFile(folder / "data.zip", "w") as archive:
        for path in sorted(toys.glob("*.png")):
            archive.write(path, path.name)
        archive.writestr("dataset.json", json.dumps({"labels": [[f"{i:04d}.png", v] for i, v in enumerate(labels)]}))
    return open_dataset(folder / "data.zip", use_labels=True)


def trained(folder: Path, dataset: ImageDataset) -> Training:
    training = Training(small(c_dim=dataset.c_dim, generator=SMALL | {"num_layers": 4}))
    run(training, dataset, Folder(folder), RunOptions(images=8, metric="none", workers=0), say=lambda line: None)
    return training


def test_classes_are_drawn_as_often_as_they_are() -> None:
    prior = LabelPrior(shares=(0.0, 6.0, 3.0, 1.0, 0.0))
    drawn = prior.classes(range(5000))
    assert [drawn.count(index) / 5000 for index in range(5)] == pytest.approx([0, 0.6, 0.3, 0.1, 0], abs=0.03)
    assert drawn[40:43] == prior.classes([40, 41, 42])
    assert drawn[:12] == (1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 2, 3)  # for good: files are found again by their seed
    assert torch.equal(prior.draw([0, 5]).argmax(1), torch.tensor(drawn)[[0, 5]])
    assert prior.draw([0]).shape == (1, 5) and 0 <= seeded_share(2**40) < 1


def test_vectors_are_some_of_the_datas() -> None:
    prior = LabelPrior(vectors=((0.5, -2.0), (1.0, 3.0), (0.0, 0.25)))
    drawn = prior.draw(range(300))
    assert {tuple(row) for row in drawn.tolist()} == set(prior.vectors)
    assert torch.equal(prior.draw([7, 2]), drawn[[7, 2]]) and prior.c_dim == 2


@pytest.mark.parametrize("labels", [UNEVEN, VECTORS], ids=["classes", "vectors"])
def test_a_run_keeps_its_datas_labels(labels: list[object], tmp_path: Path) -> None:
    dataset = labelled(tmp_path, labels)
    training = trained(tmp_path / "run", dataset)
    G = load_generator(tmp_path / "run" / "generator.safetensors", device="cpu")
    assert G.spec.labels is not None and G.spec.labels == training.labels
    drawn = labels_for_seeds(G.spec, range(160))
    assert drawn is not None
    known = {tuple(row) for row in dataset.labels(range(len(dataset))).tolist()}
    assert {tuple(row) for row in drawn.tolist()} == known
    if labels is UNEVEN:
        assert G.spec.labels.shares == (0.8125, 0.0, 0.1875)
        assert drawn.mean(0).tolist() == pytest.approx(G.spec.labels.shares, abs=0.12)
    # Sheets and snapshots' figures, `generate` and `metrics run` make the same pictures of the same seeds.
    seen = render(G, sample_w(G, range(20, 26)))
    assert torch.allclose(samples(training, 6, seed=20), seen, atol=1e-5)
    assert torch.allclose(next(iter(sample_batches(G, 6, seed=20))), seen.clamp(-1, 1), atol=0.01)
    other = render(G, G.map(torch.zeros(1, G.spec.z_dim), label=drawn[:1] + 1))
    assert (other - render(G, G.map(torch.zeros(1, G.spec.z_dim), label=drawn[:1]))).abs().max() > 1e-4
    save_generator(G, tmp_path / "copy.safetensors")
    assert load_generator(tmp_path / "copy.safetensors", device="cpu").spec == G.spec


def test_it_stays_small(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, VECTORS)
    dataset.classes = torch.randn(5000, 512).numpy()
    dataset.c_dim = 512
    kept = label_prior(dataset, c_dim=512)
    assert kept is not None and len(kept.vectors) == MOST_NUMBERS // 512 and len(json.dumps(kept.to_header())) < 2**20
    assert torch.equal(torch.tensor(kept.vectors[0]), torch.from_numpy(dataset.classes[0])), "not rounded"
    dataset.classes, dataset.c_dim = dataset.classes[:, :3], 3
    kept = label_prior(dataset, c_dim=3)
    assert kept is not None and len(kept.vectors) == MOST_VECTORS
    assert label_prior(dataset, c_dim=4) is None


def test_a_file_without_it_is_as_before_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trained(tmp_path / "run", labelled(tmp_path, VECTORS))
    checkpoint = read_checkpoint(tmp_path / "run" / "generator.safetensors")
    header = {name: value for name, value in checkpoint.header.items() if name not in ("labels", "id")}
    write_checkpoint(tmp_path / "old.safetensors", checkpoint.tensors, header)
    assert read_header(tmp_path / "old.safetensors")["labels"] is None
    with caplog.at_level(logging.WARNING):
        G = load_generator(tmp_path / "old.safetensors", device="cpu")
    assert "does not tell the labels" in caplog.text and G.spec.labels is None
    drawn = labels_for_seeds(G.spec, range(10))
    assert drawn is not None and tuple(drawn.argmax(1).tolist()) == (2, 0, 2, 0, 2, 1, 2, 0, 0, 0)
    assert seeded_classes(G.spec, range(10)) == (2, 0, 2, 0, 2, 1, 2, 0, 0, 0)
    caplog.clear()
    load_generator(tmp_path / "run" / "generator.safetensors", device="cpu")
    assert not caplog.text


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {"shares": [0.5, 0.5], "vectors": [[1.0, 2.0]]},
        {"shares": [0.5, 0.5, 0.0]},
        {"shares": [0.0, 0.0]},
        {"shares": [1.5, -0.5]},
        {"shares": ["a", "b"]},
        {"vectors": []},
        {"vectors": [[1.0]]},
        {"vectors": [[1.0, 1e39]]},
        {"vectors": [[1.0, True]]},
        {"vectors": 3},
    ],
)
def test_damaged_ones_are_refused(labels: dict[str, object], tmp_path: Path) -> None:
    G = random_generator(resolution=16, c_dim=2)
    header = {"kind": "stylegan3", "arguments": G.arguments, "name": "two", "labels": labels}
    write_checkpoint(tmp_path / "G.safetensors", G.state_dict(), header)
    with pytest.raises(CheckpointError, match="'two' keeps"):
        load_generator(tmp_path / "G.safetensors", device="cpu")


def test_lines_of_progress_show_the_strength_that_is() -> None:
    training = Training(small(augment="ada", generator=SMALL | {"num_layers": 4}))
    training.strength.strength = 0.25
    line = _line(training, RunOptions(), 1.0, {"loss/G": 2.0, "augment/strength": 0.125}, None)
    assert "loss/G 2" in line and "augment/strength 0.25" in line

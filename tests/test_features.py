"""The feature network, its bundled weights, and a training run of a few steps."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from smooth_pictures import pictures

from editkit.checkpoints.native import read_checkpoint, read_header, write_checkpoint
from editkit.errors import CheckpointError, TrainingDataError, UsageError
from editkit.networks.features import FeatureNetwork, resize
from editkit.perceptual import bundled_weights, feature_network
from train.faces import Faces
from train.feature_evaluation import evaluate, summary
from train.feature_objectives import instance_loss, ranking_loss
from train.feature_views import DISTORTIONS, distorted, gaussian_blur, random_views
from train.scorers import AGE_BRACKETS, Progress, ScorerConfig, train_scorers, write_features
from train.scorers_cli import register


def toy_faces(count: int = 24) -> Faces:
    random = np.random.default_rng(0)
    points = np.array([[39, 38], [89, 38], [64, 65], [44, 86], [85, 86]], dtype=np.float32)
    return Faces(
        images=random.integers(0, 256, (count, 128, 128, 3), dtype=np.uint8),
        names=tuple(f"{index}.webp" for index in range(count)),
        ages=np.array([AGE_BRACKETS[index % 6] for index in range(count)]),
        genders=np.array(["Female", "Male"] * (count // 2)),
        yaw=random.uniform(-0.16, 0.16, count).astype(np.float32),
        landmarks=points + random.normal(0, 1, (count, 5, 2)).astype(np.float32),
        is_evaluation=np.arange(count) % 10 == 0,
    )


def test_bundled_file_is_small_and_says_what_it_is() -> None:
    header = read_header(bundled_weights())
    assert header["kind"] == "features" and header["alignment"] == "faces128" and "FairFace" in header["licence"]
    assert header["training"]["evaluation"]["attributes"]["gender_accuracy"] > 0.8
    assert bundled_weights().stat().st_size < 3e6
    assert bundled_weights().with_suffix(".md").is_file()


def test_shapes_at_several_sizes() -> None:
    network = feature_network()
    for size in (64, 96, 128):
        sides = [stage.shape[2] for stage in network.stages(pictures(1, size))]
        assert sides == [size, size // 2, size // 4, size // 8, size // 16]
    assert network.stages(pictures(1, 16))[0].shape[2] == 32  # enlarged to the least side
    assert network.embed(pictures(3, 100)).shape == (3, 256)
    found = network.attributes(pictures(3, 256))
    assert found.age_logits.shape == (3, 6) and found.landmarks.shape == (3, 5, 2) and found.yaw.shape == (3,)


def test_a_picture_does_not_depend_on_its_batch() -> None:
    network, images = feature_network(), pictures(5)
    together = network.embed(images)
    alone = torch.cat([network.embed(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_small_shifts_change_features_smoothly() -> None:
    """Low-pass filtered halving: moving by one pixel changes the pooled features little, against another picture."""
    network, image = feature_network(), pictures(2, 96)
    first, moved = image[:, :, :, 8:72], image[:, :, :, 9:73]
    base = network.embed(first[:, :, :64])
    change = (network.embed(moved[:, :, :64]) - base).norm(dim=1)
    assert (change < 0.5 * (base[0] - base[1]).norm()).all()


def test_the_network_is_frozen_and_shared_whatever_the_mode() -> None:
    with torch.inference_mode():
        network = feature_network()
    assert network is feature_network() and not any(p.requires_grad for p in network.parameters())
    image = pictures(1).requires_grad_()
    network.embed(image).sum().backward()
    assert image.grad is not None and image.grad.abs().max() > 0


@pytest.mark.parametrize("bad", [torch.zeros(3, 64, 64), torch.zeros(1, 4, 64, 64), torch.zeros(1, 3, 64, 64).byte()])
def test_images_of_the_wrong_kind(bad: torch.Tensor) -> None:
    with pytest.raises(UsageError, match=r"\[N, 3, H, W\]"):
        feature_network().embed(bad)


def test_networks_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="five positive"):
        FeatureNetwork(widths=(8, 8))


def test_weights_of_another_kind_or_shape(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        feature_network(weights=tmp_path / "absent.safetensors")
    checkpoint = read_checkpoint(bundled_weights())
    write_checkpoint(tmp_path / "landmarks.safetensors", checkpoint.tensors, {"kind": "landmarks"})
    with pytest.raises(CheckpointError, match="'landmarks', a features file is needed"):
        feature_network(weights=tmp_path / "landmarks.safetensors")
    arguments = {"widths": [8, 8, 8, 8, 8], "embedding_dim": 16}
    write_checkpoint(tmp_path / "thin.safetensors", checkpoint.tensors, {"kind": "features", "arguments": arguments})
    with pytest.raises(CheckpointError, match="does not fit"):
        feature_network(weights=tmp_path / "thin.safetensors")


def test_resize_keeps_the_mean_and_the_gradient() -> None:
    image = pictures(1, 128).requires_grad_()
    small = resize(image, (64, 64))
    torch.testing.assert_close(small.mean(), image.mean())
    small.sum().backward()
    torch.testing.assert_close(image.grad, torch.full_like(image, 0.25))


def test_views_move_the_landmarks_with_the_picture() -> None:
    """A bright dot at a landmark is where the view says that landmark is."""
    pixels = torch.zeros(12, 3, 128, 128, dtype=torch.uint8)
    pixels[:, :, 60:64, 44:48] = 255  # its centre is (46, 62)
    points = torch.tensor([46.0, 62.0]).expand(12, 5, 2) / 128
    views = random_views(pixels, points, torch.full((12,), 0.1), torch.Generator().manual_seed(0))
    light = (views.images.mean(1) + 1).clamp(min=0)
    light = torch.where(light > 0.5 * light.amax((1, 2), keepdim=True), light, 0)
    x = (light.sum(1) * (torch.arange(64) + 0.5)).sum(1) / light.sum((1, 2)) / 64
    y = (light.sum(2) * (torch.arange(64) + 0.5)).sum(1) / light.sum((1, 2)) / 64
    assert (torch.stack([x, y], 1) - views.landmarks[:, 0]).abs().median() < 0.6 / 64
    mirrored = views.yaw < 0
    assert mirrored.any() and not mirrored.all()
    assert (views.landmarks[mirrored, 0, 0] > 0.5).all() and (views.landmarks[~mirrored, 0, 0] < 0.5).all()


def test_distortions_grow_with_visibility_and_stay_in_range() -> None:
    images = pictures(4)
    for kind in DISTORTIONS:
        sizes = []
        for visibility in (0.1, 0.4, 1.6):
            changed = kind(images, torch.full((4,), visibility), torch.Generator().manual_seed(0))
            assert changed.shape == images.shape
            sizes.append(float((changed - images).square().mean()))
        assert sizes[0] < sizes[1] < sizes[2], kind.__name__
    changed, visibility = distorted(images, torch.Generator().manual_seed(0))
    assert changed.abs().max() <= 1 and ((visibility >= 0.1) & (visibility <= 1.6)).all()


def test_blur_of_nothing_is_nothing() -> None:
    images = pictures(2)
    torch.testing.assert_close(gaussian_blur(images, torch.zeros(2)), images)


def test_losses_reward_what_they_should() -> None:
    strengths = torch.tensor([0.1, 0.4, 1.6])
    assert ranking_loss(strengths, strengths) < 0.1 * ranking_loss(strengths.flip(0), strengths)
    same = F.normalize(torch.eye(4), dim=1)
    assert instance_loss(same, same) < 0.1 * instance_loss(same, same.roll(1, 0))


def test_a_short_run_trains_and_its_file_loads(tmp_path: Path) -> None:
    config = ScorerConfig(steps=2, batch=4, snapshot=tmp_path / "snapshot.safetensors")
    faces = toy_faces()
    network, progress = train_scorers(faces, config)
    assert progress.step == 2 and progress.photos == 8
    weights = network.channel_weights
    assert weights.shape == (2, 384) and (weights > 0).all() and not torch.equal(weights[0], weights[1])
    path = tmp_path / "features.safetensors"
    write_features(path, network, faces=faces, data="toy", progress=progress, evaluation={"photos": 3})
    again = feature_network(weights=path)
    torch.testing.assert_close(again.embed(pictures(1)), network.embed(pictures(1)), rtol=2e-2, atol=2e-2)
    assert read_header(path)["training"]["trained_on"] == 21


def test_judging_reports_every_figure() -> None:
    result = evaluate(feature_network(), toy_faces(120))
    assert result["photos"] == 12
    monotone, fd = result["monotone"], result["fd_faces"]
    assert isinstance(monotone, dict) and isinstance(fd, dict)
    assert monotone["noisy"]["mean_distance"][0] < monotone["noisy"]["mean_distance"][-1]
    assert fd["blur 2 px"] > fd["photos"]
    assert any(line.startswith("attributes: gender_accuracy") for line in summary(result))
    with pytest.raises(TrainingDataError, match="ten or more"):
        evaluate(feature_network(), toy_faces(50))


def test_the_command_trains_and_judges(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    with pytest.raises(SystemExit):  # neither --out nor --evaluate
        parser.parse_args(["scorers", "--data", "faces.zip"])
    args = parser.parse_args(
        ["scorers", "--data", str(tmp_path / "none.zip"), "--out", str(tmp_path / "f.safetensors")]
    )
    with pytest.raises(TrainingDataError, match="Cannot read"):
        args.run(args)
    assert not list(tmp_path.iterdir())


def test_training_data_that_will_not_do() -> None:
    with pytest.raises(TrainingDataError, match="16 or more"):
        train_scorers(toy_faces(10), ScorerConfig(steps=1))
    with pytest.raises(UsageError, match="steps >= 1"):
        ScorerConfig(steps=0)
    assert Progress(step=0, photos=0, seconds=0.0, losses={}).step == 0

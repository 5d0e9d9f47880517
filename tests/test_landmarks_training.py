"""Data and training of the landmark network: face sets, samples, the split that it never sees, the command."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from face_set_fixtures import faces_zip

from editkit.crops import FACES128_POINTS
from editkit.errors import TrainingDataError
from editkit.networks.landmarks import (
    LandmarkNetwork,
)
from train.faces import load_faces
from train.landmark_negatives import _shuffled, negative_tiles
from train.landmark_samples import (
    MAX_ROTATION,
    MAX_SHIFT,
    SCALES,
    evaluation_samples,
    full_pose,
    make_pose,
    near_pose,
    place,
    wrong_pose,
)
from train.landmarks import LandmarkTraining, _Batches, evaluate, train


def test_load_faces(tmp_path: Path) -> None:
    path = faces_zip(tmp_path / "faces.zip")
    found = load_faces(path)
    assert found.images.shape == (24, 128, 128, 3)
    assert found.images[7, 0, 0].tolist() == [7, 120, 90]
    assert found.is_evaluation.nonzero()[0].tolist() == [0, 10, 20]
    assert found.landmarks.shape == (24, 5, 2)
    assert (found.names[3], found.ages[3], found.genders[3]) == ("00000/face000003.webp", "20-29", "Female")
    assert load_faces(path, resolution=32, limit=5).images.shape == (5, 32, 32, 3)


def test_damaged_face_sets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match="Cannot read"):
        load_faces(tmp_path / "none.zip")
    (tmp_path / "text.zip").write_text("words")
    with pytest.raises(TrainingDataError, match="Cannot read"):
        load_faces(tmp_path / "text.zip")
    with pytest.raises(TrainingDataError, match="yaw"):
        load_faces(faces_zip(tmp_path / "column.zip", drop="yaw"))
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("readme.txt", "no labels")
    with pytest.raises(TrainingDataError, match=r"labels\.csv"):
        load_faces(tmp_path / "empty.zip")


@pytest.mark.parametrize("mirror", [False, True])
def test_points_move_with_their_picture(mirror: bool) -> None:
    """The brightest place of a moved picture is where the moved point says."""
    y, x = torch.meshgrid(torch.arange(128) + 0.5, torch.arange(128) + 0.5, indexing="ij")
    nose = torch.tensor([0.6, 0.4])
    source = torch.exp(-((x - 128 * nose[0]) ** 2 + (y - 128 * nose[1]) ** 2) / 18).expand(1, 3, -1, -1)
    pose = make_pose(
        degrees=torch.tensor([20.0]),
        scale=torch.tensor([1.2]),
        shift=torch.tensor([[0.05, -0.1]]),
        mirror=torch.tensor([mirror]),
    )
    points = torch.tensor(FACES128_POINTS)[None].clone()
    points[0, 2] = nose
    moved = place(source, pose, torch.Generator().manual_seed(1), fillers=torch.zeros(1, 3, 128, 128), size=128)[0, 0]
    peak = divmod(int(moved.argmax()), 128)
    placed = pose.apply(points)[0]
    assert placed[2].tolist() == pytest.approx([(peak[1] + 0.5) / 128, (peak[0] + 0.5) / 128], abs=0.01)
    assert float(placed[0, 0]) < float(placed[1, 0])  # left stays left, mirrored or not
    assert float(placed[1, 1]) < float(placed[0, 1])  # counter-clockwise as seen: the right eye rises


def test_poses_stay_within_what_they_state() -> None:
    rng = torch.Generator().manual_seed(0)
    pose = full_pose(4000, rng)
    scale = torch.linalg.det(pose.matrix).abs().sqrt()
    turn = torch.rad2deg(torch.atan2(pose.matrix[:, 0, 1], pose.matrix[:, 1, 1])).abs()
    assert SCALES[0] <= float(scale.min()) < SCALES[0] + 0.02
    assert SCALES[1] - 0.02 < float(scale.max()) <= SCALES[1] + 1e-5
    assert MAX_ROTATION - 1 < float(turn.max()) <= MAX_ROTATION + 1e-3
    assert MAX_SHIFT - 0.01 < float(pose.shift.abs().max()) <= MAX_SHIFT
    near = near_pose(4000, rng)
    assert float(near.shift.std()) < 0.03
    wrong = wrong_pose(4000, rng)
    points = wrong.apply(torch.tensor(FACES128_POINTS).expand(4000, 5, 2))
    eyes = points[:, 1] - points[:, 0]
    well = (points.mean(1) - 0.5).abs().amax(1) < 0.2
    fitting = well & (eyes.norm(dim=1) > 0.25) & (eyes.norm(dim=1) < 0.55) & (points[:, 3, 1] > points[:, 0, 1])
    assert float(fitting.float().mean()) < 0.03


def test_negatives() -> None:
    rng = np.random.default_rng(0)
    face = rng.integers(0, 256, (128, 128, 3), dtype=np.uint8)
    assert all((_shuffled(face, rng) != face).mean() > 0.4 for _ in range(40))
    tiles = negative_tiles(face[None], count=8, seed=3)
    assert tiles.shape == (8, 128, 128, 3)
    assert np.array_equal(tiles, negative_tiles(face[None], count=8, seed=3))


def test_training_never_sees_the_evaluation_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.landmarks.negative_tiles", _few_tiles)
    batches = _Batches(
        load_faces(faces_zip(tmp_path / "faces.zip")), LandmarkTraining(full=6, near=2, wrong=2, empty=2)
    )
    assert set(batches.images[:, 0, 0, 0]) == set(range(24)) - {0, 10, 20}
    images, points, labels = batches.draw()
    assert images.shape == (12, 3, 64, 64)
    assert points.shape == (8, 5, 2)
    assert labels.tolist() == [1.0] * 8 + [0.0] * 4
    assert float(images.min()) >= -1
    assert float(images.max()) <= 1


def test_training_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.landmarks.negative_tiles", _few_tiles)
    faces = load_faces(faces_zip(tmp_path / "faces.zip"))
    steps: list[int] = []
    config = LandmarkTraining(steps=30, full=0, near=12, wrong=2, empty=2, average=0.5)
    network = train(faces, config, on_report=lambda step, _: steps.append(step))
    assert steps == [30]
    images, points, labels = _Batches(faces, config).draw()
    with torch.no_grad():
        before, after = LandmarkNetwork().eval()(images), network(images)
    errors = [float((found.points[:12] - points).norm(dim=2).mean()) for found in (before, after)]
    assert errors[1] < 0.9 * errors[0]
    assert float(after.logit[labels == 1].mean()) > float(after.logit[labels == 0].mean())


def test_evaluation_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.landmarks.negative_tiles", _few_tiles)
    report = evaluate(load_faces(faces_zip(tmp_path / "faces.zip")), LandmarkNetwork().eval(), looks=1)
    assert report.photos == 3
    assert report.constant > 0.1
    assert report.error == pytest.approx(report.one_look, rel=1e-3)  # one look at the whole picture is one pass over it
    assert 0 <= report.phantoms <= 1


def test_evaluation_samples_are_fixed(tmp_path: Path) -> None:
    faces = load_faces(faces_zip(tmp_path / "faces.zip"))
    first, second = evaluation_samples(faces, seed=5), evaluation_samples(faces, seed=5)
    assert torch.equal(first.pictures, second.pictures)
    assert torch.equal(first.points, second.points)
    assert first.pictures.shape == (3, 3, 128, 128)
    assert torch.equal(first.pose.apply(torch.from_numpy(faces.landmarks[::10]) / 128), first.points)
    assert not torch.equal(first.points, evaluation_samples(faces, seed=6).points)


def _few_tiles(faces: np.ndarray, *, count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (min(count, 8), 128, 128, 3), dtype=np.uint8)


def test_command_reports_a_missing_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from editkit.cli import main

    missing = ["--data", str(tmp_path / "none.zip"), "--evaluate", str(tmp_path / "none.safetensors")]
    assert main(["train", "landmarks", *missing]) == 1
    assert "Cannot read" in capsys.readouterr().err

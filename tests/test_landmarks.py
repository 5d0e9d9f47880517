"""The landmark network, its training samples, and finding faces with it."""

import csv
import io
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from editkit.alignment import align
from editkit.checkpoints.native import write_checkpoint
from editkit.crops import FACES128_POINTS
from editkit.errors import CheckpointError, NoFaceError, TrainingDataError
from editkit.faces import face_in_box, find_faces, refine
from editkit.networks.landmarks import (
    LandmarkNetwork,
    LandmarkPrediction,
    _expectation,
    landmark_weights,
    load_landmark_network,
)
from editkit.photo import Photo, read_photo, sample_photo
from train.faces import POINTS, bracket_midpoints, load_faces
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

# Eyes, nose and mouth corners of the astronaut, read off an enlargement by eye.
ASTRONAUT = torch.tensor([[203.8, 101.2], [246.8, 103.8], [225.0, 127.5], [205.8, 141.2], [243.8, 141.3]]).double()


# --- network ----------------------------------------------------------------------------------------------------------


def test_shapes_and_ranges() -> None:
    found = LandmarkNetwork().eval()(torch.randn(3, 3, 64, 64))
    assert found.points.shape == (3, 5, 2)
    assert found.spread.shape == (3, 5)
    assert found.logit.shape == (3,)
    assert bool(((found.points > 0) & (found.points < 1)).all())
    assert bool(((found.confidence > 0) & (found.confidence < 1)).all())


def test_expectation_of_known_maps() -> None:
    """One hot cell gives its centre and no spread; two equal ones the middle, and their half distance."""
    maps = torch.full((1, 2, 8, 16), -100.0)
    maps[0, 0, 2, 5] = 100
    maps[0, 1, 4, 2] = maps[0, 1, 4, 10] = 100
    points, spread = _expectation(maps)
    assert points[0, 0].tolist() == pytest.approx([5.5 / 16, 2.5 / 8])
    assert points[0, 1].tolist() == pytest.approx([6.5 / 16, 4.5 / 8])
    assert spread[0].tolist() == pytest.approx([0, 4 / 16], abs=1e-5)


def test_bundled_weights() -> None:
    assert landmark_weights().stat().st_size < 2_000_000
    network = load_landmark_network()
    assert network is load_landmark_network()
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_other_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="none"):
        load_landmark_network(tmp_path / "none.safetensors")
    write_checkpoint(tmp_path / "kind.safetensors", {"a": torch.zeros(2)}, {"kind": "features"})
    with pytest.raises(CheckpointError, match="'features'"):
        load_landmark_network(tmp_path / "kind.safetensors")
    write_checkpoint(tmp_path / "shape.safetensors", {"a": torch.zeros(2)}, {"kind": "landmarks"})
    with pytest.raises(CheckpointError, match="does not fit"):
        load_landmark_network(tmp_path / "shape.safetensors")


# --- finding faces ----------------------------------------------------------------------------------------------------


def _error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm(dim=1).mean() / (expected[1] - expected[0]).norm())


def test_astronaut() -> None:
    found = find_faces(sample_photo().image)
    assert len(found) == 1
    assert _error(found[0].points, ASTRONAUT) < 0.08
    assert found[0].confidence > 0.9


@pytest.mark.parametrize("degrees", [-35.0, 25.0])
def test_tilted_face(degrees: float) -> None:
    picture = Image.fromarray(_uint8(sample_photo())).rotate(degrees, Image.Resampling.BICUBIC, fillcolor=(90, 90, 90))
    angle = math.radians(-degrees)  # Pillow turns counter-clockwise as seen
    matrix = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]).double()
    expected = (ASTRONAUT - 256) @ matrix.T + 256
    found = find_faces(_float(picture))
    assert _error(found[0].points, expected) < 0.1


def test_tight_crop_and_large_photo() -> None:
    picture = Image.fromarray(_uint8(sample_photo()))
    tight = find_faces(_float(picture.crop((176, 74, 276, 174)).resize((90, 90))))
    assert _error(tight[0].points, (ASTRONAUT - torch.tensor([176, 74])) * 0.9) < 0.1
    large = find_faces(_float(picture.resize((2400, 2400), Image.Resampling.BICUBIC)))
    assert len(large) == 1
    assert _error(large[0].points, ASTRONAUT * 2400 / 512) < 0.08


def test_several_faces_are_sorted_by_size() -> None:
    picture = Image.fromarray(_uint8(sample_photo()))
    sheet = Image.new("RGB", (620, 400), (120, 130, 140))
    sheet.paste(picture.crop((120, 20, 320, 220)), (20, 60))
    sheet.paste(picture.crop((120, 20, 320, 220)).resize((300, 300), Image.Resampling.BICUBIC), (280, 40))
    found = find_faces(_float(sheet))
    assert len(found) == 2
    assert _error(found[0].points, (ASTRONAUT - torch.tensor([120, 20])) * 1.5 + torch.tensor([280, 40])) < 0.1
    assert _error(found[1].points, ASTRONAUT - torch.tensor([100, -40])) < 0.1


@pytest.mark.parametrize("name", ["coffee.png", "rocket.jpg", "brick.png", "noise"])
def test_no_face_where_there_is_none(name: str) -> None:
    import skimage.data

    if name == "noise":
        photo = Photo(image=torch.rand(1, 3, 200, 220) * 2 - 1)
    else:
        photo = read_photo(Path(skimage.data.__file__).parent / name)
    with pytest.raises(NoFaceError, match="--align centre"):
        align(photo, 64)


def test_face_in_a_box() -> None:
    image = sample_photo().image
    found = face_in_box(image, (170, 60, 110, 120))
    assert found is not None
    assert _error(found.points, ASTRONAUT) < 0.08
    assert face_in_box(image, (380, 360, 100, 100)) is None


def test_align_brings_the_face_to_the_data_sets_place() -> None:
    found = align(sample_photo(), 128)
    matrix = found.alignment.photo_to_crop
    placed = ASTRONAUT @ matrix[:2, :2].T + matrix[:2, 2]
    assert _error(placed, torch.tensor(FACES128_POINTS).double() * 128) < 0.2


class _Brightest(torch.nn.Module):
    """A network whose points are all the centroid of what is bright."""

    def forward(self, images: torch.Tensor) -> LandmarkPrediction:
        weight = images.mean(1).clamp_min(0)
        weight = weight / weight.sum((1, 2), keepdim=True)
        axis = (torch.arange(64) + 0.5) / 64
        point = torch.stack(((weight.sum(1) * axis).sum(1), (weight.sum(2) * axis).sum(1)), 1)
        return LandmarkPrediction(
            points=point[:, None].expand(-1, 5, -1), spread=torch.zeros(len(images), 5), logit=torch.zeros(len(images))
        )


@pytest.mark.parametrize("side", [40.0, 200.0, 700.0])
def test_what_a_look_sees_is_mapped_back(side: float) -> None:
    """At each level of the pyramid, crops and points must agree about where things are."""
    y, x = torch.meshgrid(torch.arange(600) + 0.5, torch.arange(800) + 0.5, indexing="ij")
    picture = (2 * torch.exp(-((x - 301) ** 2 + (y - 222) ** 2) / (2 * (side / 16) ** 2)) - 1).expand(1, 3, -1, -1)
    box = torch.tensor([[301 - 0.4 * side, 222 - 0.55 * side, side, side]], dtype=torch.float64)
    seen = refine(_Brightest(), picture, box, looks=1)  # type: ignore[arg-type]
    assert torch.allclose(seen.points[0, 0], torch.tensor([301.0, 222.0]).double(), atol=0.01 * side)


def _uint8(photo: Photo) -> np.ndarray:
    return ((photo.image[0].permute(1, 2, 0) + 1) * 127.5).round().to(torch.uint8).numpy()


def _float(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1


# --- training ---------------------------------------------------------------------------------------------------------


def _faces_zip(path: Path, *, count: int = 24, drop: str | None = None) -> Path:
    """Blank faces: coloured dots at jittered landmarks on a plain ground."""
    rng = np.random.default_rng(0)
    table = io.StringIO()
    columns = ["file", "age", "gender", "yaw", "sharpness"] + [f"{point}_{axis}" for point in POINTS for axis in "xy"]
    writer = csv.DictWriter(table, [column for column in columns if column != drop], extrasaction="ignore")
    writer.writeheader()
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(count):
            points = np.array(FACES128_POINTS) * 128 + rng.normal(0, 1, (5, 2))
            picture = Image.new("RGB", (128, 128), (index, 120, 90))
            for number, (x, y) in enumerate(points):
                picture.paste((250, 50 * number, 10), (int(x) - 6, int(y) - 6, int(x) + 6, int(y) + 6))
            stream = io.BytesIO()
            picture.save(stream, "WEBP", lossless=True)
            name = f"00000/face{index:06d}.webp"
            archive.writestr(name, stream.getvalue())
            values = {f"{p}_{a}": f"{v:.2f}" for p, point in zip(POINTS, points) for a, v in zip("xy", point)}
            writer.writerow({"file": name, "age": "20-29", "gender": "Female", "yaw": 0.01, "sharpness": 9, **values})
        archive.writestr("labels.csv", table.getvalue())
    return path


def test_load_faces(tmp_path: Path) -> None:
    path = _faces_zip(tmp_path / "faces.zip")
    found = load_faces(path)
    assert found.images.shape == (24, 128, 128, 3)
    assert found.images[7, 0, 0].tolist() == [7, 120, 90]
    assert found.is_evaluation.nonzero()[0].tolist() == [0, 10, 20]
    assert found.landmarks.shape == (24, 5, 2)
    assert (found.names[3], found.ages[3], found.genders[3]) == ("00000/face000003.webp", "20-29", "Female")
    assert load_faces(path, resolution=32, limit=5).images.shape == (5, 32, 32, 3)
    assert bracket_midpoints(np.array(["20-29", "more than 70"])).tolist() == [24.5, 75.0]


def test_damaged_face_sets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match="Cannot read"):
        load_faces(tmp_path / "none.zip")
    (tmp_path / "text.zip").write_text("words")
    with pytest.raises(TrainingDataError, match="Cannot read"):
        load_faces(tmp_path / "text.zip")
    with pytest.raises(TrainingDataError, match="yaw"):
        load_faces(_faces_zip(tmp_path / "column.zip", drop="yaw"))
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
        load_faces(_faces_zip(tmp_path / "faces.zip")), LandmarkTraining(full=6, near=2, wrong=2, empty=2)
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
    faces = load_faces(_faces_zip(tmp_path / "faces.zip"))
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
    report = evaluate(load_faces(_faces_zip(tmp_path / "faces.zip")), LandmarkNetwork().eval(), looks=1)
    assert report.photos == 3
    assert report.constant > 0.1
    assert report.error == pytest.approx(report.one_look, rel=1e-3)  # one look at the whole picture is one pass over it
    assert 0 <= report.phantoms <= 1


def test_evaluation_samples_are_fixed(tmp_path: Path) -> None:
    faces = load_faces(_faces_zip(tmp_path / "faces.zip"))
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

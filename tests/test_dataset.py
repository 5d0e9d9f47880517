"""Reading data sets: folders, official zips, face zips, labels, hostile files."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from dataset_maker import good, write_folder, write_zip
from PIL import Image

from editkit.errors import TrainingDataError, UsageError
from train.dataset import Batch, open_dataset
from train.faces import POINTS

ROOT = Path(__file__).resolve().parents[1]


def pixels_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", 3, side=16)
    good(9, side=16).save(folder / "a.png")
    (folder / "notes.txt").write_text("not a picture")
    dataset = open_dataset(folder)
    assert dataset.names == ("a.png", "p00.png", "p01.png", "p02.png")
    assert (dataset.resolution, dataset.channels, dataset.c_dim, len(dataset)) == (16, 3, 0, 4)
    image, label = dataset[2]
    assert np.array_equal(image, pixels_of(folder / "p01.png")) and label.shape == (0,)
    with pytest.raises(IndexError):
        dataset[4]


def test_the_official_zip_with_classes(tmp_path: Path) -> None:
    pairs = [[f"00000/img{index:08d}.png", index % 3] for index in (3, 1, 0, 2)]  # in any order
    dataset = open_dataset(write_zip(tmp_path / "d.zip", 4, labels=pairs), use_labels=True)
    assert dataset.c_dim == 3
    assert dataset.labels([0, 1, 2, 3]).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]
    batch = dataset.__getitems__([3, 1])
    assert isinstance(batch, Batch) and batch.images.dtype == torch.uint8
    assert batch.images.shape == (2, 16, 16, 3) and batch.labels.dtype == torch.float32
    assert torch.equal(batch.images[1], torch.from_numpy(np.array(good(1, side=16))))
    assert open_dataset(tmp_path / "d.zip").c_dim == 0


def test_vectors_as_labels(tmp_path: Path) -> None:
    pairs = [[f"00000/img{index:08d}.png", [0.5, index]] for index in range(2)]
    dataset = open_dataset(write_zip(tmp_path / "d.zip", 2, labels=pairs), use_labels=True)
    assert dataset.c_dim == 2 and dataset.labels([1]).tolist() == [[0.5, 1.0]]


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 4)])
def test_channels_are_those_of_the_pictures_or_those_asked_for(tmp_path: Path, mode: str, channels: int) -> None:
    path = write_zip(tmp_path / "d.zip", 2, mode=mode)
    assert open_dataset(path)[0][0].shape == (16, 16, channels)
    for wanted in (1, 3, 4):
        assert open_dataset(path, channels=wanted)[0][0].shape == (16, 16, wanted)


def test_alpha_is_kept_in_four_channels_and_white_in_three(tmp_path: Path) -> None:
    for name in "ab":
        Image.new("RGBA", (16, 16), (200, 10, 10, 0)).save(tmp_path / f"{name}.png")
    assert open_dataset(tmp_path)[0][0][0, 0].tolist() == [200, 10, 10, 0]
    assert open_dataset(tmp_path, channels=3)[0][0][0, 0].tolist() == [255, 255, 255]


def test_flips_double_the_data(tmp_path: Path) -> None:
    pairs = [[f"00000/img{index:08d}.png", index] for index in range(3)]
    dataset = open_dataset(write_zip(tmp_path / "d.zip", 3, labels=pairs), xflip=True, use_labels=True)
    assert len(dataset) == 6
    assert np.array_equal(dataset[4][0], dataset[1][0][:, ::-1]) and not np.array_equal(dataset[4][0], dataset[1][0])
    assert dataset[4][1].tolist() == dataset[1][1].tolist()
    assert torch.equal(dataset.__getitems__([4]).images[0], torch.from_numpy(dataset[4][0]))


def test_a_face_zip_leaves_every_tenth_row_for_evaluation(tmp_path: Path) -> None:
    header = ["file", "age", "gender", "yaw", *(f"{point}_{axis}" for point in POINTS for axis in "xy")]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    path = tmp_path / "faces.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(12):
            stream = io.BytesIO()
            good(index, side=16).save(stream, "WEBP", lossless=True)
            archive.writestr(f"00000/face{index:06d}.webp", stream.getvalue())
            writer.writerow([f"00000/face{index:06d}.webp", "20-29", "Female", 0.0, *[1.0] * 10])
        archive.writestr("labels.csv", text.getvalue())
    parts = {part: open_dataset(path, part=part).names for part in ("train", "evaluation", "all")}  # type: ignore[arg-type]
    assert parts["evaluation"] == ("00000/face000000.webp", "00000/face000010.webp")
    assert len(parts["train"]) == 10 and not set(parts["train"]) & set(parts["evaluation"])
    assert sorted(parts["train"] + parts["evaluation"]) == list(parts["all"])
    with pytest.raises(UsageError, match="no evaluation part"):
        open_dataset(write_zip(tmp_path / "d.zip", 2), part="evaluation")


def test_mixed_sizes_are_refused_by_name_and_brought_to_one_on_request(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, 3, side=32)
    good(8, side=64).resize((48, 40)).save(folder / "odd.png")
    with pytest.raises(TrainingDataError, match=r"mixed sizes: 3 of 32 x 32, 1 of 48 x 40"):
        open_dataset(folder)
    dataset = open_dataset(folder, resolution=32)
    assert dataset[0][0].shape == (32, 32, 3) and dataset.names[0] == "odd.png"


def test_pictures_that_are_not_square_are_refused(tmp_path: Path) -> None:
    for name in "ab":
        good(1).resize((40, 24)).save(tmp_path / f"{name}.png")
    with pytest.raises(TrainingDataError, match="40 x 24, not square"):
        open_dataset(tmp_path)


def test_max_images_draws_by_seed(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "d.zip", 8)
    drawn = [open_dataset(path, max_images=4, seed=seed).names for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2] and len(drawn[0]) == 4 and list(drawn[0]) == sorted(drawn[0])


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([["00000/img00000000.png", 0]], "1 of 2 pictures have no label: 00000/img00000001.png"),
        ([[f"00000/img{i:08d}.png", 0] for i in range(3)], "not there: 00000/img00000002.png"),
        ([["00000/img00000000.png", 0], ["00000/img00000001.png", [1.0]]], "all classes or all vectors"),
        ([["00000/img00000000.png", -1], ["00000/img00000001.png", 1]], "an index from 0"),
        ([["00000/img00000000.png", None]], "a class or a list"),
        ([[f"00000/img{i:08d}.png", [10**400]] for i in range(2)], "a class or a list"),
        ("text", "a list of"),
        (None, "no labels"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, pairs: object, message: str) -> None:
    path = write_zip(tmp_path / "d.zip", 2, labels=pairs)
    with pytest.raises(TrainingDataError, match=message):
        open_dataset(path, use_labels=True)


def test_too_little_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match="no pictures"):
        open_dataset(tmp_path)
    write_folder(tmp_path, 1, side=16)
    with pytest.raises(TrainingDataError, match="one picture"):
        open_dataset(tmp_path)
    with pytest.raises(TrainingDataError, match="is one picture"):
        open_dataset(tmp_path / "p00.png")
    with pytest.raises(TrainingDataError, match="there is no"):
        open_dataset(tmp_path / "missing")
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(TrainingDataError, match="no readable zip"):
        open_dataset(tmp_path / "x.zip")


@pytest.mark.parametrize("name", ["../up.png", "/root.png", "a/../../b.png", "C:/x.png", "..\\up.png"])
def test_a_zip_whose_names_lead_outside_is_refused(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / "d.zip", 2)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(TrainingDataError, match="leads outside"):
        open_dataset(path)


def test_a_zip_with_a_link_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "d.zip", 2)
    with zipfile.ZipFile(path, "a") as archive:
        entry = zipfile.ZipInfo("link.png")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(TrainingDataError, match="is a link"):
        open_dataset(path)


def test_decompression_bombs_are_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "d.zip", 2)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("bomb.png", "w") as stream:
        for _ in range(65):
            stream.write(bytes(2**20))
    assert path.stat().st_size < 2**18
    with pytest.raises(TrainingDataError, match=r"bomb.png' would unpack"):
        open_dataset(path)


def test_a_picture_that_claims_absurd_sizes_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, 2, side=16)
    data = bytearray((tmp_path / "p00.png").read_bytes())
    data[16:24] = (100_000).to_bytes(4, "big") * 2
    (tmp_path / "bomb.png").write_bytes(bytes(data))
    with pytest.raises(TrainingDataError, match=r"bomb.png"):
        open_dataset(tmp_path)


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, 2, side=32)
    data = (tmp_path / "p01.png").read_bytes()
    (tmp_path / "p01.png").write_bytes(data[: len(data) // 2])
    dataset = open_dataset(tmp_path)
    with pytest.raises(TrainingDataError, match=r"p01.png is damaged.*dataset build"):
        dataset[1]
    (tmp_path / "p01.png").write_bytes(b"\x89PNG nothing")
    with pytest.raises(TrainingDataError, match=r"p01.png of .* can be read \(of no known format\).*dataset build"):
        open_dataset(tmp_path)


def test_the_hash_is_of_contents_and_options_not_of_the_place(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "d.zip", 3, labels=[[f"00000/img{i:08d}.png", i] for i in range(3)])
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "folder")
    base = open_dataset(path).data_hash
    assert base == open_dataset(tmp_path / "folder").data_hash and len(base) == 32
    others = [
        open_dataset(path, xflip=True).data_hash,
        open_dataset(path, channels=1).data_hash,
        open_dataset(path, resolution=32).data_hash,
        open_dataset(path, max_images=2).data_hash,
        open_dataset(path, use_labels=True).data_hash,
    ]
    good(7, side=16).save(tmp_path / "folder" / "00000" / "img00000001.png")
    others.append(open_dataset(tmp_path / "folder").data_hash)
    assert len({base, *others}) == 7


def test_torch_numpy_and_pillow_alone_are_needed(tmp_path: Path) -> None:
    names = ("skimage", "sklearn", "tqdm", "safetensors", "torchvision", "scipy", "numba", "av", "gradio")
    code = (
        f"import sys\nfor name in {names}: sys.modules[name] = None\n"
        "from train.dataset import open_dataset\nfrom train.dataset_loader import load_batches\n"
        "from train.dataset_build import build_dataset\n"
        "assert len(build_dataset(sys.argv[1], sys.argv[2]).entries) == 3\n"
        "assert next(load_batches(open_dataset(sys.argv[2]), batch=2)).images.shape == (2, 16, 16, 3)"
    )
    command = [sys.executable, "-c", code, str(write_zip(tmp_path / "a.zip", 3)), str(tmp_path / "b.zip")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr

"""``editkit dataset``: building and checking, what is left out, labels."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from dataset_maker import good, write_folder
from PIL import Image, ImageEnhance

from editkit.cli import main
from editkit.command import Output
from editkit.errors import TrainingDataError
from train.dataset import open_dataset
from train.dataset_build import build_dataset, check_dataset
from train.dataset_cli import _progress
from train.dataset_duplicates import NEAR
from train.dataset_measures import likeness_of
from train.dataset_pixels import Crop
from train.dataset_report import Survey, contact_sheet

RESOLUTION = Crop(resolution=32)


def document_of(path: Path) -> dict[str, object]:
    with zipfile.ZipFile(path) as archive:
        found: dict[str, object] = json.loads(archive.read("dataset.json"))
        return found


def skipped(survey: Survey) -> dict[str, list[str]]:
    return {reason: [name for name, _ in pairs] for reason, pairs in survey.skipped.items() if pairs}


def test_the_layout_is_the_official_one(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos" / "deep" / "down", 3)
    survey = build_dataset(tmp_path / "photos", tmp_path / "d.zip", crop=RESOLUTION)
    with zipfile.ZipFile(tmp_path / "d.zip") as archive:
        names = archive.namelist()
        assert names == [*(f"00000/img{index:08d}.png" for index in range(3)), "dataset.json"]
        with Image.open(archive.open(names[1])) as picture:
            expected = Image.open(folder / "p01.png").resize((32, 32), Image.Resampling.LANCZOS)
            assert picture.mode == "RGB" and np.array_equal(np.asarray(picture), np.asarray(expected))
    assert document_of(tmp_path / "d.zip")["labels"] is None
    assert survey.entries[1] == ("00000/img00000001.png", "deep/down/p01.png")
    dataset = open_dataset(tmp_path / "d.zip")
    assert (len(dataset), dataset.resolution, dataset.channels) == (3, 32, 3)


@pytest.mark.parametrize("workers", [1, 3])
def test_the_result_is_the_same_whatever_the_workers(tmp_path: Path, workers: int) -> None:
    folder = write_folder(tmp_path / "photos", 6)
    build_dataset(folder, tmp_path / "a.zip", crop=RESOLUTION, workers=workers)
    build_dataset(folder, tmp_path / "b.zip", crop=RESOLUTION, workers=2)
    hashes = {open_dataset(tmp_path / name).data_hash for name in ("a.zip", "b.zip")}
    assert len(hashes) == 1


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
@pytest.mark.parametrize("kind", ["png", "webp"])
def test_channels_and_formats_keep_every_pixel(tmp_path: Path, channels: int, mode: str, kind: str) -> None:
    for seed in range(2):
        picture = good(seed, side=32).convert("RGBA")
        picture.putalpha(Image.linear_gradient("L").resize((32, 32)))
        (tmp_path / "photos").mkdir(exist_ok=True)
        picture.save(tmp_path / "photos" / f"{seed}.png")
    build_dataset(tmp_path / "photos", tmp_path / "d.zip", channels=channels, kind=kind)  # type: ignore[arg-type]
    dataset = open_dataset(tmp_path / "d.zip", channels=channels)
    with (
        zipfile.ZipFile(tmp_path / "d.zip") as archive,
        Image.open(archive.open(f"00000/img00000000.{kind}")) as stored,
    ):
        assert channels == 1 or stored.mode == mode
    original = Image.open(tmp_path / "photos" / "0.png")
    if channels != 4:
        ground = Image.new("RGBA", original.size, "white")
        original = Image.composite(original.convert("RGB"), ground.convert("RGB"), original.getchannel("A"))
    expected = np.asarray(original.convert(mode)).reshape(32, 32, channels)
    assert np.array_equal(dataset[0][0], expected)


def test_any_readable_format_goes_in_upright_and_in_eight_bits(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    base = good(0, side=32)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    base.save(folder / "a.jpg", quality=100, subsampling=0, exif=exif)
    Image.fromarray(np.asarray(base.convert("L")).astype(np.uint16) * 257).save(folder / "b.png")
    good(1, side=32).convert("CMYK").save(folder / "c.tif")
    good(2, side=32).convert("P").save(folder / "d.gif")
    good(3, side=32).save(folder / "e.bmp")
    survey = build_dataset(folder, tmp_path / "d.zip")
    assert len(survey.entries) == 5
    dataset = open_dataset(tmp_path / "d.zip")
    turned = np.rot90(np.asarray(base), -1).astype(int)
    assert np.abs(dataset[0][0] - turned).mean() < 2
    assert np.array_equal(dataset[1][0][:, :, 0], np.asarray(base.convert("L")))


def test_centre_and_wide_crops(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(2):
        good(seed, side=128).crop((0, 0, 128, 64)).save(folder / f"{seed}.png")
    build_dataset(folder, tmp_path / "centre.zip")
    image = open_dataset(tmp_path / "centre.zip")[0][0]
    assert np.array_equal(image, np.asarray(Image.open(folder / "0.png"))[:, 32:96])
    wide = build_dataset(folder, tmp_path / "wide.zip", crop=Crop(kind="wide", resolution=32, aspect=(2, 1)))
    image = open_dataset(tmp_path / "wide.zip")[0][0]
    assert image.shape == (32, 32, 3) and not image[:8].any() and not image[24:].any() and image[8:24].any()
    assert "wide-bars" in {finding.code for finding in wide.warnings}


def test_face_crops_leave_out_pictures_without_a_face(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", 1)
    astronaut = Image.fromarray(skimage.data.astronaut())
    astronaut.save(folder / "x.png")
    astronaut.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "y.png")
    survey = build_dataset(folder, tmp_path / "d.zip", crop=Crop(kind="face", resolution=64))
    assert skipped(survey) == {"no face": ["p00.png"]}
    assert [original for _, original in survey.entries] == ["x.png", "y.png"]
    first, second = (open_dataset(tmp_path / "d.zip")[index][0].astype(int) for index in range(2))
    assert np.abs(first - second[:, ::-1]).mean() < 12 < np.abs(first - second).mean()  # both eyes at one place


def test_broken_files_small_ones_and_duplicates_are_listed_and_left_out(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", 4)
    shutil.copy(folder / "p00.png", folder / "q_same.png")
    good(1).save(folder / "q_same_pixels.bmp")
    ImageEnhance.Brightness(good(2)).enhance(1.1).save(folder / "r_near.jpg", quality=90)
    (folder / "s_text.jpg").write_text("this is no picture")
    data = (folder / "p03.png").read_bytes()
    (folder / "t_cut.png").write_bytes(data[: len(data) // 2])
    (folder / "u_empty.png").write_bytes(b"")
    good(9, side=40).save(folder / "v_small.png")
    survey = build_dataset(folder, tmp_path / "d.zip", crop=RESOLUTION, min_side=48)
    assert skipped(survey) == {
        "broken": ["s_text.jpg", "t_cut.png", "u_empty.png"],
        "too small": ["v_small.png"],
        "duplicate": ["q_same.png", "q_same_pixels.bmp"],
        "near duplicate": ["r_near.jpg"],
    }
    assert [original for _, original in survey.entries] == ["p00.png", "p01.png", "p02.png", "p03.png"]
    kept = build_dataset(folder, tmp_path / "all.zip", crop=RESOLUTION, near=0)
    assert "near duplicate" not in skipped(kept)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of POSIX")
def test_a_named_pipe_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It waits for somebody to write into it. A process of its own, which can be ended if it waits."""
    folder = write_folder(tmp_path / "photos", 3)
    os.mkfifo(folder / "x.png")
    (folder / "dataset.json").symlink_to(folder / "pipe")
    os.mkfifo(folder / "pipe")
    (folder / "y.png").symlink_to(tmp_path / "gone.png")
    (folder / "z.png").symlink_to("/dev/zero")  # would be read for ever
    words = ["-m", "editkit", "dataset", "build", folder, "--out", tmp_path / "d.zip", "--resolution", "32", "--json"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    named = {reason: [name for name, _ in pairs] for reason, pairs in found["skipped"].items() if pairs}
    assert named == {"broken": ["y.png"], "not a file": ["x.png", "z.png"]} and found["files"] == 6
    checked = check_dataset(folder)
    assert skipped(checked) == named and not any("x.png" in problem for problem in checked.problems)
    (folder / "y.png").unlink()
    with caplog.at_level("WARNING"):
        assert open_dataset(folder).names == ("p00.png", "p01.png", "p02.png")
    assert "2 are no files and are left out, such as x.png" in caplog.text
    os.mkfifo(tmp_path / "data.zip")
    with pytest.raises(TrainingDataError, match="a named pipe or a device"):
        open_dataset(tmp_path / "data.zip")


def test_other_objects_on_one_background_are_no_duplicates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the hash alone four of these discs are near copies of others; one real copy, a brighter one, is left out."""
    rng, (y, x) = np.random.default_rng(0), np.mgrid[:32, :32] / 32
    folder, hashes = tmp_path / "discs", []
    folder.mkdir()
    for index in range(128):
        centre, radius, colour = rng.uniform(0.3, 0.7, 2), rng.uniform(0.1, 0.3), rng.uniform(0, 255, 3)
        inside = np.clip((radius - np.hypot(x - centre[0], y - centre[1])) * 32 / 1.5 + 0.5, 0, 1)[..., None]
        ground = np.array([40, 60, 80]) * (0.5 + x[..., None] / 2)
        pixels = (inside * colour + (1 - inside) * ground).astype(np.uint8)
        hashes.append(np.unpackbits(np.frombuffer(likeness_of(pixels), np.uint8)))
        Image.fromarray(pixels).save(folder / f"{index:03d}.png")
    assert sum((a != b).sum() <= NEAR for i, a in enumerate(hashes) for b in hashes[:i]) >= 4
    with Image.open(folder / "001.png") as picture:
        ImageEnhance.Brightness(picture).enhance(1.1).save(folder / "copy.png")
    assert main(["dataset", "build", str(folder), "--out", str(tmp_path / "d.zip")]) == 0
    assert "left out: 1 near duplicate (--near 0 keeps near duplicates)" in capsys.readouterr().out
    assert len(open_dataset(tmp_path / "d.zip")) == 128


def test_labels_from_folders_keep_their_names(tmp_path: Path) -> None:
    for name, seeds in (("dog", (0, 1)), ("cat", (2,))):
        (tmp_path / "animals" / name / "more").mkdir(parents=True)
        for seed in seeds:
            good(seed).save(tmp_path / "animals" / name / "more" / f"{seed}.png")
    survey = build_dataset(tmp_path / "animals", tmp_path / "d.zip", labels="folders")
    found = document_of(tmp_path / "d.zip")
    assert [label for _, label in found["labels"]] == [0, 1, 1]  # type: ignore[attr-defined]
    assert found["class_names"] == ["cat", "dog"] and survey.classes == {"cat": 1, "dog": 2}
    dataset = open_dataset(tmp_path / "d.zip", use_labels=True)
    assert dataset.class_names == ("cat", "dog") and dataset.c_dim == 2
    again = build_dataset(tmp_path / "d.zip", tmp_path / "e.zip")  # a data set's labels go with it
    assert again.classes == survey.classes
    good(5).save(tmp_path / "animals" / "loose.png")
    with pytest.raises(TrainingDataError, match=r"no sub-folder.*loose.png"):
        build_dataset(tmp_path / "animals", tmp_path / "f.zip", labels="folders")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("l.csv", "file,kind\np00.png,red\np01.png,blue\n", [1, 0]),
        ("l.csv", "kind,name\n3,p00.png\n0,p01.png\n", [3, 0]),
        ("l.csv", "image,x,y\np00.png,0.5,1\np01.png,2,3\n", [[0.5, 1.0], [2.0, 3.0]]),
        ("l.json", '{"p00.png": "b", "p01.png": "a"}', [1, 0]),
        ("l.json", '{"labels": [["./p00.png", [1, 2]], ["p01.png", [3, 4]]]}', [[1.0, 2.0], [3.0, 4.0]]),
    ],
)
def test_labels_from_files(tmp_path: Path, name: str, text: str, expected: list[object]) -> None:
    folder = write_folder(tmp_path / "photos", 2)
    (tmp_path / name).write_text(text)
    build_dataset(folder, tmp_path / "d.zip", labels=tmp_path / name)
    assert [label for _, label in document_of(tmp_path / "d.zip")["labels"]] == expected  # type: ignore[attr-defined]


def test_a_column_of_a_csv_is_chosen(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", 2)
    (folder / "l.csv").write_text("file,kind,size\np00.png,red,big\np01.png,red,small\n")
    build_dataset(folder, tmp_path / "d.zip", labels="l.csv", label_column="size")
    assert document_of(tmp_path / "d.zip")["class_names"] == ["big", "small"]
    with pytest.raises(TrainingDataError, match="no column 'weight'"):
        build_dataset(folder, tmp_path / "e.zip", labels="l.csv", label_column="weight")
    with pytest.raises(TrainingDataError, match="--label-column"):
        build_dataset(folder, tmp_path / "e.zip", labels="l.csv")


def test_the_contact_sheet_shows_the_pictures(tmp_path: Path) -> None:
    survey = build_dataset(write_folder(tmp_path / "photos", 3), tmp_path / "d.zip")
    sheet = contact_sheet(survey)
    assert sheet.size == (304, 104)
    expected = good(0).resize((96, 96), Image.Resampling.LANCZOS)
    assert np.array_equal(np.asarray(sheet.crop((4, 4, 100, 100))), np.asarray(expected))


def test_the_command_builds_reports_and_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(tmp_path / "photos", 3, prefix="<b>&")
    (folder / "bad.png").write_bytes(b"no")
    out = tmp_path / "d.zip"
    assert main(["dataset", "build", str(folder), "--out", str(out), "--resolution", "32"]) == 0
    said = capsys.readouterr().out
    assert "3 of 4 pictures, 32 x 32" in said and "left out: 1 broken" in said and "too-few" in said
    page = (tmp_path / "d.report.html").read_text()
    assert "<b>&00.png" not in page and "too-few" in page and "data:image/png;base64," in page and "bad.png" in page
    report = json.loads((tmp_path / "d.report.json").read_text())
    assert report["pictures"] == 3 and report["names"][0] == ["00000/img00000000.png", "<b>&00.png"]
    assert main(["dataset", "check", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["warnings"][0]["code"] == "too-few"
    assert main(["dataset", "check", str(folder)]) == 1
    assert "bad.png" in capsys.readouterr().out
    assert main(["dataset", "check", str(out), "--near", "99"]) == 2
    assert main(["dataset", "build", str(folder), "--out", str(out)]) == 1


def test_python_m_editkit_finds_the_command_on_a_checkout(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "editkit", "dataset", "check", str(tmp_path)],
        cwd=root, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1 and "holds no pictures" in done.stderr


def test_progress_says_how_long_it_takes(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    output = Output(argparse.Namespace())
    monkeypatch.setattr(Output, "progress", property(lambda self: True))
    clock = iter([100.0, 110.0, 110.1, 120.0])
    monkeypatch.setattr("train.dataset_cli.time.monotonic", lambda: next(clock))
    show = _progress(output, "pictures")
    for done in (1, 2, 8):
        show(done, 8)
    lines = [line.strip() for line in capsys.readouterr().err.split("\r")]
    assert lines == ["", "pictures 1/8, 1:10 to go", "pictures 8/8, 0:00 to go"]  # a tenth of a second is too soon

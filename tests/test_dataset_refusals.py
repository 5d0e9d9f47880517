"""``editkit dataset`` on bad input, and interrupted: refused before the work, and nothing left half written."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from dataset_maker import good, write_folder, write_zip
from test_dataset_build import skipped

from editkit.cli import main
from editkit.errors import OutputError, TrainingDataError, UsageError
from train.dataset import open_dataset
from train.dataset_build import build_dataset, check_dataset
from train.dataset_pixels import Crop


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,kind\np00.png,red\n", "1 of 2 pictures have no label: p01.png"),
        ("file,kind\np00.png,red\np01.png,red\nlost.png,blue\n", "not there: lost.png"),
        ("file,kind\np00.png,\np01.png,red\n", "row 2"),
        ("p00.png\n", "header"),
        (f"file,kind\np00.png,{'9' * 5000}\np01.png,0\n", "p00.png"),
        (f"file,kind\np00.png,{'x' * 200_000}\np01.png,x\n", "cannot be read"),
    ],
)
def test_labels_that_do_not_fit_stop_before_the_work(tmp_path: Path, text: str, message: str) -> None:
    folder = write_folder(tmp_path / "photos", 2)
    (folder / "l.csv").write_text(text)
    with pytest.raises(TrainingDataError, match=message):
        build_dataset(folder, tmp_path / "d.zip", labels="l.csv")  # found in the source
    assert os.listdir(tmp_path) == ["photos"]


def test_mixed_sizes_without_a_resolution_are_refused_naming_them(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", 2)
    good(5, side=48).save(folder / "x.png")
    with pytest.raises(TrainingDataError, match=r"mixed sizes: 2 of 64 x 64, 1 of 48 x 48; give --resolution"):
        build_dataset(folder, tmp_path / "d.zip")
    assert os.listdir(tmp_path) == ["photos"]


def test_too_little_to_build_from(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(TrainingDataError, match="no pictures"):
        build_dataset(tmp_path / "photos", tmp_path / "d.zip")
    write_folder(tmp_path / "photos", 1)
    (tmp_path / "photos" / "x.png").write_bytes(b"no")
    with pytest.raises(TrainingDataError, match=r"1 usable pictures of 2 \(left out: 1 broken\)"):
        build_dataset(tmp_path / "photos", tmp_path / "d.zip")
    (tmp_path / "bad.zip").write_bytes(b"PK")
    with pytest.raises(TrainingDataError, match="no readable zip"):
        build_dataset(tmp_path / "bad.zip", tmp_path / "d.zip")
    assert sorted(os.listdir(tmp_path)) == ["bad.zip", "photos"]


def test_an_existing_data_set_is_replaced_only_on_request(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", 2)
    (tmp_path / "d.zip").write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already"):
        build_dataset(folder, tmp_path / "d.zip")
    assert (tmp_path / "d.zip").read_bytes() == b"mine"
    build_dataset(folder, tmp_path / "d.zip", force=True)
    assert len(open_dataset(tmp_path / "d.zip")) == 2
    with pytest.raises(OutputError, match=r"NAME\.zip"):
        build_dataset(folder, tmp_path / "folder")
    with pytest.raises(UsageError, match="face crops"):
        Crop(kind="face")


def test_ctrl_c_leaves_nothing_half_written(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", 6)
    (tmp_path / "d.zip").write_bytes(b"what was there")

    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_dataset(folder, tmp_path / "d.zip", force=True, on_progress=interrupt)
    assert sorted(os.listdir(tmp_path)) == ["d.zip", "photos"]
    assert (tmp_path / "d.zip").read_bytes() == b"what was there"


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    folder = write_folder(tmp_path / "photos", 6)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OutputError, match="no space left"):
            build_dataset(folder, tmp_path / "d.zip")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == ["photos"]


def test_a_check_says_what_training_would_refuse(tmp_path: Path) -> None:
    fine = check_dataset(write_zip(tmp_path / "d.zip", 4, labels=[[f"00000/img{i:08d}.png", i % 2] for i in range(4)]))
    assert not fine.problems and fine.classes == {"0": 2, "1": 2} and len(fine.entries) == 4
    bad = check_dataset(write_zip(tmp_path / "e.zip", 4, labels=[["00000/img00000000.png", 1]]))
    assert any("no label" in text for text in bad.problems)
    folder = write_folder(tmp_path / "photos", 2)
    shutil.copy(folder / "p00.png", folder / "p09.png")
    good(5, side=48).save(folder / "x.png")
    (folder / "y.png").write_bytes((folder / "p00.png").read_bytes()[:200])
    mixed = check_dataset(folder)
    assert any("mixed sizes" in text for text in mixed.problems) and any("y.png" in text for text in mixed.problems)
    assert skipped(mixed) == {"broken": ["y.png"], "duplicate": ["p09.png"]}
    assert "mixed-sizes" in {finding.code for finding in mixed.warnings}


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux")
def test_names_that_are_no_text_stop_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(tmp_path / "photos", 2)
    os.rename(folder / "p00.png", os.fsencode(folder) + b"/\xff.png")
    assert main(["dataset", "build", str(folder), "--out", str(tmp_path / "d.zip")]) == 0
    assert r"\udcff.png" in (tmp_path / "d.report.json").read_text()
    good(7, side=40).save(os.fsencode(folder) + b"/\xfe.png")
    assert main(["dataset", "check", str(folder), "--report", str(tmp_path / "c")]) == 1
    assert "mixed sizes" in capsys.readouterr().out and (tmp_path / "c.html").is_file()
    assert len(open_dataset(folder, resolution=16).data_hash) == 32

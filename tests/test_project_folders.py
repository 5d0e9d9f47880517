"""`editkit project`: folders of photos, and going on with them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from project_fixtures import G, checkpoint, make_photo, photo, pixels, project, rows, warmth

from projector import EncodeThenOptimise, Optimise, Pivotal, folder, folder_entry
from projector.cli import time_left
from projector.job import encoder_content
from projector.sources import Source, photos_in


def test_a_folder_is_worked_through_and_gone_on_with(project, tmp_path: Path, capsys) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    make_photo(photos / "me.png", seed=1)
    make_photo(photos / "trip" / "me.jpg", seed=2)
    make_photo(photos / "trip" / "<b>&.png", seed=3)
    bad = photos / "broken.jpg"
    bad.write_bytes(b"<script>no picture</script>")
    assert project(photos, "--json") == 1
    said = json.loads(capsys.readouterr().out)
    assert said["failed"] == 1 and [entry["status"] for entry in said["photos"]].count("done") == 3
    found = rows(out)
    assert {name: row["folder"] for name, row in found.items()} == {
        "me.png": "me", "trip/me.jpg": "me-2", "trip/<b>&.png": "<b>&", "broken.jpg": "broken"
    }  # fmt: skip
    assert found["broken.jpg"]["status"] == "failed" and "not a picture" in found["broken.jpg"]["error"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;&amp;.png" in page and "<b>&" not in page and 'src="%3Cb%3E%26/aligned.png"' in page

    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.json")}
    for options, again in (([], False), (["--retry-failed"], True)):  # the failed one when asked to, and nothing else
        assert project(photos, "--json", *options) == 1
        said = json.loads(capsys.readouterr().out)
        assert sorted((entry["photo"], entry["skipped"]) for entry in said["photos"]) == [
            ("broken.jpg", not again), ("me.png", True), ("trip/<b>&.png", True), ("trip/me.jpg", True)
        ]  # fmt: skip
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.json")} == before

    make_photo(tmp_path / "good.jpg", seed=4).replace(bad)
    assert project(photos) == 0
    assert rows(out)["broken.jpg"]["status"] == "done"
    capsys.readouterr()
    assert project(photos, "--force", "--json") == 0
    assert [entry["skipped"] for entry in json.loads(capsys.readouterr().out)["photos"]] == [False] * 4


@pytest.mark.parametrize("change", ["nothing", "force", "settings", "photo", "result"])
def test_what_is_done_again(project, photo: Path, tmp_path: Path, change: str, capsys) -> None:
    assert project(photo) == 0
    capsys.readouterr()
    options = {"force": ["--force"], "settings": ["--seed", "7"]}.get(change, [])
    if change == "photo":
        make_photo(photo, seed=9)
        os.utime(photo, (1, 1))
    if change == "result":
        (tmp_path / "out" / "me" / "edited.png").unlink()
    assert project(photo, *options) == 0
    assert ("done before" in capsys.readouterr().out) is (change == "nothing")
    assert len(rows(tmp_path / "out")) == 1


def test_an_unexpected_error_in_one_photo_does_not_end_the_run(project, tmp_path: Path, monkeypatch) -> None:
    for name in "ab":
        make_photo(tmp_path / "photos" / f"{name}.png")
    work = folder_entry.work

    def sometimes(job, photo, *, on_step=None):
        if photo.path.stem == "a":
            raise ZeroDivisionError("division by zero")
        return work(job, photo, on_step=on_step)

    monkeypatch.setattr(folder_entry, "work", sometimes)
    assert project(tmp_path / "photos") == 1
    found = rows(tmp_path / "out")
    assert found["a.png"]["error"] == "ZeroDivisionError: division by zero" and found["b.png"]["status"] == "done"


def test_a_photo_that_changes_while_it_is_read_fails_and_is_done_later(project, tmp_path: Path, monkeypatch) -> None:
    make_photo(tmp_path / "photos" / "a.png")
    make_photo(tmp_path / "photos" / "b.png")
    read = Source.read

    def growing(self):
        photo = read(self)
        if self.path.stem == "a":
            with self.path.open("ab") as file:  # somebody is still copying it
                file.write(b"more")
        else:
            (tmp_path / "photos" / "b.png").unlink()  # and this one has gone
        return photo

    with monkeypatch.context() as patch:
        patch.setattr(Source, "read", growing)
        assert project(tmp_path / "photos") == 1
    found = rows(tmp_path / "out")
    assert all("changed while it was read" in found[name]["error"] for name in ("a.png", "b.png"))
    assert project(tmp_path / "photos") == 0  # its file is another one now, so that no --retry-failed is needed
    assert rows(tmp_path / "out")["a.png"]["status"] == "done"


@pytest.mark.parametrize(
    ("worked", "photos", "told"),
    [
        ([10.0], 0, ""),
        ([10.0, 20.0], 4, "; about 60 s left"),
        ([1e9] + [60.0] * 10, 7, "; about 7 min left"),
        ([900.0, 10.0, 11.0], 10, "; about 110 s left"),
    ],  # the first one compiles
)
def test_the_time_that_is_left(worked: list[float], photos: int, told: str) -> None:
    assert time_left(worked, photos) == told


def test_the_page_is_there_while_the_run_goes_on(project, tmp_path: Path, monkeypatch) -> None:
    for name in "ab":
        make_photo(tmp_path / "photos" / f"{name}.png")
    monkeypatch.setattr(folder, "PAGE_EVERY", 0.0)
    seen, work = [], folder_entry.work

    def looking(job, photo, *, on_step=None):
        page = tmp_path / "out" / "report.html"
        seen.append(page.read_text() if page.exists() else "")
        return work(job, photo, on_step=on_step)

    monkeypatch.setattr(folder_entry, "work", looking)
    assert project(tmp_path / "photos") == 0
    assert seen[0] == "" and "<p>1 done; mean PSNR" in seen[1]


def test_photos_are_found_in_sub_folders(tmp_path: Path) -> None:
    for name in ("b.JPG", "a/c.png", "a/.hidden.png", ".cache/d.png", "old/e.png", "out/f.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "old" / "manifest.sqlite").touch()  # an earlier run's output
    found = [path.relative_to(tmp_path).as_posix() for path in photos_in(tmp_path, skip=tmp_path / "out")]
    assert found == ["a/c.png", "b.JPG"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of POSIX")
def test_a_named_pipe_in_a_folder_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.mkfifo(tmp_path / "waits.png")
    (tmp_path / "broken.png").symlink_to(tmp_path / "gone")
    assert photos_in(tmp_path) == [tmp_path / "broken.png"]  # which the report names
    assert "waits.png is a named pipe or a device" in caplog.text


def test_a_photo_turned_by_exif_and_one_smaller_than_the_network(project, tmp_path: Path) -> None:
    stored = Image.open(make_photo(tmp_path / "x.png", seed=3, side=64)).crop((0, 0, 64, 40))
    turned, exif = tmp_path / "photos" / "turned.png", Image.Exif()
    turned.parent.mkdir()
    exif[0x0112] = 6  # to be turned clockwise
    stored.save(turned, exif=exif)
    make_photo(tmp_path / "photos" / "small.png", seed=4, side=20)  # the network has 32 pixels
    assert project(tmp_path / "photos", "--edit", "none") == 0
    upright = stored.transpose(Image.Transpose.ROTATE_270)
    assert (pixels(tmp_path / "out" / "turned" / "pasted.png") == np.asarray(upright)).all()  # no edit: no bit changes
    assert pixels(tmp_path / "out" / "small" / "pasted.png").shape == (20, 20, 3)


@pytest.mark.parametrize("way", ["difference", "replace"])
def test_the_error_of_no_edit_is_reported(project, photo: Path, tmp_path: Path, way: str) -> None:
    assert project(photo, "--paste", way, "--edit", "none") == 0
    told = json.loads((tmp_path / "out" / "me" / "report.json").read_text())["paste"]
    same = (pixels(tmp_path / "out" / "me" / "pasted.png") == pixels(photo)).all()
    assert told["how"] == way and same == (way == "difference") == (told["zero_edit_error"]["max"] == 0)


def test_an_encoder_trained_anew_under_the_same_name_is_another_method(tmp_path: Path) -> None:
    file = tmp_path / "encoder.safetensors"
    method = EncodeThenOptimise(encoder=str(file))
    missing = encoder_content(method)
    seen = []
    for content in (b"first", b"second", b"first"):
        file.write_bytes(content)
        seen.append(encoder_content(Pivotal(inner=method)))
    assert missing == {} and seen[0] == seen[2] != seen[1] and encoder_content(Optimise()) == {}

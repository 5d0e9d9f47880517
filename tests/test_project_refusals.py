"""`editkit project`: wrong use, bad photos, and output that cannot be written."""

from __future__ import annotations

import errno
import os
import struct
import time
import zlib
from pathlib import Path

import pytest
import torch
from PIL import Image
from project_fixtures import G, checkpoint, close, make_photo, one_line, photo, project, rows, warmth

from editkit import faces
from editkit.direction import Direction
from editkit.errors import OutputError
from editkit.faces import Face
from projector import folder_entry

# Wrong use


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (["--edit", "warmth"], "NAME=STRENGTH"),
        (["--edit", "=2"], "NAME=STRENGTH"),
        (["--edit", "warmth=much"], "NAME=STRENGTH"),
        (["--edit", "warmth=nan"], "NAME=STRENGTH"),
        (["--edit", "no-such-one=1"], "no directions are at hand"),
        (["--edit", "none", "--edit", "warmth=1"], "stands alone"),
        (["--edit", "warmth=1", "--recipe", "r.json"], "not allowed with"),
        (["--budget", "soon"], "60s"),
        (["--budget", "0"], "60s"),
        (["--budget", "-5"], "60s"),
        (["--budget", "3 parsecs"], "60s"),
        (["--steps", "0"], "at least 1"),
        (["--method", "magic"], "invalid choice"),
        (["--box", "1,2,3"], "four numbers"),
        (["--box", "0,0,-5,9"], "box"),
        (["--face", "-1"], "0 being the largest"),
        (["--class", "1"], "has no classes"),
    ],
)
def test_wrong_use_exits_2(project, photo: Path, options: list[str], hint: str, capsys) -> None:
    assert project(photo, *options) == 2
    err = capsys.readouterr().err
    assert hint in err and "Traceback" not in err


def test_an_unknown_direction_names_the_known_ones(project, photo: Path, warmth: Direction, capsys) -> None:
    assert project(photo, "--edit", "warmht=1") == 2
    assert "warmth" in one_line(capsys)


def test_a_face_beyond_the_last_is_wrong_use(project, photo: Path, monkeypatch, capsys) -> None:
    points = torch.tensor([[17.0, 20.0], [31.0, 20.0], [24.0, 27.0], [19.0, 34.0], [29.0, 34.0]], dtype=torch.float64)
    monkeypatch.setattr(faces, "find_faces", lambda picture: [Face(points=points, confidence=0.9)] * 2)
    assert project(photo, "--align", "faces128", "--face", "2") == 2
    assert "2 face(s)" in one_line(capsys)
    assert project(photo, "--align", "faces128", "--face", "1") == 0


def test_folders_take_no_box_and_are_not_their_own_output(project, tmp_path: Path, capsys) -> None:
    make_photo(tmp_path / "out" / "a.png")
    assert project(tmp_path / "out", "--box", "1,2,30,30") == 2
    assert "--box" in one_line(capsys)
    assert project(tmp_path / "out") == 2
    assert "choose another" in one_line(capsys)


@pytest.mark.parametrize("source", ["no-such-generator", "missing.safetensors", "missing.pkl"])
def test_an_unknown_generator_is_one_line(project, photo: Path, tmp_path: Path, source: str, capsys) -> None:
    assert project(photo, "--generator", tmp_path / source if "." in source else source) == 1
    assert source in one_line(capsys)


# Bad photos


def huge_header() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def bad_photo(kind: str, folder: Path) -> Path:
    if kind == "truncated":
        path = make_photo(folder / "bad.jpg", side=200)
        path.write_bytes(path.read_bytes()[:900])
        return path
    if kind == "tiny":
        Image.new("RGB", (1, 1)).save(folder / "bad.png")
        return folder / "bad.png"
    name, data = {
        "empty": ("bad.jpg", b""),
        "text": ("bad.jpg", b"this is no picture\n"),
        "huge": ("bad.png", huge_header()),
    }[kind]
    (folder / name).write_bytes(data)
    return folder / name


BAD = {"empty": "empty", "text": "not a picture", "truncated": "damaged", "tiny": "1 x 1", "huge": "too large"}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_photo_is_one_line_and_exit_1(project, tmp_path: Path, kind: str, capsys) -> None:
    started = time.monotonic()
    path = bad_photo(kind, tmp_path)
    assert project(path) == 1
    message = one_line(capsys)
    assert BAD[kind] in message and path.name in message
    row = rows(tmp_path / "out")[path.name]
    assert row["status"] == "failed" and row["error"] in message
    assert BAD[kind] in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert not (tmp_path / "out" / "bad").exists()
    assert time.monotonic() - started < 20


def test_a_missing_photo_makes_no_folder(project, tmp_path: Path, capsys) -> None:
    assert project(tmp_path / "nobody.jpg") == 1
    assert "nobody.jpg" in one_line(capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [[], ["--box", "1,2,30,30"]])
def test_a_photo_in_a_closed_folder_is_one_line(project, photo: Path, tmp_path: Path, monkeypatch, capsys, options):
    close(monkeypatch, tmp_path / "private")
    assert project(tmp_path / "private" / "me.png", *options) == 1
    message = one_line(capsys)
    assert "private" in message and "no permission" in message and "copy it elsewhere" in message
    assert not (tmp_path / "out").exists()


def test_a_closed_folder_of_photos_is_one_line(project, tmp_path: Path, monkeypatch, capsys) -> None:
    make_photo(tmp_path / "private" / "me.png")
    close(monkeypatch, tmp_path / "private")
    assert project(tmp_path / "private") == 1
    assert "no permission" in one_line(capsys)


def test_a_closed_photo_is_one_line(project, photo: Path, monkeypatch, capsys) -> None:
    def refused(self, *args, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "read_bytes", refused)
    assert project(photo) == 1
    assert "no permission" in one_line(capsys)


def test_a_recipe_in_a_closed_folder_is_one_line(project, photo: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    close(monkeypatch, tmp_path / "private")
    assert project(photo, "--recipe", tmp_path / "private" / "mine.json") == 1
    message = one_line(capsys)
    assert "mine.json" in message and "check its permissions" in message


def test_an_empty_folder_is_an_error(project, tmp_path: Path, capsys) -> None:
    (tmp_path / "photos").mkdir()
    assert project(tmp_path / "photos") == 1
    assert "holds no pictures" in one_line(capsys)


def test_a_photo_without_a_face_names_two_ways_on(project, photo: Path, capsys) -> None:
    assert project(photo, "--steps", "2", quick=False) == 1
    message = one_line(capsys)
    assert "--align centre" in message and "--box" in message


def test_a_generator_of_nan_fails_with_a_reason(project, photo: Path, G, monkeypatch, capsys) -> None:
    class Broken:
        spec, w_avg, device, map = G.spec, G.w_avg, G.device, G.map

        def synthesize(self, latent, *, transform=None):
            return G.synthesize(latent, transform=transform) * float("nan")

    monkeypatch.setattr("editkit.generator.load_generator", lambda source, device: Broken())
    assert project(photo) == 1
    assert "NaN" in capsys.readouterr().err.splitlines()[-1]


# Output that cannot be written


def test_a_read_only_output_folder(project, photo: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(os, "access", lambda *a, **k: False)  # root may write anywhere: the refusal is played
    assert project(photo) == 1
    assert "no permission" in one_line(capsys)


@pytest.mark.parametrize("below", ["", "deep/er"])
def test_an_output_folder_in_a_closed_folder(project, photo: Path, tmp_path: Path, monkeypatch, capsys, below: str):
    close(monkeypatch, tmp_path / "private")
    assert project(photo, "--out", tmp_path / "private" / "out" / below) == 1
    message = one_line(capsys)
    assert "private" in message and "no permission" in message and "choose another" in message


def test_an_output_folder_that_cannot_be_made(project, photo: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    """Two levels below a folder that may be read and not written."""

    def refused(path, *args, **options):
        if os.path.exists(os.path.dirname(path)):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))

    monkeypatch.setattr(os, "mkdir", refused)
    assert project(photo, "--out", tmp_path / "a" / "b" / "c") == 1
    message = one_line(capsys)
    assert "no permission" in message and "choose another" in message


@pytest.mark.parametrize("blocker", ["out", "out/me"])
def test_a_file_in_the_way(project, photo: Path, tmp_path: Path, blocker: str, capsys) -> None:
    path = tmp_path / blocker
    path.parent.mkdir(exist_ok=True)
    path.write_text("precious")
    assert project(photo) == 1
    assert "is a file" in one_line(capsys)
    assert path.read_text() == "precious"


def test_a_full_disk_leaves_nothing_half(project, photo: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    save, seen = Image.Image.save, []

    def full(self, path, *args, **options):
        seen.append(path)
        if len(seen) == 3:
            Path(path).write_bytes(b"half a picture")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(self, path, *args, **options)

    monkeypatch.setattr(Image.Image, "save", full)
    assert project(photo) == 1
    assert "no space left" in one_line(capsys)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["manifest.sqlite"]
    assert rows(tmp_path / "out")["me.png"]["status"] == "pending"
    monkeypatch.setattr(Image.Image, "save", save)
    assert project(photo) == 0
    assert rows(tmp_path / "out")["me.png"]["status"] == "done"


def test_a_full_disk_ends_a_folder_at_once(project, tmp_path: Path, monkeypatch, capsys) -> None:
    for name in "ab":
        make_photo(tmp_path / "photos" / f"{name}.png")

    def full(*args, **options):
        raise OutputError("no space left")

    monkeypatch.setattr(folder_entry, "write", full)
    assert project(tmp_path / "photos") == 1
    assert "no space left" in one_line(capsys)
    assert list(rows(tmp_path / "out")) == ["a.png"]

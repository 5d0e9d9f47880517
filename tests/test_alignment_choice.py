"""Which face, which convention and which landmarks ``align`` takes, and the command."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from test_alignment import POINTS, _map, _photo, _smooth

from editkit import dense_landmarks, faces
from editkit.alignment import align
from editkit.cli import main
from editkit.errors import NoFaceError, UsageError
from editkit.faces import Face
from editkit.photo import read_photo, write_image


@dataclass(frozen=True)
class _Spec:
    resolution: int
    alignment: str | None


def test_the_spec_chooses_size_and_convention() -> None:
    found = align(_photo(), _Spec(resolution=48, alignment="centre"))
    assert found.image.shape == (1, 3, 48, 48)
    assert found.alignment.convention == "centre"
    assert found.alignment.photo_size == (260, 240)
    assert align(_photo(), 48, landmarks=POINTS).alignment.convention == "faces128"
    with pytest.raises(UsageError, match="resolution"):
        align(_photo(), 2)
    with pytest.raises(UsageError, match="convention 'oval'"):
        align(_photo(), 64, convention="oval")
    with pytest.raises(UsageError, match="one of them"):
        align(_photo(), 64, landmarks=POINTS, box=(1, 1, 9, 9))


def _see(monkeypatch: pytest.MonkeyPatch, *found: Face) -> None:
    monkeypatch.setattr(faces, "find_faces", lambda picture: list(found))
    monkeypatch.setattr(faces, "face_in_box", lambda picture, box: found[0] if found else None)


def test_choice_of_face(monkeypatch: pytest.MonkeyPatch) -> None:
    small = Face(points=POINTS / 2, confidence=0.9)
    _see(monkeypatch, Face(points=POINTS, confidence=0.8), small)
    assert torch.equal(align(_photo(), 64).alignment.landmarks, POINTS)
    assert torch.equal(align(_photo(), 64, face=1).alignment.landmarks, POINTS / 2)
    with pytest.raises(NoFaceError, match=r"2 face\(s\)"):
        align(_photo(), 64, face=2)
    with pytest.raises(UsageError, match="largest"):
        align(_photo(), 64, face="left")


def test_no_face_names_two_ways_on(monkeypatch: pytest.MonkeyPatch) -> None:
    _see(monkeypatch)
    with pytest.raises(NoFaceError, match=r"--align centre.*--box x,y,w,h"):
        align(_photo(), 64)
    boxed = align(_photo(), 64, box=(50, 60, 80, 80)).alignment
    assert boxed.landmarks is None
    assert torch.allclose(
        _map(boxed.photo_to_crop, torch.tensor([[50.0, 60.0]], dtype=torch.float64)), torch.zeros(1, 2).double()
    )


class _FakeModel:
    """Stands for face_alignment.FaceAlignment."""

    def __init__(self, answer: list[np.ndarray] | None) -> None:
        self.answer, self.boxes = answer, []

    def get_landmarks_from_image(
        self, image: np.ndarray, *, detected_faces: list[list[float]]
    ) -> list[np.ndarray] | None:
        assert image.dtype == np.uint8
        self.boxes += detected_faces
        return self.answer


def test_dense_landmarks_are_used_where_their_weights_are_at_hand(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _see(monkeypatch, Face(points=POINTS, confidence=1.0))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    model = _FakeModel([np.random.default_rng(0).uniform(80, 160, (68, 2))])
    monkeypatch.setattr(dense_landmarks, "_model", lambda: model)
    assert align(_photo(), 64, convention="ffhq").alignment.landmarks.shape == (5, 2)
    assert model.boxes == []
    weights = tmp_path / "hub" / "checkpoints" / "2DFAN4-11f355bf06.pth.tar"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    dense = align(_photo(), 64, convention="ffhq").alignment.landmarks
    assert np.allclose(dense.numpy(), model.answer[0] + 0.5)
    left, top, right, bottom = model.boxes[0]
    assert all(left < x < right and top < y < bottom for x, y in POINTS.tolist())
    assert align(_photo(), 64, convention="faces128").alignment.landmarks.shape == (5, 2)
    model.answer = None
    assert align(_photo(), 64, convention="ffhq").alignment.landmarks.shape == (5, 2)


def test_command_writes_crops(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    write_image(folder / "a.png", _smooth(60, 80))
    write_image(folder / "a.jpg", _smooth(60, 80))
    (folder / "bad.jpg").write_text("words")
    (folder / "notes.txt").write_text("not a picture, and not named like one")
    arguments = ["align", str(folder), "--out", str(out), "--align", "centre", "--resolution", "32", "--json"]
    assert main(arguments) == 1
    document = json.loads(capsys.readouterr().out)
    assert sorted(path.name for path in out.iterdir()) == ["a_jpg.png", "a_png.png"]
    assert [("error" in entry) for entry in document["photos"]] == [False, False, True]
    assert read_photo(out / "a_png.png").size == (32, 32)
    assert document["photos"][1]["convention"] == "centre"


def test_command_refuses_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "out")]
    assert main(["align", str(tmp_path / "none.jpg"), *out]) == 1
    assert "there is no file" in capsys.readouterr().err
    assert main(["align", *out, "--box", "1,2,3"]) == 2
    assert "four numbers" in capsys.readouterr().err
    assert main(["align", *out, "--all-faces", "--align", "centre"]) == 2
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["align", str(empty), *out]) == 1
    assert "holds no pictures" in capsys.readouterr().err


def test_the_crop_of_one_photo_may_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--align", "centre", "--resolution", "32", "--quiet"]
    write_image(tmp_path / "me.png", _smooth(48, 40))
    assert main(["align", str(tmp_path / "me.png"), "--out", str(tmp_path / "new" / "crop.png"), *options]) == 0
    assert read_photo(tmp_path / "new" / "crop.png").size == (32, 32)
    assert main(["align", str(tmp_path), "--out", str(tmp_path / "all.png"), *options]) == 2
    assert "--out is a folder where there may be several crops" in capsys.readouterr().err
    (tmp_path / "folder.png").mkdir()
    assert main(["align", str(tmp_path / "me.png"), "--out", str(tmp_path / "folder.png"), *options]) == 0
    assert (tmp_path / "folder.png" / "me.png").is_file() and not (tmp_path / "all.png").exists()

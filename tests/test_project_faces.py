"""`editkit project --face all`, and the same from Python."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from project_fixtures import G, checkpoint, make_photo, one_line, photo, pixels, project, rows, warmth

import editkit
from editkit import faces, several_faces
from editkit.errors import NoFaceError, UsageError
from editkit.faces import Face
from editkit.photo import Photo
from projector import crowd as crowd_module


def points(x: float, y: float) -> torch.Tensor:
    """Five landmarks of a face about 20 pixels wide around (x, y)."""
    offsets = torch.tensor([[-6, -4], [6, -4], [0, 1], [-4, 6], [4, 6]], dtype=torch.float64)
    return torch.tensor([x, y], dtype=torch.float64) + offsets


looked: list[int] = []
"""Heights of the pictures in which faces were looked for."""


@pytest.fixture
def crowd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A photo that shows three faces: two in a row, and one below."""
    places = [(48.0, 40.0), (144.0, 40.0), (96.0, 150.0)]

    def find(picture: torch.Tensor) -> list[Face]:
        looked.append(picture.shape[2])
        count = 3 if picture.shape[2] == 192 else 1 if picture.shape[2] == 100 else 0
        return [Face(points=points(*place), confidence=0.9) for place in places[:count]]

    for module in (faces, several_faces, crowd_module):
        monkeypatch.setattr(module, "find_faces", find)
    return make_photo(tmp_path / "photos" / "group.png", side=192)


def test_every_face_has_its_folder_and_one_picture_has_all(project, crowd: Path, warmth, tmp_path: Path, capsys):
    out = tmp_path / "out"
    make_photo(crowd.with_name("one.png"), side=100)
    make_photo(crowd.with_name("none.png"), side=50)
    options = ("--align", "faces128", "--edit", "warmth=3", "--face", "all")
    assert project(crowd.parent, *options, "--json") == 1  # one photo shows no face
    told = json.loads(capsys.readouterr().out)
    found = rows(out)
    assert {name: row["folder"] for name, row in found.items()} == {
        "group.png": "group", "group.png, face 2": "group-face2", "group.png, face 3": "group-face3",
        "none.png": "none", "one.png": "one",
    }  # fmt: skip
    assert (
        len(told["photos"]) == 5 and found["none.png"]["status"] == "failed" and "no face" in found["none.png"]["error"]
    )
    assert not (out / "one" / "pasted_all.png").exists()

    before, everyone = pixels(crowd), pixels(out / "group" / "pasted_all.png")
    alone = [pixels(out / name / "pasted.png") for name in ("group", "group-face2", "group-face3")]
    spots = [(slice(30, 50), slice(38, 58)), (slice(30, 50), slice(134, 154)), (slice(140, 160), slice(86, 106))]
    for index, spot in enumerate(spots):
        assert (alone[index][spot] != before[spot]).any()
        assert (abs(everyone[spot].astype(int) - alone[index][spot]) <= 2).all()  # of two 8-bit pictures, enlarged
        assert all((alone[other][spot] == before[spot]).all() for other in range(3) if other != index)
    whole = editkit.read_photo(crowd)
    crops = editkit.align_faces(whole, 32)
    glaring = [2 * (image.image < 0).float() - 1 for image in crops]  # nothing in a crop stays as it was
    outside = (editkit.paste_faces(crops, glaring) == whole.image)[0].all(0).numpy()
    assert outside.sum() > 1000 and (everyone == before)[outside].all()
    page = (out / "report.html").read_text()
    assert page.count("group/pasted_all.png") == 1 and "one/pasted_all.png" not in page

    stamp = (out / "group" / "pasted_all.png").stat().st_mtime_ns
    looked.clear()
    assert project(crowd.parent, *options, "--json") == 1
    assert looked == [50]  # what is done was counted then
    assert all(entry["skipped"] for entry in json.loads(capsys.readouterr().out)["photos"])
    assert (out / "group" / "pasted_all.png").stat().st_mtime_ns == stamp
    (out / "group" / "pasted_all.png").unlink()
    (out / "group-face2" / "edited.png").unlink()  # as if it had been killed on the way: that face alone is done again
    assert project(crowd.parent, *options, "--json") == 1
    again = json.loads(capsys.readouterr().out)["photos"]
    assert [entry["photo"] for entry in again if not entry["skipped"]] == ["group.png, face 2"]
    assert (pixels(out / "group" / "pasted_all.png") == everyone).all()


def test_one_photo_of_several_faces(project, crowd: Path, tmp_path: Path) -> None:
    assert project(crowd, "--align", "faces128", "--face", "all", "--paste", "replace") == 0
    assert (tmp_path / "out" / "group-face3" / "report.json").is_file()
    assert (pixels(tmp_path / "out" / "group" / "pasted_all.png") != pixels(crowd)).any()


@pytest.mark.parametrize("options", [("--align", "centre"), ("--align", "faces128", "--box", "1,2,30,30")])
def test_all_faces_need_a_search_for_faces(project, photo: Path, options: tuple[str, ...], capsys) -> None:
    assert project(photo, "--face", "all", *options, quick=False) == 2
    assert "--face all looks for faces" in one_line(capsys)


def test_from_python(crowd: Path) -> None:
    seen = editkit.read_photo(crowd)
    crops = editkit.align_faces(seen, 32)
    assert len(crops) == 3 and all(crop.image.shape == (1, 3, 32, 32) for crop in crops)
    same = [crop.image for crop in crops]
    assert torch.equal(editkit.paste_faces(crops, same, inverted=same), seen.image)
    brighter = [(image + 0.3).clamp(-1, 1) for image in same]
    whole = editkit.paste_faces(crops, brighter, inverted=same)
    for crop, image, one in zip(crops, brighter, same, strict=True):
        inside = (crop.paste_back(image, inverted=one) - seen.image) != 0
        assert inside.any() and ((whole - seen.image)[inside] != 0).all()
    with pytest.raises(UsageError, match="one picture a face"):
        editkit.paste_faces(crops, same[:2])
    with pytest.raises(UsageError, match="one photo"):
        editkit.paste_faces([], [])
    with pytest.raises(UsageError, match="looks for no face"):
        editkit.align_faces(seen, 32, convention="centre")
    with pytest.raises(NoFaceError):
        editkit.align_faces(Photo(image=torch.zeros(1, 3, 50, 50)), 32)

"""Pasting back: what stays, what changes, and how the seam looks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from editkit.alignment import AlignedPhoto, align
from editkit.edited_picture import paste_edited, paste_way
from editkit.edits import Recipe
from editkit.errors import UsageError
from editkit.photo import Photo, image_from_uint8, image_to_uint8, read_photo, write_image
from editkit.transform import Transform

BOX = (30, 20, 60, 60)


def _noise(seed: int, *shape: int, top: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, top + 1, shape)


def _face(image: torch.Tensor, size: int = 16) -> AlignedPhoto:
    return align(Photo(image=image), size, convention="centre", box=BOX)


def _outside(height: int, width: int) -> np.ndarray:
    outside = np.ones((height, width), dtype=bool)
    outside[BOX[1] : BOX[1] + BOX[3], BOX[0] : BOX[0] + BOX[2]] = False
    return outside


@pytest.mark.parametrize("way", ["difference", "replace"])
@pytest.mark.parametrize("top", [255, 65535])
def test_outside_the_crop_every_pixel_stays(way: str, top: int) -> None:
    values = _noise(0, 100, 140, 3, top=top)
    image = torch.from_numpy(values / top * 2 - 1).float().permute(2, 0, 1)[None].contiguous()
    face = _face(image)
    edited, inverted = torch.full((1, 3, 16, 16), 0.9), torch.full((1, 3, 16, 16), -0.2)
    back = face.paste_back(edited, inverted=inverted if way == "difference" else None)
    found = ((back[0].permute(1, 2, 0).double() + 1) / 2 * top).round().numpy().astype(np.int64)
    outside = _outside(100, 140)
    assert torch.equal(back[..., torch.from_numpy(outside)], image[..., torch.from_numpy(outside)])
    assert (found[outside] == values[outside]).all() and (found[50, 60] != values[50, 60]).any()


def test_no_edit_changes_no_bit_and_replacing_does() -> None:
    face = _face(image_from_uint8(_noise(1, 100, 140, 3, top=255).astype(np.uint8)))
    inverted = torch.rand(1, 3, 16, 16)
    assert torch.equal(face.paste_back(inverted, inverted=inverted), face.photo.image)
    assert not torch.equal(face.paste_back(inverted), face.photo.image)


def test_the_difference_keeps_the_detail_that_replacing_loses() -> None:
    face = _face(0.3 * torch.sin(torch.arange(140.0) * 2).expand(1, 3, 100, 140).contiguous())
    inverted = torch.zeros(1, 3, 16, 16)
    kept = face.paste_back(inverted + 0.25, inverted=inverted)[0, 0, 50, 45:75]
    lost = face.paste_back(inverted + 0.25)[0, 0, 50, 45:75]
    assert torch.allclose(kept, face.photo.image[0, 0, 50, 45:75] + 0.25, atol=1e-5)
    assert float(kept.std()) > 0.15 and float(lost.std()) < 0.02


def test_the_seam_of_a_replaced_crop_matches_the_photo() -> None:
    """A crop that is off in colour all over: along its edge the photo's colour, in its middle its own."""
    face = _face(torch.zeros(1, 3, 100, 140))
    back = face.paste_back(torch.full((1, 3, 16, 16), 0.4))[0, 0]
    assert float(back[50, 60]) == pytest.approx(0.4, abs=1e-6)
    t = 2.5 / (0.08 * 60)  # of the soft edge, at the third pixel
    plain = 0.4 * (3 * t**2 - 2 * t**3)
    assert 0.25 * plain < float(back[50, 32]) < 0.7 * plain


@pytest.mark.parametrize("way", ["difference", "replace"])
def test_files_keep_pixels_and_alpha(tmp_path, way: str) -> None:
    from PIL import Image

    pixels = _noise(2, 100, 140, 4, top=255).astype(np.uint8)
    pixels[..., 3] |= 1  # colours below an alpha of 0 are nobody's
    Image.fromarray(pixels).save(tmp_path / "in.png")
    photo = read_photo(tmp_path / "in.png")
    face = align(photo, 16, convention="centre", box=BOX)
    inverted = torch.zeros(1, 3, 16, 16)
    back = face.paste_back(inverted + 0.5, inverted=inverted if way == "difference" else None)
    write_image(tmp_path / "out.png", back, alpha=photo.alpha)
    found, outside = np.asarray(Image.open(tmp_path / "out.png")), _outside(100, 140)
    assert (found[..., 3] == pixels[..., 3]).all() and (found[outside] == pixels[outside]).all()


def test_a_16_bit_file_keeps_its_pixels_as_read(tmp_path) -> None:
    from PIL import Image

    Image.fromarray(_noise(3, 100, 140, top=65535).astype(np.uint16)).save(tmp_path / "in.png")
    photo = read_photo(tmp_path / "in.png")
    face = align(photo, 16, convention="centre", box=BOX)
    write_image(tmp_path / "out.png", face.paste_back(torch.ones(1, 3, 16, 16), inverted=torch.zeros(1, 3, 16, 16)))
    outside = _outside(100, 140)
    assert (
        np.asarray(Image.open(tmp_path / "out.png"))[outside] == image_to_uint8(photo.image)[0].numpy()[outside]
    ).all()


def test_an_inverted_picture_of_another_size_is_refused() -> None:
    with pytest.raises(UsageError, match="inverted picture"):
        _face(torch.zeros(1, 3, 100, 140)).paste_back(torch.zeros(1, 3, 8, 8), inverted=torch.zeros(1, 3, 16, 16))


MOVE = Transform.translate(0.4, 0.0)


def _square(left: int) -> torch.Tensor:
    """A white square on flat grey, 16 px a side."""
    image = torch.zeros(1, 3, 16, 16)
    image[:, :, 5:10, left : left + 5] = 1.0
    return image


def _photo_with_square() -> torch.Tensor:
    image = torch.zeros(1, 3, 100, 140)
    x, y, side = BOX[0], BOX[1], BOX[2] / 16  # of a pixel of the crop
    image[:, :, round(y + 5 * side) : round(y + 10 * side), round(x + 2 * side) : round(x + 7 * side)] = 1.0
    return image


def test_a_moved_picture_leaves_no_ghost_where_it_was() -> None:
    face = _face(_photo_with_square())
    before, moved = 0.6 * _square(2), 0.6 * _square(9)  # a search does not find all that the photo shows
    still, placed = Recipe(name="x", edits=()), Recipe(name="x", edits=(), transform=MOVE)
    ghostly = paste_edited(face, moved, before, still)
    whole = paste_edited(face, moved, before, placed)
    was, new = whole[0, :, 45:52, 42:52], whole[0, :, 45:52, 68:78]
    assert float(was.abs().max()) < 0.02 and float(new.mean()) == pytest.approx(0.6, abs=0.02)
    assert float(ghostly[0, :, 45:52, 42:52].mean()) > 0.38, "as a difference the old place shines through"
    outside = torch.from_numpy(_outside(100, 140))
    assert torch.equal(whole[..., outside], face.photo.image[..., outside])


def test_only_a_placement_that_moves_replaces_the_crop() -> None:
    face = _face(image_from_uint8(_noise(1, 100, 140, 3, top=255).astype(np.uint8)))
    inverted = torch.rand(1, 3, 16, 16)
    for transform in (None, Transform.identity(), Transform.rotate(0.0) @ Transform.scale(1.0)):
        recipe = Recipe(name="x", edits=(), transform=transform)
        assert paste_way(recipe) == "difference" and paste_way(recipe, "replace") == "replace"
        assert torch.equal(paste_edited(face, inverted, inverted, recipe), face.photo.image)
    for transform in (MOVE, Transform.rotate(5.0), Transform.scale(1.1), MOVE.inverse()):
        assert paste_way(Recipe(name="x", edits=(), transform=transform)) == "replace"

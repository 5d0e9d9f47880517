"""The landmark network, and finding faces with it."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from editkit.alignment import align
from editkit.checkpoints.native import write_checkpoint
from editkit.crops import FACES128_POINTS
from editkit.errors import CheckpointError, NoFaceError
from editkit.faces import face_in_box, find_faces, refine
from editkit.networks.landmarks import (
    LandmarkNetwork,
    LandmarkPrediction,
    _expectation,
    landmark_weights,
    load_landmark_network,
)
from editkit.photo import Photo, read_photo, sample_photo

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

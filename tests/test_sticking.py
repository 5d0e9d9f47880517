"""The measure of texture sticking tells what moves from what stays, on patterns whose answer is known."""

import json
import math

import pytest
import torch
from linear_generator import LinearGenerator
from torch import Tensor

from editkit import cli
from editkit.errors import UsageError
from editkit.generator import random_generator, save_generator
from editkit.photo import read_photo
from train.metrics.sticking import (
    DETAIL,
    OUTLINE,
    kept_in_average,
    neighbourhood,
    shift_periodic,
    shift_pixels,
    translated,
    translation_sticking,
)

SIDE = 64


def waves(dx: Tensor, dy: Tensor) -> Tensor:
    """[N, 3, SIDE, SIDE]: two waves a channel, moved by (dx, dy) pixels a sample."""
    x, y = (torch.arange(SIDE, dtype=torch.float64) - shift[:, None] for shift in (dx, dy))
    channels = []
    for fine, coarse in ((0.21, 0.03), (0.15, 0.05), (0.25, 0.02)):
        column, row = x[:, None, :], y[:, :, None]
        channels.append(torch.cos(2 * math.pi * (fine * column + 0.1 * row)) + torch.sin(2 * math.pi * coarse * row))
    return torch.stack(channels, 1) / 4


class Waves(LinearGenerator):
    """Draws waves that follow the transform in part: ``sticks`` is the share that stays at its pixels."""

    def __init__(self, *, sticks: float) -> None:
        super().__init__(resolution=SIDE)
        self.sticks = sticks

    def synthesize(self, latent, *, transform=None) -> Tensor:
        count = len(latent)
        shifts = torch.zeros(count, 2) if transform is None else transform.matrix[:, :2, 2] * SIDE
        moving, still = waves(*shifts.double().T), waves(*torch.zeros(2, count, dtype=torch.float64))
        return ((1 - self.sticks) * moving + self.sticks * still).float()


class Neighbours(LinearGenerator):
    """Near latents draw the same waves, moved at random (``moves``) or where they were."""

    def __init__(self, *, moves: bool) -> None:
        super().__init__(resolution=SIDE)
        self.moves = moves

    def synthesize(self, latent, *, transform=None) -> Tensor:
        places = latent.tensor[:, 0, :2].double() * (10.0 if self.moves else 0.0)
        return waves(*places.T).float()


@pytest.mark.parametrize(("sticks", "low", "high"), [(0.0, 0.0, 1e-4), (0.5, 0.3, 0.7), (1.0, 1.0, 1.0)])
def test_the_share_that_sticks(sticks, low, high):
    seen = translation_sticking(Waves(sticks=sticks), samples=2, steps=4)
    assert low <= seen.stuck <= high
    assert (seen.psnr > 50) == (sticks == 0) and (seen.residual < 1e-3) == (sticks == 0)


def test_stylegan3_moves_with_its_content_and_stylegan2_does_not():
    """Random weights; measured: 80 dB and 15 dB."""
    three, two = (
        translation_sticking(random_generator(kind=kind, resolution=SIDE), samples=3, steps=3)
        for kind in ("stylegan3", "stylegan2")
    )
    assert three.psnr > 60 > 30 > two.psnr
    assert three.residual < 1e-3 < 0.05 < two.residual
    assert three.stuck < 0.01 < 0.5 < two.stuck


def test_stylegan2_is_moved_by_its_constant_and_left_as_it_was():
    G = random_generator(kind="stylegan2", resolution=16)
    before = G.state_dict()
    latent = G.map(torch.zeros(1, G.spec.z_dim) + 0.5)
    still, moved, round_again = (translated(G, latent, (x, 0.0)) for x in (0.0, 0.1, 1.0))
    assert torch.allclose(still, round_again, atol=1e-5) and not torch.allclose(still, moved, atol=1e-3)
    assert all(torch.equal(before[name], tensor) for name, tensor in G.state_dict().items())


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.3, -0.5), (2.0, 1.0), (-3.7, 2.2)])
def test_shifting_pixels(shift):
    zero = torch.zeros(1, dtype=torch.float64)
    moved = shift_pixels(waves(zero, zero), shift)
    expected = waves(zero + shift[0], zero + shift[1])
    inner = (..., slice(13, -13), slice(13, -13))
    assert float((moved - expected)[inner].abs().max()) < 1e-3


def test_shifting_a_periodic_signal():
    image = torch.randn(2, 4, 6)
    assert torch.allclose(shift_periodic(image, (2.0, 1.0)), image.roll((1, 2), (1, 2)), atol=1e-6)
    x = torch.arange(6) * 2 * math.pi / 6
    assert torch.allclose(shift_periodic(torch.cos(x).expand(4, 6), (0.4, 0.3))[0], torch.cos(x - 0.4 * math.pi / 3))


def test_detail_that_sticks_stays_sharp_in_the_average():
    moving = neighbourhood(Neighbours(moves=True), count=48, radius=0.3)
    sticking = neighbourhood(Neighbours(moves=False), count=48, radius=0.3)
    assert moving.detail_kept < 0.1 < 0.3 < moving.outline_kept < 1
    assert sticking.detail_kept > 0.99 and sticking.outline_kept > 0.99
    assert moving.average.shape == moving.central.shape == (3, SIDE, SIDE)
    assert float(moving.average.std()) < 0.9 * float(sticking.average.std())


def test_what_an_average_keeps():
    noise = torch.randn(200, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert kept_in_average(noise, DETAIL) < 0.01
    assert kept_in_average(noise[:1].expand(5, -1, -1, -1), OUTLINE) == pytest.approx(1)
    same = noise[:1] + noise  # as much in common as not
    assert kept_in_average(same, DETAIL) == pytest.approx(0.5, abs=0.05)
    with pytest.raises(UsageError, match="flat"):
        kept_in_average(torch.ones(3, 3, 32, 32), DETAIL)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"samples": 0}, "from 1"), ({"steps": 0}, "from 1"), ({"length": 0.0}, "length of 0 to 0.25"),
     ({"length": 0.2}, "leave nothing to compare")],
)  # fmt: skip
def test_bad_numbers(options, message):
    G = LinearGenerator(resolution=32)
    with pytest.raises(UsageError, match=message):
        translation_sticking(G, **options)


@pytest.mark.parametrize("options", [{"count": 1}, {"radius": 0.0}, {"radius": 1.0}])
def test_bad_neighbourhoods(options):
    with pytest.raises(UsageError, match="a neighbourhood needs"):
        neighbourhood(LinearGenerator(), **options)


def test_a_flat_picture_does_not_pass_for_one_that_moves():
    G = LinearGenerator(resolution=SIDE)
    G.synthesize = lambda latent, transform=None: torch.zeros(len(latent), 3, SIDE, SIDE)
    assert translation_sticking(G, samples=1, steps=1).stuck == 1.0


def test_a_picture_that_cannot_be_written_is_told_before_the_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("train.metrics.sticking.translation_sticking", lambda *a, **k: pytest.fail("it was measured"))
    assert cli.main(["metrics", "sticking", "--picture", str(tmp_path / "no" / "a.png"), "--device", "cpu"]) == 1
    assert "the folder" in capsys.readouterr().err


def test_the_command(tmp_path, capsys):
    files = []
    for kind in ("stylegan3", "stylegan2"):
        files.append(str(tmp_path / f"{kind}.safetensors"))
        save_generator(random_generator(kind=kind, resolution=32), files[-1])
    picture = tmp_path / "sticking.png"
    options = ["--samples", "2", "--steps", "2", "--near", "4", "--device", "cpu", "--picture", str(picture), "--json"]
    assert cli.main(["metrics", "sticking", *files, *options]) == 0
    three, two = json.loads(capsys.readouterr().out)["generators"]
    assert (three["kind"], two["kind"]) == ("stylegan3", "stylegan2") and three["psnr"] > two["psnr"] + 20
    assert read_photo(picture).size == (2 * 256 + 3 * 4, 2 * 256 + 3 * 4)

"""Dragging: features by place, the search, what it refuses and what it admits, and the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from linear_generator import LinearGenerator
from PIL import Image

import projector
from editkit import cli
from editkit.errors import LatentError, UsageError
from editkit.feature_map import FeatureMap
from editkit.generator import NetworkGenerator, load_generator, random_generator
from editkit.latent import Latent
from editkit.latent_file import read_latent
from editkit.photo import read_photo
from editkit.sampling import sample_w
from editkit.transform import Transform
from editkit.weight_delta import WeightDelta
from projector import Drag, DragStop


@pytest.fixture(scope="module")
def G() -> NetworkGenerator:
    return load_generator(device="cpu")


@pytest.fixture(scope="module")
def latent(G: NetworkGenerator) -> Latent:
    return sample_w(G, [1], truncation_psi=0.7)


def test_places_are_read_through_margins_and_rates() -> None:
    y, x = torch.meshgrid(torch.arange(40) + 0.5, torch.arange(40) + 0.5, indexing="ij")
    places = torch.stack([x - 20, y - 20]) / 32 + 0.5  # where each sample is, in image widths: 4 beyond on every side
    features = FeatureMap(values=places[None] * 64, rate=32.0, resolution=64)
    asked = torch.tensor([[[0.0, 0.0], [64.0, 64.0], [10.3, 51.7]]])
    assert torch.allclose(features.at(asked), asked, atol=1e-4)


@pytest.mark.parametrize("kind", ["stylegan3", "stylegan2", "stylegan_xl"])
def test_features_depend_on_the_first_rows_and_no_others(kind: str) -> None:
    G = random_generator(seed=1, kind=kind)
    latent = sample_w(G, [0], classes=0 if G.spec.c_dim else None).as_w_plus()
    for layer, rows in enumerate(G.feature_rows):
        codes = latent.tensor.clone().requires_grad_()
        values = G.features(replace(latent, codes=codes), layer).values
        (gradient,) = torch.autograd.grad(values.square().sum(), codes)
        felt = (gradient[0].abs().amax(1) > 0).tolist()
        begin = 0 if kind == "stylegan2" else 1  # placement is learned: a fresh network's does not depend on w yet
        assert felt[begin:] == [row < rows for row in range(begin, G.spec.num_ws)]
    with pytest.raises(UsageError, match=rf"features at layers 0 to {len(G.feature_rows) - 1}, got 99"):
        G.features(latent, 99)


def test_a_short_move_arrives(G: NetworkGenerator, latent: Latent) -> None:
    before, seen = latent.tensor.clone(), []
    result = projector.drag(G, latent, [((32.0, 32.0), (34.0, 32.0))], on_step=seen.append)
    assert result.stop is DragStop.REACHED and result.reached == (True,) and result.distances[0] <= 0.5
    assert result.steps >= 12  # an eighth of a pixel a step: none arrives before it was led there
    assert len(seen) == result.steps and result.positions.shape == (result.steps + 1, 1, 2)
    assert torch.equal(latent.tensor, before) and torch.equal(result.latent.tensor[:, 7:], before[:, 7:])
    with torch.no_grad():
        assert torch.equal(G.synthesize(result.latent), result.image)


def test_it_says_when_it_does_not_arrive(G: NetworkGenerator, latent: Latent) -> None:
    far = [((20.0, 20.0), (60.0, 60.0))]
    result = projector.drag(G, latent, far, options=Drag(steps=3))
    assert result.stop is DragStop.MAX_STEPS and result.reached == (False,) and result.distances[0] > 40
    result = projector.drag(G, latent, far, options=Drag(lr=1e-9, patience=2))
    assert result.stop is DragStop.STALLED and result.steps == 2 and result.best_step == 0
    result = projector.drag(G, latent, far, on_step=lambda step: False)
    assert result.stop is DragStop.CANCELLED and result.steps == 1


def test_what_the_mask_leaves_out_is_held(G: NetworkGenerator, latent: Latent) -> None:
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[36:58, 12:52] = True
    points = [((32.0, 46.0), (32.0, 50.0))]
    with torch.no_grad():
        before = G.synthesize(latent)
    changed = {}
    for name, given, hold in (("free", None, 0.0), ("surroundings", None, None), ("mask", mask, None)):
        result = projector.drag(G, latent, points, mask=given, options=Drag(hold=hold))
        assert result.reached == (True,), name
        changed[name] = float((result.image - before)[:, :, ~mask].abs().mean())
    assert changed["mask"] < 0.5 * changed["free"] and changed["surroundings"] < 0.95 * changed["free"], changed


def test_two_handles_and_a_long_way_arrive(G: NetworkGenerator, latent: Latent) -> None:
    apart = [((24.0, 48.0), (21.0, 46.0)), ((40.0, 48.0), (43.0, 46.0))]
    assert projector.drag(G, latent, apart).reached == (True, True)
    long = projector.drag(G, latent, [((32.0, 38.0), (44.0, 34.0))])
    ways = (long.positions[1:] - long.positions[:-1]).norm(dim=2)
    assert long.reached == (True,) and ways.max() <= 3.1  # no step is longer than the tracker's window


def test_refusals(G: NetworkGenerator, latent: Latent) -> None:
    good = [((32.0, 32.0), (34.0, 32.0))]
    for points, what in (
        ([((32.0, 32.0), (65.0, 32.0))], r"\(65, 32\) is outside the picture, which is 0 to 64"),
        ([((float("nan"), 1.0), (2.0, 2.0))], "outside the picture"),
        ([], "one at least"),
        ([(1.0, 2.0)], "pairs"),
    ):
        with pytest.raises(UsageError, match=what):
            projector.drag(G, latent, points)
    with pytest.raises(UsageError, match=r"the mask is \[64, 64\] here, as the picture, got \[32, 64\]"):
        projector.drag(G, latent, good, mask=torch.ones(32, 64))
    with pytest.raises(UsageError, match="features at layers 0 to 5, got 6"):
        projector.drag(G, latent, good, options=Drag(layer=6))
    with pytest.raises(UsageError, match="rows=8"):
        projector.drag(G, latent, good, options=Drag(rows=8))
    with pytest.raises(LatentError, match="one picture is dragged at a time, got 2"):
        projector.drag(G, sample_w(G, [0, 1]), good)
    linear = LinearGenerator()
    with pytest.raises(UsageError, match="does not give its features"):
        projector.drag(linear, linear.map(torch.zeros(1, 4)), good)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="lr is a number above 0"):
        Drag(lr=0)


def test_the_command(latent: Latent, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    latent.save(tmp_path / "me.safetensors")
    out, mask = tmp_path / "out", tmp_path / "mask.png"
    Image.new("L", (64, 64), 255).save(mask)
    words = [
        "drag",
        str(tmp_path / "me.safetensors"),
        "--from",
        "32,32",
        "--out",
        str(out),
        "--device",
        "cpu",
        "--json",
    ]
    assert cli.main([*words, "--to", "33,32", "--mask", str(mask)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["stop"] == "reached" and told["reached"] == [True]
    assert Latent.load(out / "latent.safetensors").space == "w+"
    assert Image.open(out / "dragged.png").size == (64, 64) and Image.open(out / "drag.gif").n_frames >= 2
    assert cli.main([*words, "--to", "60,60", "--steps", "1"]) == 1  # written all the same
    Image.new("L", (32, 32), 255).save(mask)
    assert cli.main([*words, "--to", "33,32", "--mask", str(mask)]) == 2
    assert cli.main([*words, "--to", "33,32", "--to", "34,32"]) == 2


def test_the_command_draws_a_tuned_face_and_keeps_a_placement(
    G: NetworkGenerator, latent: Latent, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As ``editkit project --method pivotal --placement`` leaves them."""
    name = "synthesis.L6_64_3.bias"
    tuning = WeightDelta(tensors={name: torch.full_like(G.state_dict()[name], 0.2)}, generator=G.spec.id)
    latent.save(tmp_path / "latent.safetensors", transform=Transform.rotate(10.0))
    tuning.save(tmp_path / "tuning.safetensors")
    out = tmp_path / "out"
    assert (
        cli.main(["drag", str(tmp_path), "--from", "32,32", "--to", "33,32", "--out", str(out), "--device", "cpu"]) == 0
    )
    capsys.readouterr()
    found = read_latent(out / "latent.safetensors")
    assert found.transform is not None and torch.allclose(found.transform.matrix, Transform.rotate(10.0).matrix)
    assert torch.equal(WeightDelta.load(out / "tuning.safetensors").tensors[name], tuning.tensors[name])
    with torch.no_grad():
        drawn, plain = tuning.added_to(G).synthesize(found.latent), G.synthesize(found.latent)
    written = read_photo(out / "dragged.png").image
    assert (drawn.clamp(-1, 1) - written).abs().max() < 0.01 < (plain.clamp(-1, 1) - written).abs().mean()

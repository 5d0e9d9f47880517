"""The flow that takes normal numbers to codes: in itself, in a run, and in the mapping network that learns it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from starter_fixtures import CONFIG, equal, plain_pictures, started, taken_up

from editkit.generator import load_generator
from editkit.networks.mapping import MappingNetwork, normalize_2nd_moment
from train import starter, starter_export
from train.code_flow import CodeFlow, fitted_flow
from train.growing import grown_run
from train.starter import StarterTraining
from train.starter_config import SIZES
from train.starter_export import export_generator, finished
from train.starter_measure import distance_measure
from train.state_file import load_state, load_transport, save_state, save_transport
from train.training import DivergedError
from train.written_mapping import teach, write_affine

SETTLED = replace(CONFIG, settle_images=12)


@pytest.fixture
def images() -> np.ndarray:
    return plain_pictures()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starter, "fitted_flow", partial(fitted_flow, steps=30, hidden=32))
    monkeypatch.setattr(starter_export, "teach", partial(teach, pairs=4000, steps=600))
    monkeypatch.setattr(starter_export, "DEEPER", {"num_layers": 4, "layer_features": 64})


def numbers(count: int, axes: int) -> torch.Tensor:
    return normalize_2nd_moment(torch.randn(count, axes, generator=torch.Generator().manual_seed(1)))


def two_heaps(count: int) -> torch.Tensor:
    """As with glasses and without: the first axis is 1 or -1, give or take 0.1; the others are normal."""
    stream = torch.Generator().manual_seed(0)
    codes = torch.randn(count, 4, generator=stream)
    codes[:, 0] = torch.where(codes[:, 0] > 0, 1.0, -1.0) + 0.1 * torch.randn(count, generator=stream)
    return codes


def test_at_first_nothing_moves() -> None:
    z = numbers(5, 8)
    assert torch.equal(CodeFlow(8).eval()(z), z)


def test_what_lies_in_two_heaps_is_drawn_in_two_heaps() -> None:
    flow = fitted_flow(two_heaps(2000)[:, None], steps=1500, hidden=128)
    z = numbers(1000, 4)
    before, after = z[:, 0].abs(), flow(z)[:, 0].abs()
    assert not any(p.requires_grad or not p.is_leaf for p in flow.parameters())
    between = [float((x < 0.5).float().mean()) for x in (before, after)]
    assert between[0] > 0.25 and between[1] < 0.12
    assert flow(z).std(0)[1:] == pytest.approx(1.0, abs=0.2)


def test_a_fit_repeats_and_leaves_torch_s_numbers_alone() -> None:
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    first, again, other = (fitted_flow(two_heaps(40)[:, None], steps=5, hidden=8, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), wanted)
    z = numbers(5, 4)
    assert torch.equal(first(z), again(z)) and not torch.equal(first(z), other(z))


def settled(images: np.ndarray, steps: int = 5) -> StarterTraining:
    training = started(SETTLED, images)
    for _ in range(steps):
        training.step()
    return training


def test_the_encoder_rests_and_samples_follow_the_flow(images: np.ndarray) -> None:
    training = started(SETTLED, images)
    for _ in range(3):
        training.step()
    assert training.flow is None
    encoder = {name: value.clone() for name, value in training.average_encoder.state_dict().items()}
    training.step()
    flow = training.flow
    assert flow is not None and training.seen == 16
    weights = training.generator.synthesis.input.weight.clone()
    centre = training.prior_of_codes.centre.clone()
    for _ in range(2):
        training.step()
    assert training.flow is flow and torch.equal(training.prior_of_codes.centre, centre)
    for resting in (training.encoder, training.average_encoder):
        assert equal(dict(resting.state_dict()), encoder)
    assert not torch.equal(training.generator.synthesis.input.weight, weights)
    z = training.prior(64)
    assert not torch.allclose(training.drawn(z), training.prior_of_codes(z))
    pictures = torch.cat([training.batches.at(seen) for seen in range(0, 24, 4)])  # the centre is that of all codes
    codes = training.encoder(pictures, training.features(pictures)) - centre
    assert codes.mean(0).norm() < 0.3 * codes.std(0).norm()


def both_go_on(through: StarterTraining, resumed: StarterTraining) -> None:
    """Two steps of each, after which they are equal to the last bit."""
    for training in (through, resumed):
        for _ in range(2):
            training.step()
    assert equal(resumed.state_dict(), through.state_dict())


def test_a_settled_run_resumes_exactly(images: np.ndarray, tmp_path: Path) -> None:
    through = settled(images)
    save_state(tmp_path / "state.safetensors", through.state_dict())
    save_transport(tmp_path / "small.safetensors", through.transport())
    state = load_state(tmp_path / "state.safetensors")
    resumed = taken_up(state, images)
    both_go_on(through, resumed)
    small = load_transport(tmp_path / "small.safetensors")
    copied = taken_up(small, images)
    z = copied.prior(16)
    torch.testing.assert_close(copied.drawn(z), through.drawn(z), atol=0.02, rtol=0)  # it was not fitted anew
    copied.step()


@pytest.mark.parametrize(("seen", "settles"), [(16, False), (60_000, True)])
def test_a_state_from_before_the_flow_goes_on(images: np.ndarray, seen: int, settles: bool) -> None:
    training = started(CONFIG, images)
    training.step()
    state = training.state_dict() | {"seen": seen}
    for name in ("flow", "settled_at"):
        del state[name]
    for name in ("settle_images", "sample_share"):
        del state["config"][name]
    later = taken_up(state, images)
    later.step()
    assert (later.flow is not None) == settles and later.seen == seen + 4
    assert later.settled_at == (seen if settles else None)


def test_the_mapping_carries_z_through_any_depth() -> None:
    stream = torch.Generator().manual_seed(0)
    weight, bias, z = torch.randn(16, 5, generator=stream) / 5, torch.full((16,), 4.0), numbers(50, 5)
    for depth in (2, 3, 6):
        mapping = MappingNetwork(z_dim=5, c_dim=0, w_dim=16, num_ws=None, num_layers=depth, layer_features=24)
        write_affine(mapping, weight, bias)
        torch.testing.assert_close(mapping(z), z @ weight.t() + bias, atol=1e-5, rtol=0)


def test_the_mapping_learns_what_is_not_affine() -> None:
    mapping = MappingNetwork(z_dim=4, c_dim=0, w_dim=4, num_ws=3, num_layers=4, layer_features=32, lr_multiplier=1.0)
    write_affine(mapping, torch.eye(4), torch.full((4,), 4.0))

    def wanted(z: torch.Tensor) -> torch.Tensor:
        z = normalize_2nd_moment(z)
        return 4 + z + 0.5 * z.roll(1, 1).abs()

    z = torch.randn(500, 4, generator=torch.Generator().manual_seed(9))

    def off() -> float:
        with torch.no_grad():
            return float((mapping(z)[:, 0] - wanted(z)).square().mean())

    before = off()
    teach(mapping, wanted, pairs=4000, steps=600)
    assert before > 0.05 and off() < 0.1 * before
    assert not any(parameter.requires_grad for parameter in mapping.parameters())
    torch.testing.assert_close(mapping.w_avg, wanted(z).mean(0), atol=0.15, rtol=0)


def test_the_finished_generator_draws_what_the_flow_does(images: np.ndarray, tmp_path: Path) -> None:
    training = settled(images)
    heaps = torch.cat([two_heaps(400), two_heaps(400)], 1) + torch.tensor([0.0, 1.0] * 4)  # their mean is not 0
    training.prior_of_codes.root.copy_(torch.randn(8, 16, generator=torch.Generator().manual_seed(0)))
    training.flow = fitted_flow(heaps[:, None], steps=1000, hidden=128)
    G, z = finished(training), numbers(400, 8)
    with torch.no_grad():
        scale = 1 / training.prior_of_codes.root.square().sum(0).sqrt()
        wanted = 4 + scale * (training.drawn(z) - training.prior_of_codes.mark)
        plain = 4 + scale * (training.prior_of_codes(z) - training.prior_of_codes.mark)
        w = G.mapping(z)[:, 0]
        assert (w - wanted).square().mean() < 0.4 * (plain - wanted).square().mean()
        assert (w.mean(0) - G.mapping.w_avg).abs().max() < 0.2 < (G.mapping.w_avg - 4).abs().max()
        codes = (w - 4) / scale + training.prior_of_codes.mark  # pictures are those of what the mapping gives
        pictures = training.average.synthesis(codes[:8, None].expand(-1, G.num_ws, -1))
        torch.testing.assert_close(G(z[:8]), pictures, rtol=0, atol=1e-4 * float(pictures.abs().max()))
    export_generator(training, G, tmp_path / "g.safetensors", data="toy.zip")
    again = load_generator(tmp_path / "g.safetensors", device="cpu")
    with torch.no_grad():
        torch.testing.assert_close(again.map(z).tensor[:, 0], w, atol=0.02, rtol=0)
    assert again.arguments["mapping_kwargs"]["layer_features"] == 64


def test_a_run_goes_on_exactly_across_the_settling(images: np.ndarray, tmp_path: Path) -> None:
    through = settled(images, steps=3)
    save_state(tmp_path / "state.safetensors", through.state_dict())
    state = load_state(tmp_path / "state.safetensors")
    resumed = taken_up(state, images)
    both_go_on(through, resumed)
    assert through.settled_at == 12
    through.go_back(state)
    assert through.flow is None and through.settled_at is None
    through.step()
    assert through.flow is not None


def test_a_settled_run_can_grow(images: np.ndarray) -> None:
    state = settled(images).state_dict()
    grown = grown_run(state, {**CONFIG.generator, "channel_base": 128, "channel_max": 16})
    later = taken_up(grown, images)
    z = later.prior(16)
    torch.testing.assert_close(later.drawn(z), settled(images).drawn(z))
    later.step()


def test_codes_that_are_not_finite_diverge(images: np.ndarray, tmp_path: Path) -> None:
    training = settled(images, steps=3)
    with torch.no_grad():
        training.average_encoder.code.bias.fill_(float("nan"))
    with pytest.raises(DivergedError, match="codes is not finite"):
        training.step()
    later = settled(images)
    later.prior_of_codes.root.fill_(float("nan"))
    measure = distance_measure(images, tmp_path, best=lambda t: None, seconds=1.0, device=torch.device("cpu"))
    with pytest.raises(DivergedError, match="samples are not finite"):
        measure.figure(later)


def test_every_size_judges_samples_before_it_settles() -> None:
    for make in SIZES.values():
        config = make()
        assert config.settle_images > config.reconstruction_images + config.ramp_images

"""The starter recipe: exact resume, the lossy copy, its parts and settings, and an export that loads."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from starter_fixtures import CONFIG, Toy, equal, plain_pictures, started, taken_up
from torch.utils._python_dispatch import TorchDispatchMode

from editkit.errors import CheckpointError, SchemaError, UsageError
from editkit.generator import load_generator
from editkit.networks.discriminator import Discriminator
from editkit.ops.backends import precision
from editkit.seeds import z_from_seeds
from train.code_encoder import CodeEncoder
from train.losses import gradient_penalty, multiscale_l1, relativistic_loss
from train.starter import StarterTraining
from train.starter_batches import Batches
from train.starter_config import StarterConfig, changed, config_of, wide_config
from train.starter_export import export_discriminator, export_generator, finished
from train.state_file import load_state, load_transport, save_state, save_transport
from train.transfer import read_networks


@pytest.fixture
def images() -> np.ndarray:
    return plain_pictures()


@pytest.mark.parametrize("close", [0, 8])
def test_resume_equals_going_on(close: int, images: np.ndarray, tmp_path: Path) -> None:
    through = started(replace(CONFIG, close=close), images)
    for _ in range(3):  # into the adversarial phase
        through.step()
    save_state(tmp_path / "state.safetensors", through.state_dict())
    for _ in range(3):
        through.step()
    state = load_state(tmp_path / "state.safetensors")
    if not close:
        del state["config"]["close"]  # as of a run from before there were two looks
    resumed = taken_up(state, images)
    assert resumed.seen == 12
    for _ in range(3):
        resumed.step()
    assert equal(resumed.state_dict(), through.state_dict())


class Asked(TorchDispatchMode):
    """Counts the times that a value of a tensor is asked for: on a GPU that waits, and no graph can hold it."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        return func(*args, **(kwargs or {}))


def test_no_phase_looks_at_a_value(images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adam apart, which has a way of its own for a GPU."""
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: None)
    training, phases = started(CONFIG, images), []
    plain = training.phases.run

    def watched(name: str, phase: Any, given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        with Asked() as asked:
            report = plain(name, phase, given)
            phases.append((name, asked.count))
            report["pixels"].item()
        assert asked.count == phases[-1][1] + 1  # it is noticed
        return report

    monkeypatch.setattr(training.phases, "run", watched)
    for _ in range(3):
        training.step()
    assert phases == [("reconstruct", 0), ("reconstruct", 0), ("play", 0)]


def test_players_and_features_come_to_the_device() -> None:
    features = Toy()
    for network in (*StarterTraining.networks(CONFIG, [features, features], "meta"), features):
        assert {tensor.device.type for tensor in (*network.parameters(), *network.buffers())} == {"meta"}


def test_reconstruction_learns(images: np.ndarray) -> None:
    config = replace(CONFIG, reconstruction_images=10**6, lr=1e-2, lr_encoder=3e-3, adversarial_weight=0.0)
    training = started(config, images)
    losses = [float(training.step()["pixels"]) for _ in range(180)]
    assert np.mean(losses[-24:]) < 0.6 * np.mean(losses[:12])  # one batch alone says little


def test_the_discriminator_learns_to_tell(images: np.ndarray) -> None:
    """With the generator held still, its logits separate photographs from samples."""
    training = started(replace(CONFIG, lr_discriminator=1e-2), images)
    training.set_rates(discriminator=1e-2)
    with torch.no_grad():
        drawn = training.looks.drawn(4, seed=0, seen=0)
        real = training.looks(training.batches.at(0), drawn)
        fake = training.looks(training.generator(training.prior(4)), drawn)
    for _ in range(40):
        told = training._judge(real, fake)
    assert told["real"] > told["fake"] + 0.5


@pytest.mark.parametrize("width", [8, 40])
def test_the_encoder_takes_pictures_and_maps_of_any_side(width: int) -> None:
    shapes = [(3, 64, 64), (6, 32, 32), (6, 4, 4)]
    given = [torch.rand(2, *shape) for shape in shapes]
    codes = CodeEncoder(shapes[0], shapes[1:], dim=5, width=width)(given[0], given[1:])
    assert codes.shape == (2, 5) and (codes[0] - codes[1]).abs().max() > 1e-4


def test_half_products_are_near_those_of_float32(images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for name in ("fast", "half"):
        monkeypatch.setattr("editkit.ops.conv2d.half_products", lambda: True)
        training = started(CONFIG, images)
        with precision(name):
            found.append([float(training.step()["pixels"]) for _ in range(3)])
    assert found[0] != found[1] and found[0] == pytest.approx(found[1], rel=0.02)


def test_a_state_of_other_features_or_of_the_earlier_recipe_is_refused(images: np.ndarray) -> None:
    training = started(CONFIG, images)
    with pytest.raises(CheckpointError, match=r"trained with --features of other, this is toy"):
        training.load_state_dict(training.state_dict() | {"features": "other"})
    with pytest.raises(CheckpointError, match="earlier recipe"):
        config_of({"config": {}, "average": {}})
    old = training.state_dict() | {"prior_input": {"mean": torch.zeros(16)}}
    with pytest.raises(CheckpointError, match="did not centre its codes"):
        config_of(old)
    with pytest.raises(CheckpointError, match="settings lr_mapping"):
        config_of(training.state_dict() | {"config": {"lr_mapping": 1e-3}})


def test_transport_copy_is_small_lossy_and_goes_on(images: np.ndarray, tmp_path: Path) -> None:
    training = started(CONFIG, images)
    training.step()
    save_state(tmp_path / "full", training.state_dict())
    save_transport(tmp_path / "small", training.transport())
    assert (tmp_path / "small").stat().st_size < 0.5 * (tmp_path / "full").stat().st_size
    state = load_transport(tmp_path / "small")
    assert state["lossy"] is True and "optimizers" not in state
    resumed = taken_up(state, images)
    weight, exact = resumed.generator.synthesis.input.weight, training.average.synthesis.input.weight
    assert resumed.seen == 4 and torch.equal(weight, exact)
    z = training.prior(4)
    torch.testing.assert_close(resumed.generator(z), training.average(z), atol=0.02, rtol=0)
    resumed.step()


def test_export_loads_and_samples(images: np.ndarray, tmp_path: Path) -> None:
    training = started(CONFIG, images)
    training.step()
    export_generator(training, finished(training), tmp_path / "g.safetensors", data="toy.zip")
    G = load_generator(tmp_path / "g.safetensors", device="cpu")
    assert G.spec.alignment == "faces128" and G.spec.resolution == 16
    with torch.no_grad():
        ws = G.map(z_from_seeds(range(2000), 8)).tensor[:, 0]
    assert (ws.mean(0) - G.w_avg).abs().max() < 0.1 * ws.std()
    assert torch.isfinite(G.synthesize(G.map(z_from_seeds([0], 8)))).all()


def test_what_is_exported_can_be_fine_tuned(images: np.ndarray, tmp_path: Path) -> None:
    """The discriminator beside it was taught to tell its samples from the photographs."""
    training, losses = started(CONFIG, images), []
    export_generator(training, finished(training), tmp_path / "g.safetensors", data="toy.zip")
    path = tmp_path / "g.discriminator.safetensors"
    network = finished(training)
    export_discriminator(training, network, path, images=240, on_step=lambda seen, loss: losses.append((seen, loss)))
    assert [seen for seen, _ in losses] == list(range(4, 244, 4)) and losses[0][1] == pytest.approx(np.log(2), abs=0.1)
    begun = read_networks(tmp_path / "g.safetensors")
    assert begun.discriminator is not None and begun.judge == "pixels"
    again = Discriminator(**begun.discriminator_arguments)
    again.load_state_dict({name: value.float() for name, value in begun.discriminator.items()})
    with torch.no_grad():
        assert again(training.batches.at(0)).mean() > again(training.average(training.prior(4))).mean() + 0.3


def test_the_bundled_networks_can_be_fine_tuned() -> None:
    begun = read_networks("faces64")
    assert begun.discriminator is not None and begun.discriminator_arguments["img_resolution"] == 64
    assert begun.id == load_generator(device="cpu").spec.id


def test_state_files_refuse_what_they_are_not(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        load_state(tmp_path / "missing.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises((CheckpointError, SchemaError)):
        load_state(tmp_path / "text.safetensors")


def test_batches_repeat_by_position_and_cover_an_epoch(images: np.ndarray) -> None:
    batches = Batches(images, batch=4, seed=1)
    late = batches.at(16)
    assert torch.equal(Batches(images, batch=4, seed=1).at(16), late)
    means = torch.cat([batches.at(seen).mean([1, 2, 3]) for seen in (0, 4, 8)]).sort().values
    expected = torch.from_numpy(images).float().div(127.5).sub(1).mean([1, 2, 3]).sort().values
    torch.testing.assert_close(means, expected, atol=1e-5, rtol=0)  # every picture once, mirrored or not


def test_losses_by_hand() -> None:
    a = torch.zeros(1, 1, 8, 8)
    assert multiscale_l1(a, a + 0.5).item() == pytest.approx(1.5)  # three scales, no gradients
    assert relativistic_loss(torch.zeros(4, 1), torch.zeros(4, 1)).item() == pytest.approx(np.log(2))
    linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 1, bias=False))
    penalty, logits = gradient_penalty(linear, a.expand(3, -1, -1, -1))
    assert penalty.item() == pytest.approx(linear[1].weight.square().sum().item(), rel=1e-5)
    assert logits.shape == (3, 1)
    penalty.backward()
    assert linear[1].weight.grad is not None and linear[1].weight.grad.abs().max() > 0


def test_settings_are_changed_by_name() -> None:
    found = changed(CONFIG, ["lr=0.5", "batch=8"])
    assert found == replace(CONFIG, lr=0.5, batch=8)
    with pytest.raises(UsageError, match="there are"):
        changed(CONFIG, ["generator=1"])
    with pytest.raises(UsageError, match="whole number"):
        changed(CONFIG, ["batch=1.5"])


def test_the_wide_size_is_for_a_gpu_without_half_precision() -> None:
    found = config_of(None, size="wide")
    assert found == wide_config() and found.generator["num_fp16_res"] == 0 and found.batch > StarterConfig().batch


def test_once_there_are_samples_they_alone_are_judged(images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reconstructions may be blurred where a code does not tell."""
    judged: list[int] = []
    judge = StarterTraining._judge
    monkeypatch.setattr(
        StarterTraining, "_judge", lambda self, real, fake: judged.append(len(fake[0])) or judge(self, real, fake)
    )
    training = started(CONFIG, images)  # batches of 4; samples after 8 photographs
    for _ in range(4):
        training.step()
    assert judged == [4, 4, 2, 2]


def test_learning_rates_rise_and_fall(images: np.ndarray) -> None:
    training = started(replace(CONFIG, anneal_images=1000.0), images)

    def rates(seen: int) -> dict[str, float]:
        training.seen = seen
        training.step()
        return {name: optimizer.param_groups[0]["lr"] for name, optimizer in training.optimizers.items()}

    full = {"synthesis": CONFIG.lr, "encoder": CONFIG.lr_encoder, "discriminator": CONFIG.lr_discriminator}
    assert rates(0) == pytest.approx(full | {"synthesis": CONFIG.lr / 100, "encoder": CONFIG.lr_encoder / 100})
    assert rates(1000) == pytest.approx(full)
    assert rates(4000) == pytest.approx({name: rate / 4 for name, rate in full.items()})


def test_a_batch_has_two_photographs_at_least() -> None:
    with pytest.raises(UsageError, match="of a batch one or more are samples"):
        changed(CONFIG, ["batch=2"])
    for share in ("0.8", "nan", "inf", "0.1"):
        with pytest.raises(UsageError, match=f"a batch of 4 and a sample_share of {re.escape(share)}"):
            changed(CONFIG, [f"sample_share={share}"])
    assert changed(CONFIG, ["batch=7"]).samples == 3
    assert changed(CONFIG, ["batch=16", "sample_share=0.75"]).samples == 12
    with pytest.raises(UsageError, match="anneal_images is above 0"):
        changed(CONFIG, ["anneal_images=0"])

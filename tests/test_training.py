"""The step: what a batch gives does not depend on how it is split, a resume is exact, and a divergence is noticed."""

from __future__ import annotations

import copy

import pytest
import torch
from small_training import SMALL, close, pictures, same, small

from editkit import perceptual
from editkit.errors import UsageError
from train.config import RECIPES, TrainConfig
from train.presets import preset
from train.snapshots import samples
from train.training import DivergedError, Training, arranged
from train.world import World


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_steps(recipe: str) -> None:
    changes = {"generator": SMALL | ({"num_layers": 4} if recipe not in ("stylegan2", "projected") else {})}
    if recipe in ("projected", "stylegan-xl", "tiny-xl"):
        changes |= {"discriminator": {"width": 4, "largest": 16}, "path_from": 0}
    config = small(recipe, augment="ada", strength=0.5, batch=4, c_dim=2, **changes)
    training = Training(config)
    before = copy.deepcopy(training.generator.state_dict())
    report = training.step(pictures(config))
    assert training.seen == 4 and report["loss/D"] > 0
    assert ("penalty/r1" in report) is (config.judge == "pixels")
    assert ("penalty/path_length" in report) is (recipe in ("stylegan2", "stylegan-xl"))
    assert not same(before, training.generator.state_dict())
    assert TrainConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize("recipe", ["stylegan3-t", "stylegan3-r", "stylegan2", "stylegan-xl"])
def test_half_precision_steps_like_float32(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What GPUs run, on a processor: layers in float16, weights, gradients and penalties in float32."""
    seen: set[torch.dtype] = set()
    changes = {"generator": SMALL | ({"num_layers": 4} if recipe != "stylegan2" else {}), "path_from": 0}
    if recipe == "stylegan-xl":
        changes |= {"discriminator": {"width": 4, "largest": 16}}
    changes |= {"augment": "none", "penalty_every": 1}
    reports, images = {}, {}
    for devices in ((), ("cpu",)):
        monkeypatch.setattr("editkit.networks.layers.HALF_DEVICES", devices)
        training = Training(small(recipe, batch=4, **changes))
        layers = [each for name, each in training.generator.synthesis.named_modules() if name.count(".") == 0 and name]
        hooks = [each.register_forward_hook(lambda _, __, out: seen.add(_first(out).dtype)) for each in layers]
        reports[devices] = training.step(pictures(training.config))
        images[devices] = samples(training, 4)
        for hook in hooks:
            hook.remove()
        assert (torch.float16 in seen) is bool(devices)
        assert {p.dtype for p in training.generator.parameters()} == {torch.float32}
    full, half = reports.values()
    assert full.keys() == half.keys()
    for name, value in full.items():
        if not name.startswith("signs"):
            assert half[name] == pytest.approx(value, rel=0.02, abs=0.02), name
    full_images, half_images = images.values()
    assert 0 < (full_images - half_images).abs().max() < 0.05


def _first(value: torch.Tensor | tuple) -> torch.Tensor:
    return value if isinstance(value, torch.Tensor) else value[0]


def test_published_settings() -> None:
    t, r = preset("stylegan3-t", resolution=256), preset("stylegan3-r", resolution=256)
    assert (t.lr, t.lr_discriminator, t.penalty_every, t.average_images) == (0.0025, 0.002, 16, 10_000)
    assert t.gamma == pytest.approx(0.4096) and t.augment == "ada" and t.target == 0.6
    assert r.generator["conv_kernel"] == 1 and r.generator["channel_max"] == 1024 and r.blur_sigma == 10
    two = preset("stylegan2", resolution=256)
    assert (two.path_length, two.path_every, two.style_mixing) == (2.0, 4, 0.9)


def test_published_settings_of_projected_recipes() -> None:
    projected, xl = preset("projected", resolution=256), preset("stylegan-xl", resolution=16, c_dim=5)
    assert (projected.loss, projected.judge, projected.augment, projected.gamma) == ("projected", "features", "diff", 0)
    assert (projected.path_length, projected.style_mixing) == (0, 0)
    assert (xl.z_dim, xl.generator["w_dim"], xl.style_mixing, xl.embedding) == (64, 512, 0, "features")
    assert (xl.blur_sigma, xl.blur_images, xl.path_length, xl.path_from) == (2, 200_000, 2, 200_000)
    assert xl.generator["embed_dim"] == xl.discriminator["embed_dim"] == 192
    one = preset("stylegan-xl", resolution=16)
    assert (one.c_dim, one.discriminator["c_dim"], one.embedding) == (1, 0, "random")
    mixed = preset("projected", resolution=64, loss="relativistic")
    assert mixed.judge == "features" and mixed.gamma == 1


def test_other_feature_networks_than_the_configurations_are_refused() -> None:
    config = small("tiny", loss="projected", discriminator={"width": 4, "largest": 16}, features=("timm:other-0",))
    with pytest.raises(UsageError, match="--features"):
        Training(config)


def test_the_seed_alone_decides_where_a_projected_training_begins() -> None:
    """Not whether the feature network was in memory already."""
    config = small(loss="projected", discriminator={"width": 4, "largest": 16})
    states = []
    for _ in range(2):
        perceptual._feature_network.cache_clear()
        states += [Training(config).state_dict() for _ in range(2)]
    assert all(same(states[0], state) for state in states[1:])


def test_a_projected_discriminator_plays_the_relativistic_game() -> None:
    config = small("tiny-xl", loss="relativistic", generator=SMALL | {"num_layers": 4},
                   discriminator={"width": 4, "largest": 16}, batch=4)  # fmt: skip
    report = Training(config).step(pictures(config))
    assert report["penalty/r1"] > 0 and report["penalty/r2"] > 0


@pytest.mark.parametrize("loss", ["relativistic", "projected"])
def test_a_resume_is_exact(loss: str) -> None:
    changes = {"discriminator": {"width": 4, "largest": 16}} if loss == "projected" else {}
    changes |= {} if loss == "projected" else {"penalty_every": 2}
    config = small(augment="ada", strength=0.3, loss=loss, **changes)
    through = Training(config)
    for _ in range(5):
        through.step(pictures(config))
    first = Training(config)
    for _ in range(2):
        first.step(pictures(config))
    state = copy.deepcopy(first.state_dict())
    torch.rand(3)  # the stream of torch plays no part
    second = Training(config)
    second.load_state_dict(state)
    for _ in range(3):
        second.step(pictures(config))
    assert same(through.state_dict(), second.state_dict())


@pytest.mark.parametrize("loss", ["relativistic", "non-saturating"])
def test_parts_of_a_batch_add_up(loss: str) -> None:
    """A batch of eight in one part and in two, with noise, mixed styles and path lengths: the styles' normalisation
    alone sees the part (StyleGAN2 has none)."""
    options = {"loss": loss, "penalty_every": 1, "path_length": 2.0, "style_mixing": 0.5}
    changes = {"average_ramp": None}
    whole, parts = (Training(small("stylegan2", micro_batch=size, **options, **changes)) for size in (8, 4))
    for name, value in parts.generator.named_parameters():
        if name.endswith("noise_strength"):  # which begins at 0
            value.data.fill_(0.1)
    whole.generator.load_state_dict(parts.generator.state_dict())
    for training in (whole, parts):
        training.step(pictures(training.config))
    assert close(whole, parts, tolerance=2e-3)
    other = Training(small("stylegan2", seed=1, **options, **changes))
    assert not close(whole, other, tolerance=2e-3)


def test_every_second_sample_has_its_path_measured_whoever_has_it() -> None:
    """Of two processes with eleven each, one has six of the eleven that count: it weighs more."""
    config = small("stylegan2", batch=24, micro_batch=12)
    trainings = [Training(config, world=World(rank=rank, size=2)) for rank in range(2)]
    shares = [list(each._parts(pictures(config, count=11), "path", every=2)) for each in trainings]
    sizes = [[len(batch.z) for batch, _ in parts] for parts in shares]
    assert sizes == [[6], [5]]  # places 0 to 10 and 11 to 21
    weights = [sum(weight for _, weight in parts) for parts in shares]
    assert weights == [pytest.approx(12 / 11), pytest.approx(10 / 11)]


def test_parts_of_unequal_size_count_by_their_size() -> None:
    """A process's share of 12 in micro-batches of 8 is 8 and 4, as where a batch of 24 is for two."""
    changes = {"generator": SMALL | {"use_noise": False}, "path_length": 0.0, "average_ramp": None}
    whole, parts = (Training(small("stylegan2", batch=24, micro_batch=size, **changes)) for size in (24, 8))
    for training in (whole, parts):
        training.step(pictures(training.config, count=12))
    assert close(whole, parts, tolerance=2e-3)


def test_processes_take_whole_groups() -> None:
    with pytest.raises(UsageError, match="--batch 8"):
        Training(small(batch=12), world=World(rank=0, size=2))
    with pytest.raises(UsageError, match="--batch"):
        Training(small(batch=8), world=World(rank=0, size=3))


def test_averages_are_formed_on_the_process_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL takes no tensors of the CPU, where reports are collected; "meta" stands for a GPU."""
    seen = []

    def all_reduce(tensor: torch.Tensor) -> None:
        seen.append(tensor.device.type)
        raise InterruptedError  # nothing comes back from "meta"

    monkeypatch.setattr("torch.distributed.all_reduce", all_reduce)
    for call in (World.average, lambda world, tensors: world.total(tensors[0])):
        with pytest.raises(InterruptedError):
            call(World(size=2, device=torch.device("meta")), [torch.zeros(3)])
    assert seen == ["meta", "meta"]


def test_groups_are_of_consecutive_samples() -> None:
    order = arranged(8).reshape(4, 2)  # minibatch standard deviation compares a column
    assert sorted(order[:, 0].tolist()) == [0, 1, 2, 3] and sorted(order[:, 1].tolist()) == [4, 5, 6, 7]
    assert arranged(6).tolist() == list(range(6))


def test_a_divergence_is_noticed_in_losses_and_gradients() -> None:
    config = small()
    training = Training(config)
    with torch.no_grad():
        training.discriminator.b4.out.weight.fill_(float("nan"))
    with pytest.raises(DivergedError, match="at 0 images"):
        training.step(pictures(config))
    assert training.seen == 0


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"loss": "hinge"}, "loss is one of"),
        ({"augment_preset": "glitter"}, "glitter"),
        ({"batch": 12, "micro_batch": 8}, "multiple"),
        ({"batch": 12, "micro_batch": 6}, "multiple of 4"),
        ({"strength": 1.5}, "0 to 1"),
        ({"strength": 0.5, "augment": "diff"}, "ada or fixed"),
        ({"loss": "projected", "gamma": 1.0}, "leave gamma out"),
        ({"guidance": "timm:some"}, "guides the projected loss"),
        ({"embedding": "features"}, "StyleGAN-XL"),
        ({"resolution": 24}, "--resolution"),
        ({"recipe": "stylegan4"}, "stylegan4"),
    ],
)
def test_bad_settings(changes: dict, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        small(**changes)

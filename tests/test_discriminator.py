"""The discriminator against the reference, first and second derivatives included."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from network_fixtures import absolute_error, network_fixture, relative_error

from editkit.errors import CheckpointError
from editkit.networks import build_network
from editkit.networks.discriminator import Discriminator, minibatch_std
from editkit.networks.mapping import MappingNetwork
from editkit.ops.backends import use_backend

NAMES = ("d_64_resnet", "d_64_resnet_cond", "d_64_skip_cond", "d_32_orig_nombstd")
every_network = pytest.mark.parametrize("name", NAMES)
RUNS = [
    *((name, backend, torch.contiguous_format) for name in NAMES for backend in ("cpu", "reference")),
    ("d_64_resnet", "cpu", torch.channels_last),  # takes our own weight gradient
]


def _network(name: str = "d_64_resnet", **changes: object) -> Discriminator:
    """With the fixture's weights and, unless changed, its arguments."""
    fixture = network_fixture(name)
    made = build_network("discriminator", fixture.arguments | changes)
    made.load_state_dict(fixture.weights)  # strict: every name and shape
    return made


@lru_cache
def _exact_penalty_gradients(name: str) -> tuple[torch.Tensor, ...]:
    """What ``r1_grad_param_*`` are of, in float64."""
    fixture, model = network_fixture(name), _network(name).double()
    images = fixture.tensor("img").double().requires_grad_()
    with use_backend("reference"):
        logits = model(images, fixture.tensor("c").double())
        (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
        names = [str(name) for name in fixture.io["r1_grad_param_names"]]
        penalty = gradient.square().sum([1, 2, 3]).mean()
        return torch.autograd.grad(5 * penalty, [model.get_parameter(name) for name in names])


@pytest.mark.parametrize(("name", "backend", "layout"), RUNS)
def test_logits_and_gradients_match_the_reference(name: str, backend: str, layout: torch.memory_format) -> None:
    """The penalty of Mescheder 2018, eq. 9, differentiates twice."""
    fixture, model = network_fixture(name), _network(name)
    model.to(memory_format=layout)  # type: ignore[call-overload]
    images = fixture.tensor("img").contiguous(memory_format=layout).requires_grad_()
    labels = fixture.tensor("c")
    with use_backend(backend):
        logits = model(images, labels)
        assert absolute_error(logits, fixture.tensor("logits")) <= 5e-6
        for count in (4, 1):  # other groups, other logits: they see the spread of their group
            part = model(images[:count], labels[:count])
            assert absolute_error(part, fixture.tensor(f"logits_batch{count}")) <= 5e-6
        (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
        seen, wanted = fixture.seen(gradient).detach(), fixture.tensor("grad_img")
        # summed in another order, one activation of sample 6 falls on the other side of its kink:
        # a spot of 16 x 16 pixels, in that layout only
        spot = 0 if layout == torch.contiguous_format else 16 * 16 * 3 / gradient.numel()
        off = (seen - wanted).abs() > 1e-4 * wanted.abs().max()
        assert off.double().mean() <= spot
        assert torch.nn.functional.cosine_similarity(seen.flatten(), wanted.flatten(), dim=0) > 1 - 1e-5
        penalty = gradient.square().sum([1, 2, 3])
        assert relative_error(penalty, fixture.tensor("r1_penalty")) <= (1e-4 if spot == 0 else 1e-3)
        names = [str(name) for name in fixture.io["r1_grad_param_names"]]
        gradients = torch.autograd.grad(5 * penalty.mean(), [model.get_parameter(name) for name in names])
    nothing = 1e-8 * fixture.io["r1_grad_param_l2"].max()  # beside the largest: of a bias that the penalty hardly feels
    # the bias of the logits has no part in the penalty; layers that are frozen are no parameters
    assert {key for key, _ in model.named_parameters()} - set(names) == {"b4.out.bias"}
    # How far the reference's float32 is from float64 says what rounding does to this second derivative: activations of
    # one sample lie at their kink. The float64 run has to be near the reference, ours as near as float32 can be.
    for key, found, exact, norm, total in zip(
        names,
        gradients,
        _exact_penalty_gradients(name),
        fixture.io["r1_grad_param_l2"],
        fixture.io["r1_grad_param_sum"],
        strict=True,
    ):
        found = found.double()
        for ours, sure, theirs, scale in (
            (found.norm(), exact.norm(), norm, norm),
            (found.sum(), exact.sum(), total, max(norm, abs(total))),
        ):
            bound, rounding = 1e-3 * scale + nothing, abs(sure.item() - theirs)
            assert rounding <= 4 * bound, key
            assert abs(ours.item() - sure.item()) <= bound + 4 * rounding, key


@every_network
def test_every_layer_matches_the_reference(name: str) -> None:
    fixture, model = network_fixture(name), _network(name)
    found: dict[str, torch.Tensor] = {}
    for layer, module in model.named_modules():
        module.register_forward_hook(lambda module, inputs, output, *, layer=layer: found.__setitem__(layer, output))
    with torch.no_grad():
        model(fixture.tensor("img"), fixture.tensor("c"))
    compared = 0
    for layer in fixture.facts["layer_names"]:
        if layer not in found:  # the minibatch standard deviation is a function here
            assert layer == "b4.mbstd"
            continue
        key = f"layer__{layer.replace('.', '__')}"
        crop, std = fixture.tensor(f"{key}__crop"), fixture.io[f"{key}__std"].item()
        output = found[layer]
        assert list(output.shape) == fixture.io[f"{key}__shape"].tolist()
        part = output[: len(crop), :4, :8, :8] if output.ndim == 4 else output[: len(crop), : crop.shape[1]]
        assert absolute_error(part, crop) <= 1e-4 * std, layer
        assert abs(output.double().std().item() - std) <= 1e-4 * std, layer
        compared += 1
    assert compared == len([layer for layer in fixture.facts["layer_names"] if layer != "b4.mbstd"])


@every_network
def test_designed_filters_are_the_stored_ones(name: str) -> None:
    fixture = network_fixture(name)
    fresh = build_network("discriminator", fixture.arguments).state_dict()
    filters = [key for key in fresh if key.endswith("_filter")]
    assert filters
    for key in filters:
        assert absolute_error(fresh[key], fixture.weights[key]) <= 2e-7, key


@pytest.mark.parametrize("architecture", ["orig", "skip", "resnet"])
def test_frozen_layers_are_the_first(architecture: str) -> None:
    """Counted in the order of definition: the way in, the two convolutions, the bypass."""
    order = {"orig": ["b16.fromrgb", "b16.conv0", "b16.conv1", "b8.conv0"]}
    order["skip"] = [*order["orig"][:3], "b8.fromrgb"]
    order["resnet"] = [*order["orig"][:3], "b16.skip"]
    sizes = {"img_resolution": 16, "channel_base": 64, "channel_max": 8, "architecture": architecture}
    whole = {key for key, _ in Discriminator(**sizes).named_parameters()}
    for count in (0, 1, 4):
        model = Discriminator(**sizes, block_kwargs={"freeze_layers": count})
        frozen = whole - {key for key, _ in model.named_parameters()}
        assert {key.rpartition(".")[0] for key in frozen} == set(order[architecture][:count])
        assert set(model.state_dict()) == set(Discriminator(**sizes).state_dict())


def test_a_label_is_projected() -> None:
    """Miyato & Koyama 2018, equation 3: twice the mapped label, twice the logit."""
    fixture, model = network_fixture("d_64_skip_cond"), _network("d_64_skip_cond")
    images, label = fixture.tensor("img")[:2], fixture.tensor("c")[:2]
    with torch.no_grad():
        mapped = model.mapping(None, label)
        maps, rest = model._blocks(images)
        once, twice = (model.b4(maps[-1], rest, factor * mapped) for factor in (1, 2))
        assert mapped.shape == (2, 12) and absolute_error(once, model(images, label)) < 1e-6
        assert absolute_error(twice, 2 * once) < 1e-6
        assert absolute_error(model(images, label.flip(1)), once) > 1e-3
    with pytest.raises(ValueError, match=r"conditional: labels must be \[N, 4\], got none"):
        model(images)
    with pytest.raises(ValueError, match="keeps no mean"):
        MappingNetwork(z_dim=2, c_dim=0, w_dim=2, num_ws=1, w_avg_beta=None)(torch.ones(1, 2), truncation_psi=0.5)


def test_minibatch_std_on_numbers_done_by_hand() -> None:
    x = torch.zeros(4, 2, 1, 1)
    x[:, 0, 0, 0] = torch.tensor([1.0, 0, 3, 0])  # groups are strided: samples 0 and 2, 1 and 3
    y = minibatch_std(x, group_size=2, num_channels=1)
    assert y.shape == (4, 3, 1, 1) and torch.equal(y[:, :2], x)
    e = 1e-4  # the root of the stabilising 1e-8
    found = y[:, 2, 0, 0]  # mean of (1, e) and of (e, e)
    assert torch.allclose(found, torch.tensor([(1 + e) / 2, e, (1 + e) / 2, e]), atol=1e-6)
    each = minibatch_std(x, group_size=2, num_channels=2)
    assert torch.allclose(each[:, 2:, 0, 0], torch.tensor([[1, e], [e, e], [1, e], [e, e]]), atol=1e-6)
    whole = minibatch_std(x, group_size=0, num_channels=1)  # 0: the batch is one group
    expected = (torch.tensor([1.0, 0, 3, 0]).std(correction=0) + 1e-4) / 2
    assert torch.allclose(whole[:, 2], expected.expand(4, 1, 1), atol=1e-4)
    alone = minibatch_std(x[:1], group_size=4, num_channels=1)[:, 2]
    assert torch.allclose(alone, torch.full((1, 1, 1), e), atol=1e-9)


def test_minibatch_std_can_be_switched_off() -> None:
    model = Discriminator(img_resolution=16, channel_base=64, channel_max=8, epilogue_kwargs={"mbstd_num_channels": 0})
    images = torch.randn(5, 3, 16, 16)
    assert absolute_error(model(images)[:1], model(images[:1])) < 1e-6


def test_the_clamp_binds() -> None:
    fixture = network_fixture("d_64_resnet")
    with torch.no_grad():
        images = fixture.tensor("img")[:2]
        open_logits, clamped = (_network(conv_clamp=limit)(images) for limit in (None, 0.05))
    assert absolute_error(open_logits, clamped) > 1e-3


def test_bad_input_is_refused() -> None:
    for resolution in (4, 24, 0):
        with pytest.raises(ValueError, match="power of two from 8"):
            Discriminator(img_resolution=resolution)
    with pytest.raises(ValueError, match="batch of 6 does not divide into groups of 4"):
        minibatch_std(torch.zeros(6, 2, 4, 4), group_size=4, num_channels=1)
    with pytest.raises(ValueError, match=r"takes images \[N, 3, 16, 16\], got \(1, 3, 8, 8\)"):
        Discriminator(img_resolution=16, channel_base=64, channel_max=8)(torch.zeros(1, 3, 8, 8))
    for change, message in (
        ({"architecture": "dense"}, "unknown architecture 'dense'"),
        ({"chanel_max": 3}, "chanel_max"),
        ({"block_kwargs": {"freeze": 3}}, "freeze"),
        ({"epilogue_kwargs": {"mbstd_num_channels": 3}}, "8 channels do not divide into mbstd_num_channels=3"),
        ({"c_dim": 3, "mapping_kwargs": {"num_layers": 0}}, "needs input and a layer"),
    ):
        with pytest.raises(CheckpointError, match=message):
            build_network("discriminator", {"img_resolution": 16, "channel_base": 64, "channel_max": 8} | change)

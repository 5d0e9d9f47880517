"""StyleGAN2 against the reference networks, at the tolerances of the fixtures' manifest."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from network_fixtures import absolute_error, network_fixture, relative_error

from editkit.errors import CheckpointError
from editkit.networks import build_network
from editkit.networks.stylegan2 import StyleGAN2Generator
from editkit.ops.backends import use_backend

NAMES = ("sg2_64", "sg2_64_resnet", "sg2_32_orig", "sg2ada_64")
IMAGE = 2e-5  # relative to the largest magnitude
# 1e-4 elsewhere. Of "orig" one activation lies 2e-8 from zero, and on some processors falls on the other side.
GRADIENT = {"sg2ada_64": 1e-3, "sg2_32_orig": 1e-3}
LAYERED = NAMES[:3]  # the older network's fixture has inputs, images and gradients along ws only
every_network = pytest.mark.parametrize("name", NAMES)
every_layered = pytest.mark.parametrize("name", LAYERED)


def network(name: str) -> StyleGAN2Generator:
    """A fresh network with the fixture's weights, in evaluation mode."""
    fixture = network_fixture(name)
    made = build_network("stylegan2", fixture.arguments)
    made.load_state_dict(fixture.weights)  # strict: every name and shape
    return made.eval()


@cache
def observed(name: str, backend: str = "cpu", fused: bool = False) -> dict[str, Any]:
    """One forward and backward pass: image, layer outputs, gradients along ws and every parameter."""
    fixture, model = network_fixture(name), network(name)
    layers: dict[str, torch.Tensor] = {}
    for layer in fixture.facts.get("layer_names", ()):
        model.synthesis.get_submodule(layer).register_forward_hook(
            lambda module, inputs, output, *, layer=layer: layers.__setitem__(layer, output.detach())
        )
    keys = [str(key) for key in fixture.io.get("grad_param_names", ())]
    with use_backend(backend):
        ws = fixture.tensor("ws_psi1").requires_grad_()
        image = model.synthesis(ws, fused=fused)
        r = fixture.tensor("grad_r")
        gradients = torch.autograd.grad((image[: len(r)] * r).sum(), [ws, *(model.get_parameter(key) for key in keys)])
    named = dict(zip(keys, gradients[1:], strict=True))
    return {"image": image.detach(), "layers": layers, "grad_ws": gradients[0][: len(r)], "parameters": named}


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
@every_network
def test_images(name: str, backend: str, fused: bool) -> None:
    fixture, image = network_fixture(name), observed(name, backend, fused)["image"]
    assert relative_error(fixture.seen(image), fixture.tensor("img")) <= IMAGE
    if "img_f64" in fixture.io:
        assert relative_error(fixture.seen(image[:1]), fixture.tensor("img_f64")) <= IMAGE
        wanted = fixture.tensor("img_nonfused")
        assert relative_error(fixture.seen(image[: len(wanted)]), wanted) <= IMAGE


@every_layered
def test_every_layer(name: str) -> None:
    fixture, layers = network_fixture(name), observed(name)["layers"]
    assert list(layers) and set(layers) == set(fixture.facts["layer_names"])
    for layer, output in layers.items():
        key = f"layer__{layer.replace('.', '__')}"
        mean, std = (fixture.io[f"{key}__{part}"].item() for part in ("mean", "std"))
        crop = fixture.tensor(f"{key}__crop")
        assert list(output.shape) == fixture.io[f"{key}__shape"].tolist(), layer
        assert abs(output.double().mean().item() - mean) <= 1e-4 * std, layer
        assert abs(output.double().std().item() - std) <= 1e-4 * std, layer
        assert absolute_error(output[: len(crop), :4, :8, :8], crop) <= 1e-4 * std, layer


@pytest.mark.parametrize("fused", [False, True])
@every_network
def test_gradients_along_ws(name: str, fused: bool) -> None:
    fixture, found = network_fixture(name), observed(name, fused=fused)["grad_ws"].double()
    for key in ("grad_ws", "grad_ws_f64"):
        if key in fixture.io:
            wanted = fixture.tensor(key)[: len(found)].double()
            assert relative_error(found, wanted) <= GRADIENT.get(name, 1e-4)
            assert torch.nn.functional.cosine_similarity(found.flatten(), wanted.flatten(), dim=0) > 1 - 1e-6


@pytest.mark.parametrize("fused", [False, True])
def test_gradients_in_double_precision_leave_no_doubt(fused: bool) -> None:
    fixture, model = network_fixture("sg2_32_orig"), network("sg2_32_orig").double()
    ws, r = fixture.tensor("ws_psi1").double().requires_grad_(), fixture.tensor("grad_r").double()
    (found,) = torch.autograd.grad((model.synthesis(ws, fused=fused)[: len(r)] * r).sum(), ws)
    wanted = next(fixture.tensor(key) for key in ("grad_ws_f64", "grad_ws") if key in fixture.io)[: len(r)].double()
    assert relative_error(found[: len(wanted)], wanted) <= (1e-12 if "grad_ws_f64" in fixture.io else 1e-5)


@every_layered
def test_gradients_of_parameters(name: str) -> None:
    fixture, found = network_fixture(name), observed(name)["parameters"]
    assert set(found) == {f"synthesis.{key}" for key, _ in network(name).synthesis.named_parameters()}
    for index, (key, gradient) in enumerate(found.items()):
        norm, total = (fixture.io[f"grad_param_{part}"][index] for part in ("l2", "sum"))
        assert abs(gradient.double().norm().item() - norm) <= 1e-4 * norm, key
        # near zero a sum is compared with the norm
        assert abs(gradient.double().sum().item() - total) <= 1e-4 * max(norm, abs(total)), key


@every_layered
def test_other_ways_in(name: str) -> None:
    """Style mixing, truncation and no noise."""
    fixture, model = network_fixture(name), network(name)
    mixed, truncated = fixture.tensor("ws_mixed"), fixture.tensor("ws_psi07_cutoff5")
    with torch.no_grad():
        found = {
            "img_mixed": model.synthesis(mixed),
            "img_psi07_cutoff5": model.synthesis(truncated[:1]),
            "img_noise_none": model.synthesis(fixture.tensor("ws_psi1"), noise_mode="none"),
        }
    for key, image in found.items():
        wanted = fixture.tensor(key)
        assert relative_error(fixture.seen(image[: len(wanted)]), wanted) <= IMAGE, key


@every_network
def test_mapping_and_truncation(name: str) -> None:
    fixture, model = network_fixture(name), network(name)
    z, c = fixture.tensor("z"), fixture.tensor("c")
    for key, options in (
        ("psi1", {}),
        ("psi05", {"truncation_psi": 0.5}),
        ("psi07_cutoff5", {"truncation_psi": 0.7, "truncation_cutoff": 5}),
    ):
        if f"ws_{key}" in fixture.io:
            assert absolute_error(model.mapping(z, c, **options), fixture.tensor(f"ws_{key}")) <= 3e-6, key
    to_average = model.mapping(z, c, truncation_psi=0.0)
    assert absolute_error(to_average, model.mapping.w_avg.expand_as(to_average)) <= 1e-6


@every_layered
def test_the_gradient_along_z(name: str) -> None:
    fixture, model = network_fixture(name), network(name)
    z, r = fixture.tensor("z").requires_grad_(), fixture.tensor("grad_r")
    (gz,) = torch.autograd.grad((model(z, fixture.tensor("c"))[: len(r)] * r).sum(), z)
    assert relative_error(gz[: len(r)], fixture.tensor("grad_z")[: len(r)]) <= 1e-4


@every_layered
def test_the_running_average(name: str) -> None:
    """One call with ``update_emas`` moves w_avg and nothing else; one without moves nothing."""
    fixture, model = network_fixture(name), network(name)
    z, c = fixture.tensor("z"), fixture.tensor("c")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        model(z, c)
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        model(z, c, update_emas=True)
    assert absolute_error(model.mapping.w_avg, fixture.tensor("after_update_emas__w_avg")) <= 3e-6
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"mapping.w_avg"}


@every_layered
def test_float64_all_the_way(name: str) -> None:
    fixture, model = network_fixture(name), network(name).double()
    ws = fixture.tensor("ws_psi1").double().requires_grad_()
    r = fixture.tensor("grad_r").double()
    image = model.synthesis(ws)
    assert image.dtype == torch.float64
    (gradient,) = torch.autograd.grad((image[: len(r)] * r).sum(), ws)
    assert relative_error(fixture.seen(image[:1].detach()), fixture.tensor("img_f64")) <= 2e-9
    assert relative_error(gradient[: len(r)], fixture.tensor("grad_ws_f64")[: len(r)]) <= 2e-8


@every_network
def test_designed_filters_are_the_stored_ones(name: str) -> None:
    """Loading a checkpoint replaces them; without one they must be right as well."""
    fixture = network_fixture(name)
    fresh = build_network("stylegan2", fixture.arguments).state_dict()
    filters = [key for key in fresh if key.endswith("_filter")]
    assert filters
    for key in filters:
        assert absolute_error(fresh[key], fixture.weights[key]) <= 2e-7, key


SMALL = {"z_dim": 8, "c_dim": 0, "w_dim": 8, "img_resolution": 16, "img_channels": 3, "channel_base": 64}


def test_random_noise_differs_from_sample_to_sample() -> None:
    model = build_network("stylegan2", SMALL)
    for name, parameter in model.named_parameters():
        if name.endswith("noise_strength"):
            torch.nn.init.constant_(parameter, 0.5)
    ws = model.mapping(torch.randn(1, 8)).expand(2, -1, -1)
    first, second = model.synthesis(ws, noise_mode="random").split(1)
    assert absolute_error(first, second) > 1e-2
    first, second = model.synthesis(ws).split(1)
    assert absolute_error(first, second) < 1e-5
    torch.manual_seed(3)
    drawn = model.synthesis(ws, noise_mode="random")
    torch.manual_seed(3)
    assert torch.equal(model.synthesis(ws, noise_mode="random"), drawn)


def test_the_older_constructor_is_the_newer_one_nested() -> None:
    outer = {key: SMALL[key] for key in ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")}
    older = build_network("stylegan2", outer | {"synthesis_kwargs": {"channel_base": 64, "conv_clamp": 0.1}})
    newer = build_network("stylegan2", SMALL | {"conv_clamp": 0.1})
    newer.load_state_dict(older.state_dict())
    z = torch.randn(2, 8)
    assert torch.equal(older(z), newer(z))
    # the older one has no clamp unless one is named
    free = build_network("stylegan2", outer | {"synthesis_kwargs": {"channel_base": 64}})
    assert free.synthesis.b16.conv1.conv_clamp is None
    assert build_network("stylegan2", SMALL).synthesis.b16.conv1.conv_clamp == 256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"img_resolution": 24}, "power of two from 4"),
        ({"img_resolution": 2}, "power of two from 4"),
        ({"architecture": "dense"}, "unknown architecture 'dense'"),
        ({"chanel_max": 3}, "chanel_max"),
        ({"mapping_kwargs": {"layers": 3}}, "layers"),
        ({"mapping_kwargs": {"num_layers": 0}}, "a mapping needs input and a layer"),
        ({"synthesis_kwargs": {}}, "synthesis_kwargs and channel_base at once"),
        ({"activation": "sine"}, "unknown activation 'sine'"),
    ],
)
def test_wrong_arguments_are_one_typed_error(change: dict, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        build_network("stylegan2", SMALL | change)


def test_wrong_inputs_are_refused() -> None:
    model = build_network("stylegan2", SMALL | {"c_dim": 3})
    z, c = torch.zeros(2, 8), torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"z must be \[N, 8\]"):
        model(torch.zeros(2, 9), c)
    with pytest.raises(ValueError, match=r"conditional.*\[2, 3\].*got none"):
        model(z)
    with pytest.raises(ValueError, match=r"labels must be \[2, 3\], got \(1, 3\)"):
        model(z, c[:1])
    with pytest.raises(ValueError, match=r"ws must be \[N, 6, 8\]"):
        model.synthesis(torch.zeros(2, 5, 8))
    with pytest.raises(ValueError, match="unknown noise_mode 'fixed'"):
        model.synthesis(torch.zeros(2, 6, 8), noise_mode="fixed")

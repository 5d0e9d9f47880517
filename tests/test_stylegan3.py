"""StyleGAN3 against the reference networks, on every backend, at the tolerances of the fixtures' manifest."""

from __future__ import annotations

import os
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from network_fixtures import NetworkFixture, absolute_error, layer_tables, network_fixture, relative_error
from torch import Tensor

from editkit.errors import CheckpointError
from editkit.networks import build_network
from editkit.networks.stylegan3 import StyleGAN3Generator
from editkit.ops.backends import use_backend

# name -> (image, gradient), relative to the largest magnitude
TOLERANCES = {
    "sg3t_64": (2e-5, 7e-4),
    "sg3r_64": (2e-5, 1e-4),
    "sg3t_64_cond": (2e-5, 1e-4),
    "sg3t_128": (2e-5, 1e-3),
    "sg3t_128_nondefault": (2e-4, 1e-2),
    "sg3r_32_nondefault": (2e-5, 4e-4),
}
CLOSENESS = {"sg3t_128_nondefault": 1e-5}  # 1 - cosine of two gradients; 1e-6 elsewhere
# The slow definition runs on every network where the full fixtures are (in CI), else on one of each sort.
SLOW = tuple(TOLERANCES) if "EDITKIT_FIXTURES" in os.environ else ("sg3t_64", "sg3r_64", "sg3r_32_nondefault")
RUNS = [(name, backend) for name in TOLERANCES for backend in ("cpu", "polyphase")] + [(n, "reference") for n in SLOW]
SMALL = ("sg3t_64", "sg3r_32_nondefault")
every_run = pytest.mark.parametrize(("name", "backend"), RUNS)
every_network = pytest.mark.parametrize("name", list(TOLERANCES))


def network(name: str) -> StyleGAN3Generator:
    """A fresh network with the fixture's weights, in evaluation mode."""
    fixture = network_fixture(name)
    made = build_network("stylegan3", fixture.arguments)
    made.load_state_dict(fixture.weights)  # strict: every name and shape
    return made.eval()


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What is kept of a layer's output."""

    shape: list[int]
    mean: float
    std: float
    crop: Tensor


@cache  # pytest runs test by test, not network by network
def observed(name: str, backend: str) -> dict[str, Any]:
    """One forward and backward pass: image, layer outputs, gradients along ws and every parameter, as far as known."""
    fixture, model = network_fixture(name), network(name)
    layers: dict[str, Seen] = {}
    for layer in ("input", *model.synthesis.layer_names):

        def keep(module, inputs, output, *, layer=layer) -> None:
            out = output.detach().double()
            whole = fixture.seen(out[:1]) if layer == "input" else out[:, :4, :8, :8]
            layers[layer] = Seen(
                shape=list(out.shape), mean=out.mean().item(), std=out.std().item(), crop=whole.clone()
            )

        getattr(model.synthesis, layer).register_forward_hook(keep)
    r = fixture.tensor("grad_r")
    with use_backend(backend):
        ws = fixture.tensor("ws_psi1").requires_grad_()
        image = model.synthesis(ws)
        parameters = _parameters(model, fixture)
        whole = len(r) == len(ws)  # the thinned fixtures keep one sample of large cotangents
        wanted = [ws, *parameters.values()] if whole else [ws]
        gradients = torch.autograd.grad((image[: len(r)] * r).sum(), wanted)
    named = dict(zip(parameters, gradients[1:], strict=True)) if whole else {}
    return {"image": image.detach(), "layers": layers, "grad_ws": gradients[0][: len(r)], "parameters": named}


@cache
def exact_gradients(name: str) -> dict[str, Tensor]:
    """Gradients of the parameters in float64."""
    fixture, model = network_fixture(name), deepcopy(network(name)).double()
    parameters = _parameters(model, fixture)
    with use_backend("polyphase"):
        product = model.synthesis(fixture.tensor("ws_psi1").double()) * fixture.tensor("grad_r").double()
    return dict(zip(parameters, torch.autograd.grad(product.sum(), list(parameters.values())), strict=True))


def _parameters(model: Any, fixture: NetworkFixture) -> dict[str, Tensor]:
    return {key: model.get_parameter(f"synthesis.{key.removeprefix('synthesis.')}") for key in _names(fixture)}


def _names(fixture: NetworkFixture) -> list[str]:
    return [str(key) for key in fixture.io["grad_param_names"]]


@every_run
def test_images(name: str, backend: str) -> None:
    fixture, image = network_fixture(name), observed(name, backend)["image"]
    tolerance = TOLERANCES[name][0]
    assert relative_error(fixture.seen(image), fixture.tensor("img")) <= tolerance
    assert relative_error(fixture.seen(image[:1]), fixture.tensor("img_f64")) <= tolerance


@every_run
def test_every_layer(name: str, backend: str) -> None:
    fixture, layers = network_fixture(name), observed(name, backend)["layers"]
    assert list(layers) == fixture.facts["layer_names"]
    scale = 10 if name == "sg3t_128_nondefault" else 1  # as its image: the clamp is active in every layer
    for layer, output in layers.items():
        mean, std = (fixture.io[f"layer__{layer}__{key}"].item() for key in ("mean", "std"))
        crop = fixture.tensor(f"layer__{layer}__crop")
        assert output.shape == fixture.io[f"layer__{layer}__shape"].tolist(), layer
        assert abs(output.mean - mean) <= 1e-4 * scale * std, layer
        assert abs(output.std - std) <= 1e-4 * scale * std, layer
        if layer != "input":
            assert absolute_error(output.crop[: len(crop)], crop) <= 1e-4 * scale * std, layer
    assert relative_error(layers["input"].crop, fixture.tensor("input_features")) <= 2e-5


def _cosine(a: Tensor, b: Tensor) -> float:
    return torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0).item()


@every_run
def test_gradients_along_ws(name: str, backend: str) -> None:
    fixture, found = network_fixture(name), observed(name, backend)["grad_ws"].double()
    for key in ("grad_ws", "grad_ws_f64"):
        wanted = fixture.tensor(key)[: len(found)].double()
        assert relative_error(found, wanted) <= TOLERANCES[name][1]
        assert _cosine(found, wanted) > 1 - CLOSENESS.get(name, 1e-6)


@every_network
def test_gradients_of_parameters_in_float64(name: str) -> None:
    fixture = network_fixture(name)
    if len(fixture.io["grad_r"]) < len(fixture.io["img"]):  # thinned: one sample of large cotangents
        return
    for index, (key, found) in enumerate(exact_gradients(name).items()):
        norm, total = (fixture.io[f"grad_param_{part}"][index] for part in ("l2", "sum"))
        assert abs(found.norm().item() - norm) <= TOLERANCES[name][1] * norm, key
        # near zero a sum is compared with the norm; it gathers the noise of thousands of entries
        assert abs(found.sum().item() - total) <= 3 * TOLERANCES[name][1] * max(norm, abs(total)), key


@every_run
def test_gradients_of_parameters(name: str, backend: str) -> None:
    """By norm and by angle to float64: a sum of float32 entries has the noise of the processor at hand."""
    fixture, found = network_fixture(name), observed(name, backend)["parameters"]
    if not found:
        assert len(fixture.io["grad_r"]) < len(fixture.io["img"])  # only where the fixture was thinned
        return
    for index, (key, exact) in enumerate(exact_gradients(name).items()):
        gradient, norm = found[key].double(), fixture.io["grad_param_l2"][index]
        assert abs(gradient.norm().item() - norm) <= TOLERANCES[name][1] * norm, key
        assert _cosine(gradient, exact) > 1 - CLOSENESS.get(name, 1e-6), key


@pytest.mark.parametrize(("name", "backend"), [run for run in RUNS if run[1] == "cpu" or run[0] in SMALL])
def test_other_ways_in(name: str, backend: str) -> None:
    """Truncation, style mixing, user transforms: as one batch, so that every sample has a transform of its own."""
    fixture, model = network_fixture(name), network(name)
    ws, truncated, mixed = (fixture.tensor(f"ws_{key}") for key in ("psi1", "psi07_cutoff5", "mixed"))
    stored = model.synthesis.input.transform
    transforms = torch.stack([stored, stored, fixture.tensor("user_transform"), torch.eye(3)])
    batch = torch.cat([mixed[:1], truncated[:1], ws[:1], ws[:1]])
    with torch.no_grad(), use_backend(backend):
        images = model.synthesis(batch, transform=transforms)
    for index, key in enumerate(("mixed", "psi07_cutoff5", "user_transform", "identity_transform")):
        wanted = fixture.tensor(f"img_{key}")[:1]
        assert relative_error(fixture.seen(images[index : index + 1]), wanted) <= TOLERANCES[name][0], key


@every_network
def test_mapping_and_truncation(name: str) -> None:
    fixture, model = network_fixture(name), network(name)
    z, c = fixture.tensor("z"), fixture.tensor("c")
    for key, options in (
        ("psi1", {}),
        ("psi05", {"truncation_psi": 0.5}),
        ("psi07_cutoff5", {"truncation_psi": 0.7, "truncation_cutoff": 5}),
    ):
        assert absolute_error(model.mapping(z, c, **options), fixture.tensor(f"ws_{key}")) <= 3e-6, key
    to_average = model.mapping(z, c, truncation_psi=0.0)
    assert absolute_error(to_average, model.mapping.w_avg.expand_as(to_average)) <= 1e-6


@pytest.mark.parametrize("name", ["sg3r_32_nondefault", "sg3t_64_cond"])
def test_the_gradient_along_z(name: str) -> None:
    fixture, model = network_fixture(name), network(name)
    z = fixture.tensor("z").requires_grad_()
    image = model(z, fixture.tensor("c"))
    (gz,) = torch.autograd.grad((image * fixture.tensor("grad_r")).sum(), z)
    assert relative_error(gz, fixture.tensor("grad_z")) <= TOLERANCES[name][1]


@every_network
def test_running_averages(name: str) -> None:
    """One call with ``update_emas`` moves w_avg and every input magnitude; one without moves nothing."""
    fixture, model = network_fixture(name), network(name)
    z, c = fixture.tensor("z"), fixture.tensor("c")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        if name != "sg3t_128":
            model(z[:1], c[:1])
            assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        model(z, c, update_emas=True)
    magnitudes = torch.stack([layer.magnitude_ema for layer in model.synthesis.layers()])
    assert absolute_error(model.mapping.w_avg, fixture.tensor("after_update_emas__w_avg")) <= 3e-6
    assert relative_error(magnitudes, fixture.tensor("after_update_emas__magnitude_ema")) <= 1e-6
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed and all(key.endswith(("w_avg", "magnitude_ema")) for key in changed)


@pytest.mark.parametrize("name", ["sg3t_64_cond", "sg3r_32_nondefault", "sg3r_64"])
def test_float64_all_the_way(name: str) -> None:
    fixture, model = network_fixture(name), network(name).double()
    with torch.no_grad():
        image = model.synthesis(fixture.tensor("ws_psi1")[:1].double())
    assert image.dtype == torch.float64
    assert relative_error(fixture.seen(image), fixture.tensor("img_f64")) <= 2e-9


@every_network
def test_designed_filters_are_the_stored_ones(name: str) -> None:
    """Loading a checkpoint replaces them; without one they must be right as well."""
    fixture = network_fixture(name)
    fresh = build_network("stylegan3", fixture.arguments).state_dict()
    filters = [key for key in fresh if key.endswith("_filter")]
    assert filters
    for key in filters:
        assert absolute_error(fresh[key], fixture.weights[key]) <= 2e-7, key


@pytest.mark.parametrize("name", list(layer_tables()))
def test_geometry_of_the_standard_networks(name: str) -> None:
    """Sizes, bands, taps, padding and every shape of the state dict, on the meta device: no weights are made."""
    table = layer_tables()[name]
    with torch.device("meta"):
        model = StyleGAN3Generator(**(table["kwargs"] | {"z_dim": 512, "c_dim": 0}))
    assert model.num_ws == table["num_ws"]
    assert sum(p.numel() for p in model.synthesis.parameters()) == table["num_params"]
    shapes = {key: list(value.shape) for key, value in model.synthesis.state_dict().items()}
    assert shapes == {key: list(shape) for key, shape in table["state_dict_shapes"].items()}
    first, wanted = model.synthesis.input, table["input"]
    assert [first.size] * 2 == wanted["size"] and first.channels == wanted["channels"]
    assert (first.sampling_rate, first.bandwidth) == (wanted["sampling_rate"], wanted["bandwidth"])
    assert len(model.synthesis.layers()) == len(table["layers"])
    for layer, wanted in zip(model.synthesis.layers(), table["layers"], strict=True):
        found = layer.geometry
        for key in ("name", "in_channels", "out_channels", "is_torgb", "is_critically_sampled", "use_fp16"):
            assert getattr(found, key) == wanted[key], (found.name, key)
        for key in (
            "in_sampling_rate",
            "out_sampling_rate",
            "in_cutoff",
            "out_cutoff",
            "in_half_width",
            "out_half_width",
        ):
            assert getattr(found, key) == pytest.approx(wanted[key], rel=1e-12), (found.name, key)
        assert [[found.in_size] * 2, [found.out_size] * 2] == [wanted["in_size"], wanted["out_size"]]
        for key in ("up_factor", "down_factor", "padding", "conv_kernel"):
            assert getattr(layer, key) == wanted[key], (found.name, key)
        for key in ("up", "down"):
            taps = getattr(layer, f"{key}_filter")
            assert (1 if taps is None else taps.shape[0]) == wanted[f"{key}_taps"], (found.name, key)
        assert (layer.down_filter is not None and layer.down_filter.ndim == 2) == wanted["down_radial"], found.name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_layers": 2, "num_critical": 2}, "num_layers must exceed"),
        ({"num_critical": -1}, "num_layers must exceed"),
        ({"chanel_base": 512}, "chanel_base"),
        ({"first_cutoff": 0.01, "first_stopband": 0.01, "num_layers": 2}, "grows by more than 64 in one layer"),
        ({"mapping_kwargs": {"layers": 3}}, "layers"),
        ({"img_resolution": None}, "do not fit"),
    ],
)
def test_wrong_arguments_are_one_typed_error(change: dict, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        build_network("stylegan3", network_fixture("sg3r_32_nondefault").arguments | change)
    with pytest.raises(CheckpointError, match="'stylegan9' cannot be built"):
        build_network("stylegan9", {})


def test_wrong_inputs_are_refused() -> None:
    model = network("sg3t_64_cond")
    z, c = torch.zeros(2, 24), torch.zeros(2, 4)
    with pytest.raises(ValueError, match=r"z must be \[N, 24\]"):
        model(torch.zeros(2, 25), c)
    with pytest.raises(ValueError, match=r"conditional.*got none"):
        model(z)
    with pytest.raises(ValueError, match=r"labels must be \[2, 4\]"):
        model(z, c[:1])
    with pytest.raises(ValueError, match=r"ws must be \[N, 16, 32\]"):
        model.synthesis(torch.zeros(2, 15, 32))

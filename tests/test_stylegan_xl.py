"""StyleGAN-XL against the reference networks, at the tolerances of the fixtures' manifest; stems under many heads."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from network_fixtures import absolute_error, network_fixture, relative_error

from editkit.errors import CheckpointError
from editkit.networks import build_network
from editkit.networks.stylegan_xl import StyleGANXLGenerator, staged_table, stages
from editkit.ops.backends import use_backend

NAMES = ("sgxl_stem_32", "sgxl_superres_64")
IMAGE, GRADIENT = 2e-5, 1e-3  # relative to the largest magnitude
every_network = pytest.mark.parametrize("name", NAMES)


def arguments(name: str) -> dict[str, Any]:
    """As a pickle gives them: the stem's in place of the name of its file."""
    fixture = network_fixture(name)
    found = {key: value for key, value in fixture.arguments.items() if key != "path_stem"}
    if "stem_init_kwargs" in fixture.facts:
        found["stem"] = fixture.facts["stem_init_kwargs"]
    return found | {"embed_dim": 20}


def network(name: str) -> StyleGANXLGenerator:
    """A fresh network with the fixture's weights, in evaluation mode."""
    made = build_network("stylegan_xl", arguments(name))
    made.load_state_dict(network_fixture(name).weights)  # strict: every name and shape
    return made.eval()


@pytest.mark.parametrize("backend", ["cpu", "polyphase", "reference"])
@every_network
def test_images_and_gradients(name: str, backend: str) -> None:
    fixture, model = network_fixture(name), network(name)
    ws, r = fixture.tensor("ws_psi1").requires_grad_(), fixture.tensor("grad_r")
    with use_backend(backend):
        image = model.synthesis(ws)
        (gradient,) = torch.autograd.grad((image[: len(r)] * r).sum(), ws)
    assert relative_error(fixture.seen(image), fixture.tensor("img")) <= IMAGE
    wanted = fixture.tensor("grad_ws")[: len(r)]
    assert relative_error(gradient[: len(r)], wanted) <= GRADIENT
    assert torch.nn.functional.cosine_similarity(gradient[: len(r)].flatten(), wanted.flatten(), dim=0) > 1 - 1e-6


@every_network
def test_mapping_and_truncation_by_class(name: str) -> None:
    fixture, model = network_fixture(name), network(name)
    z, c = fixture.tensor("z"), fixture.tensor("c")
    assert absolute_error(model.mapping(z, c), fixture.tensor("ws_psi1")) <= 3e-6
    cut = {"truncation_psi": 0.7, "truncation_cutoff": 5}
    assert absolute_error(model.mapping(z, c, **cut), fixture.tensor("ws_psi07_cutoff5")) <= 3e-6
    means = model.mapping.w_avg[c.argmax(1), None]
    assert absolute_error(model.mapping(z, c, truncation_psi=0.0), means.expand(-1, model.num_ws, -1)) <= 1e-6
    with torch.no_grad(), use_backend("polyphase"):
        image = model(z[:1], c[:1], **cut)
    assert relative_error(fixture.seen(image), fixture.tensor("img_psi07_cutoff5")) <= IMAGE


@every_network
def test_layers_and_filters_are_the_stored_ones(name: str) -> None:
    fixture = network_fixture(name)
    fresh = build_network("stylegan_xl", arguments(name))
    assert fresh.num_ws == fixture.facts["num_ws"]
    if "layer_names" in fixture.facts:
        assert fresh.synthesis.layer_names == fixture.facts["layer_names"]
    filters = [key for key in fresh.state_dict() if key.endswith("_filter")]
    assert filters
    for key in filters:
        assert absolute_error(fresh.state_dict()[key], fixture.weights[key]) <= 2e-7, key


def test_only_the_largest_entry_of_a_label_counts() -> None:
    model = network("sgxl_stem_32")
    z = torch.randn(2, 16)
    one, dense = torch.eye(6)[[2, 5]], torch.rand(2, 6) + 5 * torch.eye(6)[[2, 5]]
    assert torch.equal(model.mapping(z, one), model.mapping(z, dense))
    assert absolute_error(model.mapping(z, one), model.mapping(z, torch.eye(6)[[3, 3]])) > 1e-2


SMALL = {"z_dim": 4, "c_dim": 2, "w_dim": 4, "img_resolution": 16, "num_layers": 5, "margin_size": 3} | {
    "channel_base": 64,
    "channel_max": 4,
}


def staged(**change: int) -> dict[str, Any]:
    """Two heads on a stem of 16 pixels."""
    lower = {"img_resolution": 32, "head_layers": 4, "up_factor": 2, "stem": SMALL}
    return {"img_resolution": 64, "head_layers": 4, "up_factor": 2, "stem": lower} | change


def test_a_head_stands_on_a_head() -> None:
    """Each drops ToRGB and two layers of what it stands on, and goes on at the rate of the last one kept."""
    table = staged_table(*stages(staged()))
    assert len(table) == 6 - 3 + 5 - 3 + 5
    assert [int(g.name.split("_")[0][1:]) for g in table] == [0, 1, 2, 4, 5, 6, 7, 8, 9, 10]
    for before, after in itertools.pairwise(table):
        assert (after.in_channels, after.in_size) == (before.out_channels, before.out_size)
        assert (after.in_sampling_rate, after.in_cutoff) == (before.out_sampling_rate, before.out_cutoff)
    assert table[-1].out_size == 64 and [g.is_torgb for g in table] == [False] * 9 + [True]
    with use_backend("polyphase"), torch.no_grad():
        model = StyleGANXLGenerator(embed_dim=3, **staged())
        assert model(torch.randn(2, 4), torch.eye(2)).shape == (2, 3, 64, 64)
    numbered = staged_table(*stages(staged(first_layer=20)))
    assert [g.name.split("_")[0] for g in numbered[5:]] == ["L20", "L21", "L22", "L23", "L24"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"up_factor": 4}, "a head of 64 on 32 is not 4 times its size"),
        ({"up_factor": 1, "img_resolution": 32}, "is not 1 times"),
        ({"head_layers": 2}, "num_layers must exceed"),
        ({"stem": SMALL | {"num_layers": 2, "img_resolution": 32}}, "num_layers must exceed"),
        ({"stem": SMALL | {"chanel_base": 3}}, "chanel_base"),
        ({"heads": 3}, "heads"),
        ({"stem": SMALL | {"c_dim": 0, "img_resolution": 32}}, "must be above 0"),
        ({"stem": SMALL | {"mapping_kwargs": {"layers": 3}, "img_resolution": 32}}, "layers"),
    ],
)
def test_wrong_arguments_are_one_typed_error(change: dict, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        build_network("stylegan_xl", staged() | change)


def test_wrong_inputs_are_refused() -> None:
    model = network("sgxl_stem_32")
    with pytest.raises(ValueError, match=r"z must be \[N, 16\]"):
        model(torch.zeros(2, 15), torch.zeros(2, 6))
    for label, got in ((None, "none"), (torch.zeros(1, 6), r"\(1, 6\)")):
        with pytest.raises(ValueError, match=rf"labels must be \[2, 6\], got {got}"):
            model(torch.zeros(2, 16), label)

"""Constructor arguments of every kind of network are checked before they are believed; discriminators load by path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pickle_maker as make
import pytest
import torch
from network_fixtures import absolute_error, full_path, network_fixture

from editkit import memory
from editkit.checkpoints import import_official, write_checkpoint
from editkit.checkpoints.arguments import check_network
from editkit.checkpoints.convert import convert_official
from editkit.errors import CheckpointError, MemoryBudgetError
from editkit.generator import load_generator
from editkit.network_loading import load_discriminator
from editkit.networks import build_network

Shapes = dict[str, tuple[int, ...]]

OUTER = {"z_dim": 4, "c_dim": 3, "w_dim": 6, "img_resolution": 16, "img_channels": 3}
WIDTHS = {"channel_base": 64, "channel_max": 8}
STAGE = {"img_resolution": 32, "head_layers": 4, "up_factor": 2}
STEM = OUTER | WIDTHS | {"num_layers": 5, "margin_size": 3}
EXAMPLES: dict[str, tuple[str, dict[str, Any]]] = {
    "stylegan3": ("stylegan3", STEM),
    "stylegan2": ("stylegan2", OUTER | WIDTHS | {"architecture": "resnet", "mapping_kwargs": {"layer_features": 5}}),
    "stylegan2-ada": ("stylegan2", OUTER | {"synthesis_kwargs": WIDTHS}),
    "stylegan_xl": ("stylegan_xl", STEM),
    "stylegan_xl-head": ("stylegan_xl", STAGE | {"stem": STEM}),
    "stylegan_xl-heads": ("stylegan_xl", STAGE | {"img_resolution": 64, "stem": STAGE | {"stem": STEM}}),
    "discriminator": (
        "discriminator",
        {"c_dim": 3, "img_resolution": 16, "img_channels": 3, "architecture": "skip", "cmap_dim": 5} | WIDTHS,
    ),
}


def example(name: str) -> tuple[str, dict[str, Any], Shapes]:
    """Kind, arguments, and the shapes they make, on the meta device: no memory."""
    kind, arguments = EXAMPLES[name]
    with torch.device("meta"):
        network = build_network(kind, arguments)
    return kind, arguments, {key: tuple(value.shape) for key, value in network.state_dict().items()}


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_belongs_together_passes(name: str) -> None:
    check_network(*example(name))


def _changed(arguments: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    key, _, rest = path.partition(".")
    return arguments | {key: _changed(arguments.get(key, {}), rest, value) if rest else value}


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("stylegan3", "w_dim", 7),
        ("stylegan3", "c_dim", 90_000),
        ("stylegan3", "channel_max", 4096),
        ("stylegan3", "mapping_kwargs.num_layers", 3),
        ("stylegan2", "z_dim", 4096),
        ("stylegan2", "c_dim", 90_000),
        ("stylegan2", "w_dim", 4096),
        ("stylegan2", "img_resolution", 4096),
        ("stylegan2", "img_channels", 64),
        ("stylegan2", "channel_max", 4096),
        ("stylegan2", "channel_base", 1 << 20),
        ("stylegan2", "architecture", "skip"),
        ("stylegan2", "use_noise", 0),
        ("stylegan2", "mapping_kwargs.num_layers", 9),
        ("stylegan2", "mapping_kwargs.num_layers", 7),
        ("stylegan2", "mapping_kwargs.embed_features", 4096),
        ("stylegan2", "mapping_kwargs.layer_features", 4096),
        ("stylegan2-ada", "synthesis_kwargs.channel_max", 4096),
        ("stylegan_xl", "c_dim", 90_000),
        ("stylegan_xl", "z_dim", 4096),
        ("stylegan_xl", "w_dim", 4096),
        ("stylegan_xl", "embed_dim", 4096),
        ("stylegan_xl", "num_layers", 64),
        ("stylegan_xl", "img_resolution", 4096),
        ("stylegan_xl", "channel_max", 4096),
        ("stylegan_xl", "mapping_kwargs.num_layers", 64),
        ("stylegan_xl-head", "head_layers", 64),
        ("stylegan_xl-head", "img_resolution", 4096),
        ("stylegan_xl-head", "stem.channel_max", 4096),
        ("stylegan_xl-heads", "stem.head_layers", 64),
        ("discriminator", "c_dim", 90_000),
        ("discriminator", "cmap_dim", 4096),
        ("discriminator", "img_resolution", 4096),
        ("discriminator", "img_channels", 64),
        ("discriminator", "channel_max", 4096),
        ("discriminator", "architecture", "resnet"),
        ("discriminator", "mapping_kwargs.num_layers", 3),
        ("discriminator", "epilogue_kwargs.mbstd_num_channels", 4096),
    ],
)
def test_sizes_that_do_not_fit_the_tensors_are_refused(name: str, path: str, value: object) -> None:
    kind, arguments, shapes = example(name)
    with pytest.raises(CheckpointError, match=r"not fit the tensors beside|outside what can be built") as caught:
        check_network(kind, _changed(arguments, path, value), shapes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", EXAMPLES)
def test_unknown_arguments_and_impossible_values_are_refused(name: str) -> None:
    kind, arguments, shapes = example(name)
    with pytest.raises(CheckpointError, match=r"unknown .* argument 'backdoor'"):
        check_network(kind, arguments | {"backdoor": 1}, shapes)
    for value in (10**30, -1, True, "8", 8.0, None):
        with pytest.raises(CheckpointError, match="img_resolution"):
            check_network(kind, arguments | {"img_resolution": value}, shapes)
    with pytest.raises(CheckpointError, match=r"does not say its network's .*img_resolution"):
        check_network(kind, {key: held for key, held in arguments.items() if key != "img_resolution"}, shapes)
    for key in ("mapping_kwargs", "block_kwargs", "synthesis_kwargs", "stem"):
        with pytest.raises(CheckpointError):
            check_network(kind, arguments | {key: 3}, shapes)
        with pytest.raises(CheckpointError):
            check_network(kind, arguments | {key: {"backdoor": 1}}, shapes)


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("stylegan2", "resample_filter", [1.0] * 1000),
        ("stylegan2", "resample_filter", [1, -1]),
        ("stylegan2", "resample_filter", [float("nan")]),
        ("stylegan2", "resample_filter", "1331"),
        ("stylegan2", "conv_clamp", float("nan")),
        ("stylegan2", "activation", "sine"),
        ("stylegan2", "fused_modconv_default", 1),
        ("stylegan3", "filter_size", 65),
        ("stylegan3", "output_scale", float("inf")),
        ("stylegan_xl-head", "up_factor", 1),
        ("stylegan_xl-head", "stem", None),
        ("stylegan_xl", "mapping_kwargs.rand_embedding", 1),
        ("discriminator", "block_kwargs.freeze_layers", -1),
        ("discriminator", "epilogue_kwargs.mbstd_group_size", 1.5),
    ],
)
def test_values_outside_their_range_are_refused(name: str, path: str, value: object) -> None:
    kind, arguments, shapes = example(name)
    with pytest.raises(CheckpointError, match=r"outside what can be built|not arguments"):
        check_network(kind, _changed(arguments, path, value), shapes)


def test_too_many_stages_are_refused() -> None:
    kind, arguments, shapes = example("stylegan_xl")
    for _ in range(9):
        arguments = STAGE | {"stem": arguments}
    with pytest.raises(CheckpointError, match="more than 8 stages"):
        check_network(kind, arguments, shapes)


@pytest.mark.parametrize("name", EXAMPLES)
def test_pictures_that_are_not_square_are_refused_with_the_reason(name: str) -> None:
    kind, arguments, shapes = example(name)
    for pair in ([16, 32], (16, 32), {"h": 16, "w": 32}):
        with pytest.raises(CheckpointError, match=r"not square \(img_resolution is .*square crops only, on purpose"):
            check_network(kind, arguments | {"img_resolution": pair}, shapes)
    if kind == "stylegan2":
        with pytest.raises(CheckpointError, match=r"not square \(synthesis\.b4\.const is \[8, 4, 8\]\)"):
            check_network(kind, arguments, shapes | {"synthesis.b4.const": (8, 4, 8)})


def test_a_pickle_of_pictures_that_are_not_square_is_refused(tmp_path: Path) -> None:
    tensors = {"synthesis.b4.const": make.filled((1, 4, 6))}
    (tmp_path / "in.pkl").write_bytes(make.official(make.network(OUTER, tensors)))
    with pytest.raises(CheckpointError, match=r"const is \[1, 4, 6\]\).*on purpose") as caught:
        load_generator(tmp_path / "in.pkl")
    assert "\n" not in str(caught.value)


def pickled(kind: str, arguments: dict[str, Any], **options: Any) -> tuple[bytes, dict[str, torch.Tensor]]:
    """An official pickle of a network drawn at random, and its tensors."""
    tensors = build_network(kind, arguments).state_dict()
    held = {key: make.filled(tuple(value.shape), *value.flatten().tolist()) for key, value in tensors.items()}
    return make.official(make.network(arguments, held, **options)), tensors


def test_stages_below_the_top_are_told_by_the_names_of_the_layers(tmp_path: Path) -> None:
    """A file holds the top head's arguments and the stem's only."""
    lower = STAGE | {"stem": STEM, "first_layer": 7}
    wanted = STAGE | {"img_resolution": 64, "stem": lower, "first_layer": 30}
    tensors = build_network("stylegan_xl", wanted | {"embed_dim": 9}).state_dict()
    held = {key: make.filled(tuple(value.shape), *value.flatten().tolist()) for key, value in tensors.items()}
    inner = {name: STEM[name] for name in ("z_dim", "c_dim", "w_dim")}
    synthesis = {name: held for name, held in STEM.items() if name not in ("z_dim", "c_dim")}
    modules = make.dictionary({"mapping": make.network(inner, {}), "synthesis": make.network(synthesis, {})})
    top = STAGE | {"img_resolution": 64, "path_stem": "someone/stem.pkl"}
    path = tmp_path / "xl.pkl"
    path.write_bytes(make.official(make.network(top, held, modules=modules)))
    found = import_official(path)["G_ema"]
    assert found.arguments == wanted | {"stem": lower | {"stem": STEM | {"mapping_kwargs": {}}}}
    assert "someone" not in str(found.arguments)
    generator = load_generator(path)
    assert (generator.spec.resolution, generator.spec.num_ws) == (64, len(tensors) and generator._network.num_ws)
    assert all(torch.equal(generator.state_dict()[key], value) for key, value in tensors.items())
    short = make.network(top | {"img_resolution": 128}, held, modules=modules)
    path.write_bytes(make.official(short))
    with pytest.raises(CheckpointError, match="does not fit the tensors"):
        load_generator(path)


def test_discriminators_load_from_pickles_and_checkpoints(tmp_path: Path) -> None:
    source = full_path("pickles/sg3r_64.pkl")
    judge = load_discriminator(source)
    fixture = network_fixture("d_64_resnet")
    assert not judge.training and all(p.requires_grad for p in judge.parameters())
    with torch.no_grad():
        assert absolute_error(judge(fixture.tensor("img")), fixture.tensor("logits")) <= 5e-6
    convert_official(source, tmp_path / "d.safetensors", network="D")
    again = load_discriminator(tmp_path / "d.safetensors", device="cpu")
    assert all(torch.equal(again.state_dict()[key], value) for key, value in judge.state_dict().items())


def test_arguments_that_fit_the_tensors_and_make_no_network_are_a_damaged_file(tmp_path: Path) -> None:
    data, _ = pickled("stylegan3", STEM)
    bad = make.value(STEM | {"num_critical": 5})
    path = tmp_path / "in.pkl"
    path.write_bytes(data.replace(make.value(STEM), bad))
    with pytest.raises(CheckpointError, match="num_layers must exceed"):
        load_generator(path)


def test_what_is_no_discriminator_is_refused(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(CheckpointError, match="it holds G_ema, not D"):
        load_discriminator(full_path("pickles/sgxl_stem_32.pkl"))
    with pytest.raises(CheckpointError, match="is of kind 'features', not a discriminator"):
        write_checkpoint(tmp_path / "f.safetensors", {"x": torch.zeros(1)}, {"kind": "features", "name": "f"})
        load_discriminator(tmp_path / "f.safetensors")
    with pytest.raises(CheckpointError, match="does not exist"):
        load_discriminator(tmp_path / "none.pkl")
    path = tmp_path / "d.pkl"
    path.write_bytes(make.official(make.discriminator(), name="D"))  # what else its arguments need is not there
    with pytest.raises(CheckpointError, match="the weights of 'd' do not fit its arguments"):
        load_discriminator(path)
    monkeypatch.setattr(memory, "free_memory", lambda device="cpu": 1000)
    with pytest.raises(MemoryBudgetError, match=r"discriminator 'sg3r_64' needs about"):
        load_discriminator(full_path("pickles/sg3r_64.pkl"))

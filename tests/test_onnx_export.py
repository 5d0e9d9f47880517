"""ONNX files compute what torch does, for any batch and placement, and say where they come from."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import assert_close
from network_fixtures import full_path, network_fixture
from torch import Tensor

import editkit
from editkit import __version__, cli, onnx_export
from editkit.checkpoints.native import weights_id
from editkit.errors import CheckpointError, OutputError, UsageError
from editkit.generator import NetworkGenerator, from_tensors, load_generator, random_generator
from editkit.latent import Latent
from editkit.onnx_export import export_onnx
from editkit.seeds import normal, z_from_seeds
from editkit.transform import Transform


def run(path: Path, **inputs: Tensor) -> Tensor:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (image,) = session.run(None, {name: value.float().numpy() for name, value in inputs.items()})
    return torch.from_numpy(image)


def fixture_generator(name: str) -> NetworkGenerator:
    """A network that was observed on the reference implementation."""
    fixture = network_fixture(name)
    header = {"kind": "stylegan3", "arguments": fixture.arguments, "id": weights_id(fixture.weights), "name": name}
    return from_tensors(fixture.weights, header, device=torch.device("cpu"))


def eye(count: int) -> Tensor:
    return Transform.identity().expand(count).matrix


@pytest.fixture(scope="module")
def generator() -> NetworkGenerator:
    return random_generator(seed=1)


@pytest.fixture(scope="module")
def exported(generator: NetworkGenerator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "g.onnx"
    export_onnx(generator, path)
    return path


@pytest.mark.parametrize("name", ["sg3t_64", "sg3r_64", "sg3t_128_nondefault", "sg3r_32_nondefault"])
def test_it_agrees_with_torch(name: str, tmp_path: Path) -> None:
    """Configurations T and R, and other numbers of layers, filters and clamps."""
    generator = fixture_generator(name)
    done = export_onnx(generator, tmp_path / "g.onnx")
    spec = generator.spec
    assert done.inputs == {"w": ["N", spec.num_ws, spec.w_dim], "transform": ["N", 3, 3]} and done.error < 1e-4
    codes = normal(3, (3, spec.num_ws, spec.w_dim))  # rows that differ: each drives its own layer
    moves = Transform.translate([0.2, 0.0, 0.0], [0.0, -0.1, 0.0]) @ Transform.rotate([0.0, 30.0, -90.0])
    expected = generator.synthesize_channels(Latent(space="w+", codes=codes, generator=spec.id), transform=moves)
    assert_close(run(done.path, w=codes, transform=moves.matrix), expected, tolerance=1e-4)


@pytest.mark.parametrize("name", ["sg3t_64", "sg3r_64"])
def test_official_pickles_go_through_the_command(name: str, tmp_path: Path, capsys) -> None:
    pickle = full_path(f"pickles/{'sg3t_64_legacy_p3' if name == 'sg3t_64' else name}.pkl")
    out = tmp_path / "g.onnx"
    assert cli.main(["export", str(pickle), "--out", str(out), "--input", "z", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    generator = load_generator(pickle)
    assert document["generator"]["id"] == generator.spec.id and document["error"] < 1e-4
    assert document["bytes"] == out.stat().st_size
    z = z_from_seeds([4, 5], generator.spec.z_dim)
    # the fixture's network has a placement stored in it; a transform that is given takes its place
    expected = generator.synthesize_channels(generator.map(z), transform=Transform.identity())
    assert_close(run(out, z=z, transform=eye(2)), expected, tolerance=1e-4)


def test_any_number_of_samples_each_by_itself(generator, exported) -> None:
    codes = generator.map(z_from_seeds(range(5), 32)).tensor
    moves = Transform.translate([0.0, 0.1, 0.2, 0.3, 0.4], [0.0] * 5).matrix
    together = run(exported, w=codes, transform=moves)
    assert together.shape == (5, 3, 32, 32)
    for index in range(5):
        alone = run(exported, w=codes[index : index + 1], transform=moves[index : index + 1])
        assert_close(alone, together[index : index + 1])


def test_the_transform_says_where_the_content_goes(generator, exported) -> None:
    codes = generator.map(z_from_seeds([0], 32)).tensor
    still, moved = (
        run(exported, w=codes, transform=t.matrix) for t in (Transform.identity(), Transform.translate(0.25, 0.0))
    )
    inside = slice(9, -9)
    right, left = (((moved - still.roll(s, 3))[..., inside, inside]).abs().mean() for s in (8, -8))
    assert right < 0.5 * left


def test_a_fixed_batch_takes_no_other(generator, tmp_path: Path) -> None:
    done = export_onnx(generator, tmp_path / "g.onnx", batch=1)
    assert done.inputs == {"w": [1, 8, 32], "transform": [1, 3, 3]}
    codes = generator.map(z_from_seeds([0, 1], 32)).tensor
    one = run(done.path, w=codes[:1], transform=eye(1))
    assert_close(one, generator.synthesize_channels(Latent(space="w", codes=codes[:1], generator=generator.spec.id)))
    with pytest.raises(Exception, match="Got: 2 Expected: 1"):
        run(done.path, w=codes, transform=eye(2))


def test_the_mapping_its_label_and_truncation(tmp_path: Path) -> None:
    conditional = random_generator(seed=2, c_dim=3)
    moved = conditional.state_dict() | {"mapping.w_avg": normal(1, (32,))}
    header = {"kind": "stylegan3", "arguments": conditional.arguments, "id": weights_id(moved), "name": "labels"}
    conditional = from_tensors(moved, header, device=torch.device("cpu"))
    done = export_onnx(conditional, tmp_path / "g.onnx", input="z", truncation_psi=0.5)
    assert done.inputs == {"z": ["N", 32], "label": ["N", 3], "transform": ["N", 3, 3]}
    z, label = z_from_seeds([0, 1, 2], 32), torch.eye(3)
    expected = conditional.synthesize(conditional.map(z, label=label, truncation_psi=0.5))
    assert_close(run(done.path, z=z, label=label, transform=eye(3)), expected)
    other = conditional.synthesize(conditional.map(z, label=label))
    assert float((other - expected).abs().max()) > 1e-3  # truncation is felt
    swapped = run(done.path, z=z, label=label.roll(1, 0), transform=eye(3))
    assert float((swapped - expected).abs().max()) > 1e-3  # and so is the label


def test_only_standard_operators_and_a_header(generator, exported) -> None:
    model = onnx.load(exported)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert {node.domain for node in model.graph.node} == {""} and not model.functions
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert facts["generator"] == generator.spec.id and facts["written_by"] == f"editkit {__version__}"
    assert (model.producer_name, model.producer_version) == ("editkit", __version__)
    assert "licence" not in facts  # this one has none
    # nothing is kept twice: the weights, and little else
    weights = sum(value.numel() * 4 for value in generator.state_dict().values())
    assert exported.stat().st_size < 2 * weights + 200_000


def test_the_licence_goes_with_the_weights(tmp_path: Path) -> None:
    bundled = load_generator(device="cpu")
    assert bundled.spec.licence
    spec_facts = onnx_export._metadata(bundled.spec, None)
    assert spec_facts["licence"] == bundled.spec.licence and spec_facts["alignment"] == bundled.spec.alignment


def test_export_changes_nothing(generator, exported) -> None:
    before, state = random_generator(seed=1).state_dict(), torch.get_rng_state()
    assert all(torch.equal(before[name], value) for name, value in generator.state_dict().items())
    onnx_export._model(generator, onnx_export._inputs(generator.spec, "w", "N"), truncation_psi=1.0)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_graph_that_differs_is_not_written(generator, tmp_path: Path, monkeypatch) -> None:
    resampled = onnx_export_band()
    monkeypatch.setattr("editkit.onnx_stylegan3._band", lambda *a, **k: 1.01 * resampled(*a, **k))
    with pytest.raises(CheckpointError, match=r"differs from torch by .* nothing was written"):
        export_onnx(generator, tmp_path / "g.onnx")
    assert not list(tmp_path.iterdir())


def onnx_export_band():
    from editkit.onnx_stylegan3 import _band

    return _band


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input": "s"}, "one of w, z, got 's'"),
        ({"batch": 0}, "batch is 1 to 1024"),
        ({"batch": 2000}, "batch is 1 to 1024"),
        ({"truncation_psi": 0.5}, "goes with input z, got 0.5 with w"),
        ({"input": "z", "truncation_psi": 3.0}, "truncation_psi is -2 to 2"),
        ({"input": "z", "truncation_psi": float("nan")}, "truncation_psi is -2 to 2"),
    ],
)
def test_options_out_of_range_are_refused(generator, tmp_path: Path, options, message) -> None:
    with pytest.raises(UsageError, match=message):
        export_onnx(generator, tmp_path / "g.onnx", **options)
    with pytest.raises(UsageError, match=r"ends in \.onnx, got 'g\.pt'"):
        export_onnx(generator, tmp_path / "g.pt")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_is_said(generator, tmp_path: Path, monkeypatch, capsys) -> None:
    from dataclasses import replace

    other = NetworkGenerator(generator._network, replace(generator.spec, kind="stylegan2"), generator.arguments)
    with pytest.raises(CheckpointError, match="of kind 'stylegan2'; exported are stylegan3"):
        export_onnx(other, tmp_path / "g.onnx")
    with pytest.raises(OutputError):
        export_onnx(generator, tmp_path / "nowhere" / "g.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match="needs onnxruntime: pip install onnx onnxruntime"):
        export_onnx(generator, tmp_path / "g.onnx")
    assert cli.main(["export", "--out", str(tmp_path / "g.onnx")]) == 2
    assert not list(tmp_path.iterdir()) and "pip install onnx onnxruntime" in capsys.readouterr().err


def test_bands_are_the_filters_of_the_operations() -> None:
    from editkit.ops.upfirdn2d import upfirdn2d

    x, taps = normal(1, (1, 1, 9, 9)), normal(2, (6,))
    for up, down, pad in ((2, 1, (3, 4)), (1, 2, (0, 0)), (4, 2, (-3, 5)), (1, 1, (-2, -1))):
        band = onnx_export_band()(taps.flip(0).numpy(), 9, up=up, down=down, pad=pad)
        expected = upfirdn2d(x, taps, up=up, down=down, padding=[*pad, *pad])
        found = torch.from_numpy(band @ x[0, 0].double().numpy() @ band.T)[None, None]
        assert_close(found, expected)
    assert np.array_equal(onnx_export_band()(np.ones(1), 3, up=1, down=1, pad=(0, 0)), np.eye(3))


def test_public_name() -> None:
    assert editkit.export_onnx is export_onnx

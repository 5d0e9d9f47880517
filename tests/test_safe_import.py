"""Official pickles load bit for bit; nothing in a pickle is ever executed, and no claim is believed unchecked."""

import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pickle_maker as make
import pytest
import torch
from conftest import fixture_path

from editkit.checkpoints import import_official, weights_id
from editkit.checkpoints.arguments import check_network
from editkit.checkpoints.official import describe_official
from editkit.errors import CheckpointError, UsageError
from editkit.network_loading import load_network

# weights_id of the state dicts that the reference code saved beside the pickles.
IDS = {
    "sg3t_64": "b046ac6dfa4bd81e3644fe7d600d11fa7dfa0d49cd977d8abb25938727a01441",
    "sg3t_64_legacy_p3": "b046ac6dfa4bd81e3644fe7d600d11fa7dfa0d49cd977d8abb25938727a01441",
    "sg3r_64": "b7bd74937610d495a64c4ed4e3f61cf177e440de6d7726aef89dae9accfb6f0a",
    "sg2_64": "4ed6fe29eb64fc0a64e91235d748ab32d21a6da80f754a4c64a9e32b6af87c33",
    "sg2ada_64": "e8b1a3e42fa154ea120674876d6081b1dab1fa911137a8cf5c2196ac1bdc1b3b",
    "sgxl_stem_32": "cd513388d119b9b9e2697ee980d9a03a79ba16df0325eec4af68607d521a920d",
    "sgxl_superres_64": "b31cf5ebde4d49cad672cc894af4a9bd9828a310f0f0adfbd9fb1810ecf36e2a",
}
D_ID = "57cc752dd17e5f82a1856afe67d5709b3e5fe7cffe22e5b85bb80d7d6a2715a0"
SMALL = {"z_dim": 32, "c_dim": 0, "w_dim": 32, "img_resolution": 64, "img_channels": 3} | {
    "channel_base": 1024,
    "channel_max": 32,
}
ARGUMENTS = {
    "sg3t_64": SMALL,
    "sg3t_64_legacy_p3": SMALL,
    "sg3r_64": SMALL | {"conv_kernel": 1, "use_radial_filters": True},
}
KINDS = {"sg3": "stylegan3", "sg2": "stylegan2", "sgx": "stylegan_xl"}
PRESENT = [name for name in IDS if fixture_path(f"pickles/{name}.pkl")]
COMPARABLE = [name for name in PRESENT if fixture_path(f"networks/{name.removesuffix('_legacy_p3')}.safetensors")]
TABLES = fixture_path("networks/sg3_layer_tables.json")


def read(tmp_path: Path, data: bytes) -> dict:
    path = tmp_path / "in.pkl"
    path.write_bytes(data)
    return import_official(path)


@pytest.mark.parametrize("name", PRESENT)
def test_official_pickles_load_bit_for_bit(name, fixture_file):
    networks = import_official(fixture_file(f"pickles/{name}.pkl"))
    generator = networks["G_ema"]
    assert weights_id(generator.tensors) == IDS[name]
    assert generator.kind == KINDS[name[:3]]
    if name in ARGUMENTS:
        assert generator.arguments == ARGUMENTS[name]
        assert generator.facts["augment_p"] == 0.375
        assert "path" not in generator.facts["training_set"]
    if "D" in networks:
        assert networks["D"].kind == "discriminator"
        assert networks["D"].arguments["img_resolution"] == 64
        assert weights_id(networks["G"].tensors) != IDS[name]
    if name.startswith("sg3"):
        assert weights_id(networks["D"].tensors) == D_ID


def test_both_old_and_new_spellings_are_among_the_small_copies():
    assert {"sg3r_64", "sg3t_64_legacy_p3", "sgxl_stem_32"} <= set(PRESENT)


if COMPARABLE:  # the reference state dicts are part of the full fixtures

    @pytest.mark.parametrize("name", COMPARABLE)
    def test_state_dicts_and_arguments_equal_the_full_fixtures(name, fixture_file):
        from safetensors.torch import load_file

        reference = name.removesuffix("_legacy_p3")
        expected = load_file(fixture_file(f"networks/{reference}.safetensors"))
        facts = json.loads(fixture_file(f"networks/{reference}.json").read_text())
        network = import_official(fixture_file(f"pickles/{name}.pkl"))["G_ema"]
        assert network.tensors.keys() == expected.keys()
        for key, tensor in expected.items():
            assert network.tensors[key].dtype == tensor.dtype
            assert torch.equal(network.tensors[key], tensor), key
        if "stem_init_kwargs" in facts:
            assert network.arguments["stem"] == facts["stem_init_kwargs"]
        else:
            assert network.arguments == facts["init_kwargs"]


@pytest.mark.parametrize("name", PRESENT)
def test_every_network_of_a_file_loads_strictly_into_ours(name, fixture_file):
    for key, found in import_official(fixture_file(f"pickles/{name}.pkl")).items():
        network = load_network(found.kind, found.arguments, found.tensors, name=key, device=torch.device("cpu"))
        assert weights_id(network.state_dict()) == weights_id(found.tensors)


def test_only_the_networks_asked_for_are_read(fixture_file):
    path = fixture_file("pickles/sg3r_64.pkl")
    assert list(import_official(path, networks=["D"])) == ["D"]
    with pytest.raises(UsageError, match="'E'"):
        import_official(path, networks=["E"])
    with pytest.raises(CheckpointError, match="it holds G_ema, not D"):
        import_official(fixture_file("pickles/sgxl_stem_32.pkl"), networks=["D"])


def test_describing_takes_no_tensors(fixture_file):
    path = fixture_file("pickles/sg3r_64.pkl")
    described, read_in_full = describe_official(path), import_official(path)
    for name, network in described.items():
        full = read_in_full[name]
        assert (network.kind, network.arguments, network.facts) == (full.kind, full.arguments, full.facts)
        assert network.shapes == {key: tuple(tensor.shape) for key, tensor in full.tensors.items()}


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_numpy_numbers_under_both_spellings(module, tmp_path):
    kind = (
        make.call("numpy", "dtype", make.text("f8"), b"\x89", b"\x88") + make.numbers(3)[:-1] + make.text("<") + b"tb"
    )
    value = make.call(module, "scalar", kind, make.raw_bytes(struct.pack("<d", 2.5)))
    network = make.discriminator(more={"conv_clamp": value})
    assert read(tmp_path, make.official(network))["G_ema"].arguments == make.ARGUMENTS | {"conv_clamp": 2.5}


@pytest.mark.parametrize("module", ["numpy.core.numeric", "numpy._core.numeric"])
@pytest.mark.parametrize("array", [np.arange(6.0).reshape(2, 3), np.ones((2, 3), np.int32, order="F"), np.zeros(0)])
def test_numpy_arrays_of_protocol_5(module, array, tmp_path):
    """Python 3.14 writes it by default; StyleGAN3's layers keep their sizes as arrays."""
    held = pickle.dumps(array, protocol=5)[11:-1]  # without protocol, frame and stop
    written = next(name for name in (b"numpy._core.numeric", b"numpy.core.numeric") if name in held)
    held = held.replace(bytes([len(written)]) + written, bytes([len(module)]) + module.encode())
    network = make.discriminator(options={"extra": make.text("in_size") + held})
    assert read(tmp_path, make.official(network))["G_ema"].arguments == make.ARGUMENTS


def test_a_transposed_tensor_comes_out_contiguous(tmp_path):
    held = make.storage(struct.pack("<7f", *range(7)))
    network = make.discriminator(x=make.tensor((2, 3), (1, 2), held, offset=1))
    tensor = read(tmp_path, make.official(network))["G_ema"].tensors["x"]
    assert tensor.tolist() == [[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]] and tensor.is_contiguous()


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("img_resolution", 1024, "does not fit the tensors"),
        ("channel_base", 1 << 19, None),  # the same network: channel_max decides
        ("channel_max", 4096, "does not fit the tensors"),
        ("filter_size", 10**6, "outside what can be built"),
        ("z_dim", True, "outside what can be built"),
        ("mapping_kwargs", {"num_layers": 10**9}, "outside what can be built"),
        ("mapping_kwargs", {"num_layers": 3}, "does not fit the tensors"),
        ("mapping_kwargs", {"layer_features": 10**6}, "outside what can be built"),
        ("mapping_kwargs", {"num_layers": 2, "layer_features": 24}, r"layer_features=24 does not fit the tensors"),
        ("mapping_kwargs", {"embed_features": 64}, r"unknown StyleGAN3 argument 'mapping_kwargs\.embed_features'"),
        ("mapping_kwargs", 3, "is a int, not arguments"),
        ("backdoor", 1, "unknown StyleGAN3 argument"),
    ],
)
def test_arguments_are_compared_with_the_tensors(name, value, reason, fixture_file):
    network = import_official(fixture_file("pickles/sg3t_64_legacy_p3.pkl"), networks=["G_ema"])["G_ema"]
    shapes = {key: tuple(tensor.shape) for key, tensor in network.tensors.items()}
    changed = network.arguments | {name: value}
    if reason is None:
        check_network("stylegan3", changed, shapes)
        return
    with pytest.raises(CheckpointError, match=reason):
        check_network("stylegan3", changed, shapes)


if TABLES:  # part of the full fixtures

    def test_the_standard_configurations_pass_the_comparison():
        for name, table in json.loads(TABLES.read_text()).items():
            # The table is of the synthesis network alone.
            shapes = {f"synthesis.{key}": tuple(shape) for key, shape in table["state_dict_shapes"].items()}
            shapes |= {"mapping.w_avg": (512,), "mapping.fc0.weight": (512, 512), "mapping.fc1.weight": (512, 512)}
            defaults = {"z_dim": 512, "c_dim": 0, "w_dim": 512, "img_resolution": int(name[2:]), "img_channels": 3}
            check_network("stylegan3", defaults | table["kwargs"], shapes)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "a PNG picture"),
        (b"<!DOCTYPE html>\n<html>404</html>", "a web page"),
        (b"  <html>quota exceeded</html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"PK\x03\x04" + b"\0" * 40, "a zip archive"),
        (b"hello\n", "plain text"),
        (b"\x80\x00K\x01.", "another kind"),
        (pickle.dumps({"a": 1}, protocol=0), "plain text"),
    ],
)
def test_a_file_that_is_no_pickle_is_named(data, found, tmp_path):
    with pytest.raises(CheckpointError, match=found) as caught:
        read(tmp_path, data)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        import_official(tmp_path / "none.pkl")
    with pytest.raises(CheckpointError, match="is a folder"):
        import_official(tmp_path)

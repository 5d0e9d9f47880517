"""Native checkpoints: what is written comes back, and a damaged, newer or foreign file is refused in one line."""

import hashlib
import json
import os
import struct
import sys
from pathlib import Path

import pytest
import torch

from editkit import __version__
from editkit.checkpoints import read_checkpoint, read_header, weights_id, write_checkpoint
from editkit.checkpoints.convert import convert_official
from editkit.checkpoints.native import halve
from editkit.errors import CheckpointError, OutputError, SchemaError, UsageError

HEADER = {
    "kind": "stylegan3",
    "arguments": {"img_resolution": 64, "conv_clamp": None},
    "name": "tiny",
    "domain": "faces",
    "alignment": "faces128",
    "licence": "CC0",
    "class_names": ["cat", "dog"],
    "labels": {"shares": [0.25, 0.75]},
    "parent_id": "ab",
    "training": {"kimg": 1.5},
}
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool)


def tensors() -> dict[str, torch.Tensor]:
    values = {f"x.{dtype}": (torch.randn(3, 4) * 3).to(dtype) for dtype in DTYPES}
    return {**values, "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3), "turned": torch.randn(3, 5).T}


def raw_file(header: object, *, metadata: dict | None = None) -> bytes:
    """A safetensors file of one scalar with this editkit header."""
    text = header if isinstance(header, str) else json.dumps(header)
    table = {
        "__metadata__": {"editkit": text} if metadata is None else metadata,
        "x": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]},
    }
    body = json.dumps(table).encode()
    return struct.pack("<Q", len(body)) + body + b"\0\0\0\0"


def test_what_is_written_comes_back(tmp_path):
    path, held = tmp_path / "a.safetensors", tensors()
    written = write_checkpoint(path, held, HEADER)
    checkpoint = read_checkpoint(path, verify=True)
    assert checkpoint.header == written == read_header(path)
    assert {**HEADER, "schema": 1, "written_by": __version__, "id": weights_id(held)} == written
    assert checkpoint.tensors.keys() == held.keys()
    for name, tensor in held.items():
        assert checkpoint.tensors[name].dtype == tensor.dtype
        assert torch.equal(checkpoint.tensors[name], tensor)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]


def test_writing_twice_gives_the_same_bytes_also_from_a_mapped_file(tmp_path):
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    write_checkpoint(first, tensors(), HEADER)
    checkpoint = read_checkpoint(first)
    write_checkpoint(second, checkpoint.tensors, checkpoint.header)
    assert first.read_bytes() == second.read_bytes()
    write_checkpoint(first, checkpoint.tensors, checkpoint.header)  # over the file that is mapped
    assert first.read_bytes() == second.read_bytes()


def test_tensors_that_share_memory_are_written_whole(tmp_path):
    base = torch.arange(10.0)
    held = {"all": base, "tail": base[4:], "head": base[:4], "same": base}
    write_checkpoint(tmp_path / "a.safetensors", held, HEADER)
    read = read_checkpoint(tmp_path / "a.safetensors").tensors
    assert all(torch.equal(read[name], held[name]) for name in held)


def test_writing_to_a_tensor_that_was_read_does_not_change_the_file(tmp_path):
    path = tmp_path / "a.safetensors"
    write_checkpoint(path, {"x": torch.zeros(1000), "y": torch.ones(1000)}, HEADER)
    before = path.read_bytes()
    read_checkpoint(path).tensors["x"].fill_(7)
    assert path.read_bytes() == before and read_checkpoint(path, verify=True).tensors["x"].sum() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what is resident on Linux only")
def test_reading_maps_the_file_and_takes_no_memory_before_use(tmp_path):
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    path = tmp_path / "a.safetensors"
    write_checkpoint(path, {"x": torch.ones(16 << 20)}, HEADER)  # 64 MB
    before = resident()
    read = read_checkpoint(path).tensors
    assert resident() - before < 8 << 20
    assert read["x"].sum() == 16 << 20
    assert resident() - before > 48 << 20  # the measure does see it once it is used


def test_weights_id_is_the_documented_hash():
    held = {"b": torch.tensor([[1.0, 2.0]]), "a": torch.tensor(3, dtype=torch.int64)}
    expected = hashlib.sha256(
        b"a\0int64\0\0" + struct.pack("<q", 3) + b"b\0float32\0001,2\0" + struct.pack("<2f", 1, 2)
    )
    assert weights_id(held) == expected.hexdigest()
    assert weights_id(dict(reversed(held.items()))) == expected.hexdigest()
    for changed in (
        held | {"b": torch.tensor([[1.0, 2.5]])},
        held | {"b": torch.tensor([[1.0], [2.0]])},
        held | {"b": held["b"].double()},
        {"c": held["a"], "b": held["b"]},
    ):
        assert weights_id(changed) != expected.hexdigest()


def test_halving_keeps_what_must_stay_exact():
    held = {
        "synthesis.L0_36_32.weight": torch.randn(4, 4, 3, 3),
        "mapping.fc0.bias": torch.randn(4),
        "synthesis.input.weight": torch.randn(4, 4),
        "synthesis.input.affine.weight": torch.randn(4, 4),
        "synthesis.input.freqs": torch.randn(4, 2),
        "synthesis.L0_36_32.up_filter": torch.randn(12),
        "mapping.w_avg": torch.randn(4),
        "huge.weight": torch.tensor([1e6]),
        "count.weight": torch.tensor([3]),
    }
    halved = halve(held)
    assert {name for name in held if halved[name].dtype == torch.float16} == set(list(held)[:2])
    assert all(torch.equal(halved[name], held[name]) for name in list(held)[2:])


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        ({"schema": 2, "written_by": "0.9.0"}, SchemaError, "editkit 0.9.0 or later reads it"),
        ({"schema": 7}, SchemaError, "a later editkit reads it"),
        ({"schema": None}, SchemaError, "no readable schema"),
        ({"schema": True}, SchemaError, "no readable schema"),
        ({"schema": 0}, SchemaError, "no readable schema"),
        ({"kind": "stylegan9"}, CheckpointError, "unknown kind 'stylegan9'"),
        ({"kind": None}, CheckpointError, "'kind' is a NoneType"),
        ({"arguments": [1]}, CheckpointError, "'arguments' is a list"),
        ({"licence": 3}, CheckpointError, "'licence' is a int"),
        ({"class_names": "cat"}, CheckpointError, "'class_names' is a str"),
        ({"class_names": ["cat", 1]}, CheckpointError, "'class_names' holds what is no text"),
    ],
)
def test_headers_that_are_newer_unknown_or_damaged_are_refused(change, error, reason, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(raw_file({"schema": 1, **HEADER, **change}))
    for read in (read_header, read_checkpoint):
        with pytest.raises(error, match=reason) as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_absent_optional_fields_are_filled_and_unknown_ones_kept(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(raw_file({"schema": 1, "kind": "features", "later": 1}))
    header = read_checkpoint(path).header
    assert header["arguments"] == header["training"] == {} and header["licence"] is None and header["later"] == 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"{}", "not an editkit checkpoint but plain text"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 20, "a PNG picture"),
        (b"\x80\x04}.", "editkit convert"),
        (struct.pack("<Q", 1 << 40) + b'{"a":1}', "cut short"),
        (struct.pack("<Q", 7) + b'{"a":1]', "cannot be read"),
        (struct.pack("<Q", 2) + b"{}", "without an editkit header"),
        (struct.pack("<Q", 100_005) + b'{"a":' + b"[" * 100_000, "cannot be read"),
        (raw_file("[1, 2"), "not JSON"),
        (raw_file('{"schema": NaN}'), "not JSON"),
        (raw_file("[1]"), "is a list"),
        (raw_file({}, metadata={"format": "pt"}), "without an editkit header"),
    ],
)
def test_files_that_are_no_checkpoint_are_named(data, reason, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=reason) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_a_cut_or_changed_file_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    write_checkpoint(path, {"x": torch.randn(1000)}, HEADER)
    data = path.read_bytes()
    for length in (4, 12, 100, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError) as caught:
            read_checkpoint(path)
        assert "\n" not in str(caught.value)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    read_checkpoint(path)
    with pytest.raises(CheckpointError, match="not those it was written with"):
        read_checkpoint(path, verify=True)
    path.write_bytes(data.replace(b'"shape":[1000]', b'"shape":[9999]'))
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("held", "header", "reason"),
    [
        ({}, HEADER, "no tensors"),
        ({"x": torch.zeros(1)}, HEADER | {"kind": "cat"}, "unknown kind 'cat'"),
        ({"x": torch.zeros(1)}, HEADER | {"id": "0" * 64}, "id is not that of these tensors"),
        ({"x": torch.zeros(1)}, HEADER | {"training": {"loss": float("nan")}}, "JSON cannot"),
        ({"x": torch.zeros(1)}, HEADER | {"training": {"when": object()}}, "JSON cannot"),
    ],
)
def test_what_cannot_be_written_is_refused_before_a_file_is_made(held, header, reason, tmp_path):
    with pytest.raises(CheckpointError, match=reason):
        write_checkpoint(tmp_path / "a.safetensors", held, header)
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_an_output_error(tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        write_checkpoint(tmp_path / "none" / "a.safetensors", {"x": torch.zeros(1)}, HEADER)


# Converting official pickles -------------------------------------------------------------------------------------


def test_converting_keeps_every_bit_and_says_where_it_came_from(tmp_path, fixture_file):
    source, out = fixture_file("pickles/sg3r_64.pkl"), tmp_path / "r.safetensors"
    header = convert_official(source, out, domain="noise", alignment="ffhq", licence="none")
    checkpoint = read_checkpoint(out, verify=True)
    assert checkpoint.header == header
    assert header["id"] == "b7bd74937610d495a64c4ed4e3f61cf177e440de6d7726aef89dae9accfb6f0a"
    assert header["parent_id"] is None and header["name"] == "sg3r_64" and header["alignment"] == "ffhq"
    assert header["training"]["imported_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert header["training"]["augment_p"] == 0.375

    half = convert_official(source, tmp_path / "h.safetensors", half=True, name="r", alignment="ffhq")
    assert half["parent_id"] == header["id"] != half["id"]
    assert (tmp_path / "h.safetensors").stat().st_size < 0.75 * out.stat().st_size


def test_converting_refuses_in_one_line_and_leaves_nothing(tmp_path, fixture_file):
    source = tmp_path / "in.pkl"
    source.write_bytes(fixture_file("pickles/bad_dotted_global.pkl").read_bytes())
    with pytest.raises(CheckpointError, match=r"os\.system"):
        convert_official(source, tmp_path / "out.safetensors")
    with pytest.raises(UsageError, match="is the pickle itself"):
        convert_official(source, source)
    with pytest.raises(UsageError, match="no alignment is called 'face'"):
        convert_official(source, tmp_path / "out.safetensors", alignment="face")
    assert [entry.name for entry in tmp_path.iterdir()] == ["in.pkl"]

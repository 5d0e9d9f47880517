"""Hostile pickles are refused at once, in one line and little memory; nothing in them is run and no file is made."""

import json
import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import pickle_maker as make
import pytest
from conftest import fixture_path

from editkit.checkpoints import import_official, machine
from editkit.errors import CheckpointError, EditkitError, UnsafeCheckpointError

F8 = make.call("numpy", "dtype", make.text("f8"), b"\x89", b"\x88")


def read(tmp_path: Path, data: bytes) -> dict:
    path = tmp_path / "in.pkl"
    path.write_bytes(data)
    return import_official(path)


# Runs in a process of its own: what the refusal cost, beyond the interpreter's start.
MEASURE = """
import json, resource, sys, time
start = time.perf_counter()
from editkit.checkpoints import import_official
from editkit.errors import EditkitError
try:
    outcome, reason = "loaded", ",".join(import_official(sys.argv[1]))
except EditkitError as error:
    outcome, reason = type(error).__name__, str(error)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
if sys.platform == "linux":  # there, the figure above starts from that of the process that started this one
    with open("/proc/self/status") as status:
        peak = 1024 * int(next(line for line in status if line.startswith("VmHWM")).split()[1])
print(json.dumps([outcome, reason, time.perf_counter() - start, peak, "torch" in sys.modules]))
"""


def measured(path: Path, folder: Path) -> tuple[str, str, float, int, bool]:
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return tuple(json.loads(done.stdout))


def inside_real(payload: bytes, fixture_file) -> bytes:
    """A real file that is whole but for ``payload`` before its end."""
    return fixture_file("pickles/sg3r_64.pkl").read_bytes()[:-1] + payload + b"."


def hostile(fixture_file) -> dict[str, tuple[bytes, str]]:
    """name -> (file, what the reason says). The same attacks as the bad_* fixtures, and some more."""
    four = b"\0" * 16
    real = fixture_file("pickles/sg3r_64.pkl").read_bytes()
    d = make.discriminator
    shell = make.call("posix", "system", make.text("echo > PWNED_x"))
    evil_kind = b"cposix\nsystem\n(" + make.text("echo > PWNED_nested") + b"tR"
    return {
        "os_system": (inside_real(shell, fixture_file), "posix.system"),
        "eval": (make.official(make.call("builtins", "eval", make.text("open('PWNED_e','w')"))), "builtins.eval"),
        "getattr": (make.official(make.call("builtins", "getattr", make.text("a"), make.text("b"))), "getattr"),
        "load_itself": (make.official(make.call("torch", "load", make.text("x"))), "torch.load"),
        "newobj": (b"\x80\x04cbuiltins\nprint\n)\x81.", "builtins.print"),
        "inst": (b"\x80\x02(X\x01\0\0\0aios\nsystem\n.", "opcode 0x69"),
        "extension": (b"\x80\x02\x82\x01.", "opcode 0x82"),
        "nested": (make.official(d(x=make.storage(four, kind=evil_kind))), "posix.system"),
        "huge_shape": (make.official(d(x=make.tensor((1 << 20, 1 << 20), (1 << 20, 1), make.storage(four)))), "claims"),
        "huge_stride0": (make.official(d(x=make.tensor((1 << 20, 1 << 20), (0, 0), make.storage(four)))), "claims"),
        "overlap": (make.official(d(x=make.tensor((3, 3), (1, 1), make.storage(b"\0" * 20)))), "claims"),
        "offset": (make.official(d(x=make.tensor((4,), (1,), make.storage(four), offset=1))), "claims"),
        "negative_stride": (make.official(d(x=make.tensor((4,), (-1,), make.storage(four), offset=3))), "impossible"),
        "negative_shape": (make.official(d(x=make.tensor((-1, -4), (1, 1), make.storage(four)))), "impossible"),
        "zero_times_huge": (make.official(d(x=make.tensor((1 << 60, 0), (1, 1), make.storage(four)))), "claims"),
        "nine_dimensions": (make.official(d(x=make.tensor((1,) * 9, (1,) * 9, make.storage(four)))), "impossible"),
        "huge_storage": (make.official(d(x=make.storage(four, count=1 << 44))), "17,592,186,044,416 elements"),
        "other_count": (make.official(d(x=make.storage(four, stored_count=1 << 50))), "elements of 4 bytes"),
        "short_storage": (make.official(d(x=make.storage(four, count=3))), "16 bytes are there"),
        "bytes_claim": (b"\x80\x04\x8e" + struct.pack("<Q", 32 << 40) + b"abc.", "35,184,372,088,832 bytes"),
        "text_claim": (b"\x80\x04X\xff\xff\xff\xffabc.", "4,294,967,295 bytes"),
        "long_claim": (b"\x80\x02\x8b\xff\xff\xff\x7f.", "opcode 0x8b"),
        "long_number": (b"\x80\x02\x8a\xff" + b"\x7f" * 255 + b".", "an integer of 255 bytes"),
        "operations": (b"\x80\x02" + b"N0" * 10 + b"]" * 310_000 + b".", "opcode 0x30"),
        "empty_sets": (b"\x80\x04" + b"\x8f" * 310_000 + b".", "operations"),
        "persistent": (b"\x80\x02" + make.text("x") + b"Q.", "persistent id"),
        "state_on_dict": (b"\x80\x02}}b.", "state is set on a dict"),
        "call_text": (b"\x80\x02" + make.text("x") + b")R.", "a str is called"),
        "truncated": (real[: len(real) // 2], "follow|cut short|ends in the middle"),
        "only_a_start": (real[:2], "ends in the middle"),
        "tensorflow": (b"\x80\x03cdnnlib.tflib.network\nNetwork\n)\x81.", "TensorFlow"),
        "a_number": (b"\x80\x02K\x01.", "holds a int"),
        "empty_dict": (b"\x80\x02}.", "it holds no network"),
        "leftovers": (b"\x80\x02NN.", "2 values are left"),
    }


def test_hostile_files_are_refused_at_once_in_little_memory_and_run_nothing(tmp_path, fixture_file):
    for name, (data, expected) in hostile(fixture_file).items():
        path = tmp_path / "in.pkl"
        path.write_bytes(data)
        start = time.perf_counter()
        with pytest.raises(EditkitError, match=expected) as caught:
            import_official(path)
        assert time.perf_counter() - start < 5, name  # the whole budget of operations takes some two seconds
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400 + len(str(path)), name
        assert os.listdir(tmp_path) == ["in.pkl"], name


@pytest.mark.skipif(sys.platform == "win32", reason="the resource module is POSIX only")
@pytest.mark.parametrize("name", ["os_system", "nested", "huge_shape", "huge_storage", "bytes_claim", "empty_sets"])
def test_a_refusal_takes_under_a_second_and_imports_no_torch(name, tmp_path, fixture_file):
    path = tmp_path / "in.pkl"
    path.write_bytes(hostile(fixture_file)[name][0])
    empty = tmp_path / "empty"
    empty.mkdir()
    outcome, reason, seconds, peak, torch_imported = measured(path, empty)
    assert outcome == "UnsafeCheckpointError" and "\n" not in reason
    assert seconds < (5 if name == "empty_sets" else 1), seconds
    assert peak < 1 << 30
    assert not torch_imported
    assert not os.listdir(empty)


BAD = sorted((fixture_path("pickles/bad_text.pkl") or Path()).parent.glob("bad_*.pkl"))


@pytest.mark.skipif(sys.platform == "win32", reason="the resource module is POSIX only")
@pytest.mark.parametrize("path", BAD, ids=[path.stem for path in BAD])
def test_each_bad_fixture_is_refused(path, tmp_path):
    outcome, reason, seconds, peak, _ = measured(path, tmp_path)
    if path.stem == "bad_module_src":
        assert (outcome, reason) == ("loaded", "G_ema")  # its source is skipped unread
    else:
        assert outcome in ("UnsafeCheckpointError", "CheckpointError") and "\n" not in reason
        assert seconds < 1, seconds
    assert peak < 1 << 30
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("command", ["convert", "info"])
def test_a_refusal_by_the_command_imports_no_torch(command, tmp_path, fixture_file):
    """Importing torch takes longer than the second that a refusal may."""
    script = (
        "import sys\nfrom editkit.cli import main\n"
        "print(main(sys.argv[1:]), *(name for name in ('torch', 'numpy', 'safetensors') if name in sys.modules))"
    )
    path = shutil.copy(fixture_file("pickles/bad_dotted_global.pkl"), tmp_path)
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", script, command, path],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ["1"] and "os.system" in done.stderr
    assert os.listdir(tmp_path) == ["bad_dotted_global.pkl"]


def test_embedded_source_is_not_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = "open('PWNED_module_src', 'w').close()"
    network = make.discriminator(options={"source": source}, x=make.floats(1.0, 2.0))
    assert read(tmp_path, make.official(network))["G_ema"].tensors["x"].tolist() == [1.0, 2.0]
    assert os.listdir(tmp_path) == ["in.pkl"]


def test_one_tensor_under_many_names_takes_no_extra_memory(tmp_path):
    shared = make.floats(*[1.0] * 1000) + b"\x94"
    names = b"".join(make.text(f"x{i}") + b"h\0" for i in range(300))
    network = make.module({"b4.out.weight": shared}, extra=make.text("_buffers") + b"}(" + names + b"u")
    with pytest.raises(UnsafeCheckpointError, match="more bytes than the file has"):
        read(tmp_path, make.official(network))


def test_many_views_of_one_storage_are_refused(tmp_path):
    first = make.tensor((1000,), (1,), make.storage(b"\0" * 4000) + b"\x94")
    views = {f"x{i}": make.tensor((1000,), (1,), b"h\0") for i in range(100)}
    with pytest.raises(UnsafeCheckpointError, match="more bytes than the file has"):
        read(tmp_path, make.official(make.module({"b4.out.weight": first, **views})))


def test_a_network_that_holds_itself_is_refused(tmp_path):
    # The dict of sub-modules is kept in the memo, and the finished network is put into it afterwards.
    network = make.discriminator(options={"modules": b"}\x94"})
    data = b"\x80\x04}" + make.text("G_ema") + network + b"\x94sh\0" + make.text("loop") + b"h\x01s0."
    with pytest.raises(EditkitError):
        read(tmp_path, data)
    # POP is no opcode of ours: the same through a tuple of the two.
    inner = b"(" + network + b"\x94h\0" + make.text("loop") + b"h\x01s" + b"t\x94"
    data = b"\x80\x04}(" + make.text("G_ema") + network.replace(b"\x94", b"") + make.text("x") + inner + b"u."
    assert list(read(tmp_path, data)) == ["G_ema"]
    data = b"\x80\x04}(" + make.text("x") + inner + make.text("G_ema") + b"h\x01u."
    with pytest.raises(UnsafeCheckpointError, match="holds itself"):
        read(tmp_path, data)


def test_a_module_tree_that_doubles_at_each_level_is_refused(tmp_path):
    level = make.module({"b4.out.weight": make.floats(1.0)}) + b"\x94"
    parts = [level]
    for depth in range(25):
        children = b"}(" + make.text("a") + b"h" + bytes([depth]) + make.text("b") + b"h" + bytes([depth]) + b"u"
        parts.append(make.module({}, modules=children) + b"\x94")
    data = b"\x80\x04}(" + make.text("x") + b"(" + b"".join(parts) + b"t" + make.text("G_ema") + b"h\x19u."
    start = time.perf_counter()
    with pytest.raises(UnsafeCheckpointError):
        read(tmp_path, data)
    assert time.perf_counter() - start < 5


def test_deep_nesting_neither_crashes_nor_hangs(tmp_path):
    with pytest.raises(CheckpointError, match="holds a list"):
        read(tmp_path, b"\x80\x02" + b"]" * 140_000 + b"a" * 139_999 + b".")


def test_text_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(machine.Budget.__init__, "__defaults__", (1_000_000, 1000))
    with pytest.raises(UnsafeCheckpointError, match="of text"):
        read(tmp_path, b"\x80\x02(" + make.text("x" * 600) * 2 + b"t.")


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (make.discriminator(x=b"N" + make.number(1) + b"\x86"), "not a tensor"),
        (make.discriminator(x=make.storage(b"\0" * 4, little_endian=False)), "big-endian"),
        (make.discriminator(x=make.call("torch.storage", "_load_from_bytes", make.raw_bytes(b"PK\3\4..."))), "zip"),
        (make.discriminator(x=make.call("torch.storage", "_load_from_bytes", make.text("abc"))), "not bytes"),
        (make.discriminator(x=make.call("torch._utils", "_rebuild_parameter", b"N")), "parameter without a tensor"),
        (make.discriminator(x=make.call("torch._utils", "_rebuild_tensor_v2", b"N")), "damaged pickle"),
        (make.module({"x": make.floats(1.0)}), "no network known"),
        (make.call("torch_utils.persistence", "_reconstruct_persistent_obj", b"N"), "not a network class"),
        (make.call("numpy", "dtype", make.text("O8"), b"\x89", b"\x88"), "plain numbers"),
        (make.call("numpy.core.multiarray", "scalar", b"N", make.raw_bytes(b"")), "numpy number"),
        (make.call("numpy._core.numeric", "_frombuffer", make.raw_bytes(bytes(8)), F8, make.numbers(2)), "whose size"),
        (
            make.call("numpy._core.numeric", "_frombuffer", make.raw_bytes(bytes(8)), b"N", make.numbers(1)),
            "whose size",
        ),
        (make.call("numpy._core.numeric", "_frombuffer", make.text("x" * 8), F8, make.numbers(1)), "whose size"),
    ],
)
def test_what_is_not_as_official_files_have_it_is_refused(network, reason, tmp_path):
    with pytest.raises(CheckpointError, match=reason):
        read(tmp_path, make.official(network))

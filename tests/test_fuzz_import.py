"""Mutated pickles: always a typed error or a load within bounds; never an execution, a hang or a spike of memory.

EDITKIT_FUZZ=5000 runs that many mutations instead of 300; EDITKIT_FUZZ_SEED=1 starts elsewhere.
"""

import os
import pickletools
import random
import struct
import sys
import time
from pathlib import Path

import pickle_maker as make
import torch

from editkit.checkpoints import import_official
from editkit.errors import EditkitError

COUNT = int(os.environ.get("EDITKIT_FUZZ", "300"))
SEED = int(os.environ.get("EDITKIT_FUZZ_SEED", "0"))
OPCODES = bytes({ord(opcode.code) for opcode in pickletools.opcodes})
GLOBALS = [b"cos\nsystem\n", b"cbuiltins\neval\n", b"cposix\nsystem\n", b"csubprocess\nPopen\n", b"ctorch\nload\n"]
# What Python reports through its audit hooks when something is run or changed.
FORBIDDEN = {"os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "exec", "compile", "os.remove", "os.rename"}
FORBIDDEN |= {"socket.connect", "pickle.find_class", "ctypes.dlopen", "shutil.rmtree"}


class Watch:
    """Collects audit events while it is on; a hook cannot be taken away again, so it stays and sleeps."""

    on = False
    seen: list[str]

    def __init__(self) -> None:
        self.seen = []
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple) -> None:
        if self.on and (event in FORBIDDEN or (event == "open" and "w" in str(arguments[1]))):
            self.seen.append(f"{event} {arguments}")


def small_file() -> bytes:
    """A discriminator of a few tensors with everything that official files contain, in 2 KB."""
    kind = make.call("numpy", "dtype", make.text("f8"), b"\x89", b"\x88") + b"(K\x03" + make.text("<") + b"tb"
    scalar = make.call("numpy.core.multiarray", "scalar", kind, make.raw_bytes(struct.pack("<d", 2.5)))
    matrix = make.tensor((2, 3), (1, 2), make.storage(struct.pack("<7f", *range(7))), offset=1)
    parameter = make.call("torch._utils", "_rebuild_parameter", matrix, b"\x88", b"}")
    embedding = b"ctorch.nn.modules.sparse\nEmbedding\n)\x81" + make.dictionary({"_parameters": b"}"}) + b"b"
    parts = {"b4.out.weight": make.floats(1.0, 2.0), "x": parameter, "none": b"N"}
    named = make.dictionary({"conv_clamp": scalar, "block_kwargs": b"}", "list": b"](K\x01K\x02e"})
    network = make.module(parts, modules=make.dictionary({"embed": embedding}), named=named, source="print('no')")
    return make.official(network)


def structure(data: bytes) -> list[int]:
    """Positions that are not tensor data, where a mutation matters."""
    places: list[int] = []
    for opcode, argument, position in pickletools.genops(data):
        size = len(argument) if isinstance(argument, bytes) else 12
        # Of a nested storage the first 250 bytes are small pickles of their own.
        places.extend(range(position, min(position + 5 + min(size, 250), len(data))))
        del opcode
    return places


def mutate(data: bytes, places: list[int], draw: random.Random) -> bytes:
    """One to four changes at places drawn."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = min(draw.choice(places), max(len(changed) - 1, 0))
        match draw.randrange(8):
            case 0:
                changed[at : at + 1] = bytes([draw.randrange(256)])
            case 1:
                changed[at : at + 1] = bytes([draw.choice(OPCODES)])
            case 2:
                changed[at : at + 1] = bytes([changed[at] ^ (1 << draw.randrange(8))]) if changed else b""
            case 3:
                del changed[at : at + draw.randint(1, 40)]
            case 4:
                source = draw.choice(places)
                changed[at:at] = data[source : source + draw.randint(1, 200)]
            case 5:
                changed[at:at] = draw.choice(GLOBALS) + b"(" + make.text("x") + b"tR"
            case 6:
                size = draw.choice((4, 8))
                changed[at : at + size] = draw.choice((b"\xff", b"\x7f", b"\0", b"\x40")) * size
            case _:
                del changed[at:]
    return bytes(changed)


def peak_memory() -> int:
    """Bytes, or 0 where the platform does not tell."""
    if sys.platform == "win32":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def test_mutated_pickles_are_refused_or_loaded_and_never_run(tmp_path, monkeypatch, fixture_file):
    monkeypatch.chdir(tmp_path)
    path = Path("in.pkl")
    bases = [small_file(), fixture_file("pickles/sgxl_stem_32.pkl").read_bytes()]
    for data in bases:  # both are good, and what is imported on first use is imported now
        path.write_bytes(data)
        assert "G_ema" in import_official(path)
    places = [structure(data) for data in bases]

    draw = random.Random(SEED)
    watch, peak = Watch(), peak_memory()
    loaded = refused = 0
    for index in range(COUNT):
        which = 1 if index % 6 == 0 else 0
        data = mutate(bases[which], places[which], draw)
        path.write_bytes(data)
        start = time.perf_counter()
        watch.on = True
        try:
            networks = import_official(path)
        except EditkitError as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            loaded += 1
            held = [tensor for network in networks.values() for tensor in network.tensors.values()]
            assert all(isinstance(tensor, torch.Tensor) for tensor in held)
            assert sum(tensor.nbytes for tensor in held) <= len(data)
        finally:
            watch.on = False
        assert time.perf_counter() - start < 5, f"mutation {index} of seed {SEED}"
        assert not watch.seen, f"mutation {index} of seed {SEED}: {watch.seen}"
    assert os.listdir() == ["in.pkl"]
    assert refused > COUNT // 2
    assert loaded > 0 or COUNT < 100
    assert peak_memory() - peak < 200 << 20

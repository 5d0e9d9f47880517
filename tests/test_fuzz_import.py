"""Mutated pickles of every family: always a typed error or a network that works; never an execution, a hang or a spike.

Runs in a process of its own, under a limit of memory. EDITKIT_FUZZ=20000 makes that many mutations instead of 2,500;
EDITKIT_FUZZ_SEED=1 starts elsewhere.
"""

from __future__ import annotations

import json
import os
import pickletools
import random
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pickle_maker as make
import torch

from editkit.checkpoints import import_official
from editkit.errors import EditkitError
from editkit.network_loading import load_network
from editkit.networks import build_network

COUNT = int(os.environ.get("EDITKIT_FUZZ", "2500"))
SEED = int(os.environ.get("EDITKIT_FUZZ_SEED", "0"))
ROOM = 600 << 20  # bytes that the address space may grow by once everything is imported
SLOWEST = 5.0  # seconds a case
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
    more = {"conv_clamp": scalar, "block_kwargs": make.dictionary({"resample_filter": b"](K\x01K\x02e"})}
    buffer = b"\x96" + struct.pack("<Q4d", 32, *range(4))  # BYTEARRAY8
    shape = make.numbers(2, 2)
    array = make.call("numpy._core.numeric", "_frombuffer", buffer, kind, shape, make.text("C"))
    options: dict[str, Any] = {"modules": make.dictionary({"embed": embedding}), "source": "print('no')"}
    options["extra"] = make.text("in_size") + array
    return make.official(make.discriminator(options=options, more=more, x=parameter, none=b"N"))


OUTER = {"z_dim": 2, "c_dim": 2, "w_dim": 2, "img_resolution": 8, "img_channels": 1}
WIDTHS = {"channel_base": 16, "channel_max": 2}
ALIAS_FREE = OUTER | WIDTHS | {"img_resolution": 16, "num_layers": 3, "margin_size": 1, "filter_size": 2}
STAGE = {"img_resolution": 32, "head_layers": 3, "up_factor": 2}
LABELLED = {"c_dim": 2, "img_resolution": 8, "img_channels": 1, "mapping_kwargs": {"num_layers": 1}}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "stylegan3": ("stylegan3", ALIAS_FREE),
    "stylegan2": ("stylegan2", OUTER | WIDTHS | {"architecture": "resnet", "mapping_kwargs": {"num_layers": 2}}),
    "stylegan2-ada": ("stylegan2", OUTER | {"synthesis_kwargs": WIDTHS, "mapping_kwargs": {"num_layers": 1}}),
    "stylegan_xl": ("stylegan_xl", ALIAS_FREE),
    "stylegan_xl-head": ("stylegan_xl", STAGE | {"stem": ALIAS_FREE}),
    "discriminator": ("discriminator", LABELLED | WIDTHS | {"architecture": "skip"}),
}


def family_file(name: str) -> bytes:
    """A whole network of this family, as small as it gets."""
    kind, arguments = FAMILIES[name]
    state = build_network(kind, arguments | ({"embed_dim": 3} if kind == "stylegan_xl" else {})).state_dict()
    held = {key: make.filled(tuple(value.shape), *value.flatten().tolist()) for key, value in state.items()}
    if "stem" not in arguments:
        return make.official(make.network(arguments, held))
    inner = {key: ALIAS_FREE[key] for key in ("z_dim", "c_dim", "w_dim")}
    parts = {"mapping": make.network(inner, {}), "synthesis": make.network(ALIAS_FREE, {})}
    top = {key: value for key, value in arguments.items() if key != "stem"} | {"path_stem": "x"}
    return make.official(make.network(top, held, modules=make.dictionary(parts)))


def structure(data: bytes) -> list[int]:
    """Positions that are not tensor data, where a mutation matters."""
    places: list[int] = []
    for opcode, argument, position in pickletools.genops(data):
        size = len(argument) if isinstance(argument, bytes) else 12
        # Of a nested storage the first 250 bytes are small pickles of their own.
        places.extend(range(position, min(position + 5 + min(size, 250), len(data))))
        del opcode
    return places


def mutate_numbers(data: bytes, draw: random.Random) -> bytes:
    """One or two whole numbers (an argument, a shape, a count) made others: what is left is still a pickle."""
    changed = bytearray(data)
    at = [position for opcode, _, position in pickletools.genops(data) if opcode.name == "BININT"]
    for position in draw.sample(at, draw.randint(1, 2)):
        held = int.from_bytes(data[position + 1 : position + 5], "little", signed=True)
        value = draw.choice((0, -1, 1, held + 1, held - 1, 2 * held, held * held, 4096, 100_000, (1 << 31) - 1))
        changed[position + 1 : position + 5] = max(min(value, (1 << 31) - 1), -(1 << 31)).to_bytes(
            4, "little", signed=True
        )
    return bytes(changed)


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


def limit_memory() -> None:
    """Lets the address space grow by ROOM and no more, where the platform can."""
    if sys.platform == "linux":
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + ROOM
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def peak_memory() -> int:
    """Bytes; 0 where the platform does not tell it of this process alone."""
    if sys.platform != "linux":
        return 0
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


def check_one(path: Path) -> str:
    """What became of it: "refused", "unfit" (the weights are not those of the arguments) or "loaded"."""
    try:
        networks = import_official(path)
    except EditkitError as error:
        assert "\n" not in str(error), error
        return "refused"
    held = [tensor for network in networks.values() for tensor in network.tensors.values()]
    assert all(isinstance(tensor, torch.Tensor) for tensor in held)
    assert sum(tensor.nbytes for tensor in held) <= path.stat().st_size
    for network in networks.values():
        try:
            made = load_network(
                network.kind, network.arguments, network.tensors, name="fuzz", device=torch.device("cpu")
            )
        except EditkitError as error:
            assert "\n" not in str(error), error
            return "unfit"
        assert set(made.state_dict()) == set(network.tensors)
    return "loaded"


def fuzz(count: int, seed: int) -> dict[str, Any]:
    """``count`` mutations in the current folder."""
    path = Path("in.pkl")
    torch.set_num_threads(1)
    bases = [small_file(), *(family_file(name) for name in FAMILIES)]
    outcomes = []
    for data in bases:  # what is imported on first use is imported now
        path.write_bytes(data)
        outcomes.append(check_one(path))
    assert outcomes == ["unfit", *["loaded"] * len(FAMILIES)], outcomes
    places = [structure(data) for data in bases]
    draw, watch, peak = random.Random(seed), Watch(), peak_memory()
    limit_memory()
    found = {"refused": 0, "unfit": 0, "loaded": 0}
    for index in range(count):
        which = index % (2 * len(bases))
        which = which if which < len(bases) else 0  # half of them of the file that has everything
        if index % 3 == 0:
            data = mutate_numbers(bases[which], draw)
        else:
            data = mutate(bases[which], places[which], draw)
        path.write_bytes(data)
        start = time.perf_counter()
        watch.on = True
        try:
            found[check_one(path)] += 1
        except BaseException as error:
            Path("failed.pkl").write_bytes(data)
            raise AssertionError(f"mutation {index} of seed {seed}: {error!r}") from error
        finally:
            watch.on = False
        assert time.perf_counter() - start < SLOWEST, f"mutation {index} of seed {seed}"
        assert not watch.seen, f"mutation {index} of seed {seed}: {watch.seen}"
    return {**found, "grown": peak_memory() - peak, "files": sorted(os.listdir())}


def test_mutated_pickles_are_refused_or_loaded_and_never_run(tmp_path: Path) -> None:
    here = Path(__file__)
    done = subprocess.run(
        [sys.executable, str(here), str(COUNT), str(SEED)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(here.parents[1]), str(here.parent)])},
        capture_output=True,
        text=True,
        timeout=60 + COUNT,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert report["files"] == ["in.pkl"]
    assert report["refused"] > COUNT // 2
    assert report["loaded"] > 0 and report["unfit"] > 0
    assert report["grown"] < 200 << 20


if __name__ == "__main__":
    print(json.dumps(fuzz(int(sys.argv[1]), int(sys.argv[2]))))

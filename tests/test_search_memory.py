"""What a search takes: the estimate against measured peaks, and the refusal before it starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from linear_generator import LinearGenerator

from editkit import memory, search_memory
from editkit.errors import MemoryBudgetError, UsageError
from editkit.generator import random_generator
from editkit.memory import working_memory
from editkit.ops.backends import use_backend
from editkit.search_memory import check_search_fits
from projector import Optimise
from projector.losses import Weights
from projector.optimise import search

ROOT = Path(__file__).resolve().parents[1]
MIB = 2**20
T = {"img_resolution": 64, "channel_base": 8192, "channel_max": 512, "num_layers": 14, "margin_size": 10}
WIDE = {"channel_base": 8192, "channel_max": 128, "num_layers": 8, "margin_size": 10}

MEASURED = f"""
import json, re, resource, sys
sys.path.insert(0, {str(ROOT)!r})
from editkit.threads import settle_threads
settle_threads()
import torch
from editkit.generator import random_generator
from editkit.perceptual import Bundled
from editkit.search_memory import search_memory
from projector.optimise import Optimise, search
arguments, batch = json.loads(sys.argv[1]), int(sys.argv[2])
G, perceptual = random_generator(**arguments), Bundled()
targets = torch.rand(batch, 3, G.spec.resolution, G.spec.resolution) * 2 - 1
pages = int(open("/proc/self/statm").read().split()[1])
search(G, targets, Optimise(steps=2), perceptual=perceptual)
# ru_maxrss would begin at the size of the process that started this one
peak = 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) - pages * resource.getpagesize()
told = search_memory(G.arguments, kind=G.spec.kind, batch=batch, perceptual=perceptual.name)
print(json.dumps({{"peak": peak / 2**20, "told": told / 2**20}}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize(
    ("kind", "arguments", "batch"),
    [
        ("stylegan3", {"resolution": 64, **WIDE}, 4),
        ("stylegan3", {"resolution": 64, **WIDE, "conv_kernel": 1, "use_radial_filters": True}, 6),
        ("stylegan2", {"resolution": 64, "channel_base": 8192, "channel_max": 128}, 10),
        ("stylegan_xl", {"resolution": 64, **WIDE}, 5),
    ],
)
def test_the_estimate_is_at_the_measured_peak(kind: str, arguments: dict[str, object], batch: int) -> None:
    """In a fresh process, above what it holds with the network loaded: never much below, never twice as much."""
    command = [sys.executable, "-c", MEASURED, json.dumps({"kind": kind, **arguments}), str(batch)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["peak"] > 1.3 * (search_memory.RUNTIME + search_memory.COMPILED) / MIB  # not only torch itself
    assert 0.9 < found["told"] / found["peak"] < 2, found


def test_published_measurements_are_met() -> None:
    """Peaks above the loaded network, in MiB, of fresh processes on two cores."""
    for change, batch, peak in (
        ({}, 1, 716),
        ({"img_resolution": 128, "channel_base": 16384}, 1, 1151),
        ({"img_resolution": 256, "channel_base": 16384}, 1, 1419),
        ({}, 4, 1796),
    ):
        told = search_memory.search_memory(T | change, batch=batch, perceptual="editkit-faces") / MIB
        assert 0.98 < told / peak < 1.2, (change, batch, told)
    for side, peak in ((128, 476), (256, 790)):
        arguments = {"img_resolution": side, "channel_base": 16384, "channel_max": 512}
        told = search_memory.search_memory(arguments, kind="stylegan2", perceptual="editkit-faces") / MIB
        assert 0.98 < told / peak < 1.2
    with use_backend("polyphase"):  # without masks, and without numba
        radial = T | {"channel_base": 16384, "conv_kernel": 1, "use_radial_filters": True}
        for arguments, peak in ((T, 1253), (radial, 1965)):
            assert 0.98 < search_memory.search_memory(arguments, perceptual="editkit-faces") / MIB / peak < 1.2


def test_the_estimate_counts_what_it_should() -> None:
    def told(**change: object) -> float:
        options = {key: change.pop(key) for key in ("kind", "batch", "perceptual", "device") if key in change}
        return search_memory.search_memory(T | change, **options) / MIB  # type: ignore[arg-type]

    assert told() > 4 * working_memory(T) / MIB  # more than a layer at a time
    assert told(batch=3) - told(batch=2) == pytest.approx(told(batch=2) - told(batch=1))
    assert told(perceptual="lpips-vgg", img_resolution=256) - told(img_resolution=256) > 200
    assert told(perceptual="one of next year") == told(perceptual="lpips-vgg")
    assert told(device="cuda", num_fp16_res=8) < told(device="cuda", num_fp16_res=0)
    stem = T | {"z_dim": 64, "w_dim": 64, "c_dim": 3}
    head = {"img_resolution": 128, "head_layers": 7, "up_factor": 2, "stem": stem, "embed_dim": 3}
    below = search_memory.search_memory(stem, kind="stylegan_xl") / MIB
    assert below == pytest.approx(told())  # a stem is a StyleGAN3
    assert 1.1 * below < search_memory.search_memory(head, kind="stylegan_xl") / MIB < 3 * below
    older = {"img_resolution": 256, "synthesis_kwargs": {"channel_base": 16384}}
    assert search_memory.search_memory(older, kind="stylegan2") < search_memory.search_memory(
        {"img_resolution": 256}, kind="stylegan2"
    )
    skip, resnet = (
        search_memory.search_memory({"img_resolution": 256, "architecture": name}, kind="stylegan2")
        for name in ("skip", "resnet")
    )
    assert skip < resnet


@pytest.mark.parametrize(
    ("kind", "change"),
    [("stylegan3", {"num_layers": 2}), ("stylegan2", {"channel_max": 0}), ("stylegan_xl", {"stem": {}}), ("new", {})],
)
def test_arguments_that_make_no_network_are_refused(kind: str, change: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="make no network"):
        search_memory.search_memory(T | change, kind=kind)


def test_a_search_that_does_not_fit_is_refused_before_it_starts(monkeypatch) -> None:
    G = random_generator(resolution=32)
    targets, method = torch.zeros(4, 3, 32, 32), Optimise(steps=1, weights=Weights(perceptual=0.0))
    one, four = (search_memory.search_memory(G.arguments, batch=batch) for batch in (1, 4))
    refuse_to_run = type(G).synthesize

    def ran(*args, **options):
        raise AssertionError("it started")

    for module in (memory, search_memory):
        monkeypatch.setattr(module, "free_memory", lambda device="cpu": four - 1)
    monkeypatch.setattr(type(G), "synthesize", ran)
    with pytest.raises(MemoryBudgetError, match=r"'random-0' for 4 photos at a time needs about .*; take 3 at a time"):
        search(G, targets, method, perceptual=_Named())
    for module in (memory, search_memory):
        monkeypatch.setattr(module, "free_memory", lambda device="cpu": one - 1)
    with pytest.raises(MemoryBudgetError, match=r"for 1 photo at a time needs about .*; close other programs.*device"):
        search(G, targets[:1], method, perceptual=_Named())
    with pytest.raises(MemoryBudgetError, match="not even one fits"):
        search(G, targets, method, perceptual=_Named())
    monkeypatch.setattr(type(G), "synthesize", refuse_to_run)
    for module in (memory, search_memory):
        monkeypatch.setattr(module, "free_memory", lambda device="cpu": four)
    assert len(search(G, targets, method, perceptual=_Named()).latent) == 4


def test_a_generator_of_another_making_passes(monkeypatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device="cpu": 0)
    check_search_fits(LinearGenerator(), batch=1, perceptual=None)


class _Named:
    """A distance that is not asked for anything."""

    name = unit = "none"

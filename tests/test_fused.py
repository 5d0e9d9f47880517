"""The fused CPU kernel: against the definition in float64, and as a good citizen among threads and processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from network_fixtures import layer_tables, relative_error
from torch import Tensor

from editkit.ops import arena, fused, fused_kernel, threads
from editkit.ops.backends import use_backend
from editkit.ops.filtered_lrelu import filtered_lrelu
from editkit.ops.filters import design_lowpass_filter


def _geometries() -> list[pytest.param]:
    """Every different geometry of the T networks; the widest pictures of 1024 and 512 are like 256's, only larger."""
    seen = {}
    for name in ("T_256", "T_512", "T_1024"):
        for layer in layer_tables()[name]["layers"]:
            if layer["is_torgb"] or (name != "T_256" and layer["out_size"][0] > 300):
                continue
            key = (
                layer["in_size"][0],
                layer["up_factor"],
                layer["down_factor"],
                *layer["padding"],
                layer["out_size"][0],
            )
            seen.setdefault(key, pytest.param(layer, id=f"{name}-{layer['name']}"))
    return list(seen.values())


def _everything(x: Tensor, b: Tensor | None, fu, fd, seed: int, **options) -> list[Tensor]:
    """Value, gradient along x (and b), and the derivative of the gradient along the cotangent."""
    x = x.detach().requires_grad_()
    b = None if b is None else b.detach().requires_grad_()
    y = filtered_lrelu(x, fu, fd, b, **options)
    draw = np.random.default_rng(seed)
    r = torch.tensor(draw.standard_normal(y.shape, np.float32)).to(y.dtype).requires_grad_()
    r2 = torch.tensor(draw.standard_normal(x.shape, np.float32)).to(y.dtype)
    gradients = torch.autograd.grad((y * r).sum(), [x] if b is None else [x, b], create_graph=True)
    # the bias gradient has a part in it, so that its own derivative is tested too
    scalar = (gradients[0] * r2).sum() + (0 if b is None else gradients[1].sum())
    return [y, *gradients, *torch.autograd.grad(scalar, r)]


def _check(x: Tensor, b: Tensor | None, fu, fd, **options) -> None:
    with use_backend("cpu"):
        assert fused.supported(x, fu, fd)
        found = _everything(x, b, fu, fd, 1, **options)
    with use_backend("reference"):
        wanted = _everything(x.double(), None if b is None else b.double(), fu, fd, 1, **options)
    assert relative_error(found[0], wanted[0]) < 2e-6
    for index, (a, w) in enumerate(zip(found[1:], wanted[1:], strict=True)):
        assert a.shape == w.shape and torch.isfinite(a).all()
        # an element within rounding of the kink may take the other side: rare, and small in the mean
        tolerance = 2e-6 if w.ndim == 4 else 1e-4  # a bias gradient sums them all
        off = (a.double() - w).abs() > tolerance * max(1.0, w.abs().max().item())
        assert off.double().mean() < 2e-3, (index, off.double().mean())
        assert torch.nn.functional.cosine_similarity(a.double().flatten(), w.flatten(), dim=0) > 1 - 1e-6


@pytest.mark.parametrize("layer", _geometries())
def test_the_layers_of_standard_networks(layer: dict) -> None:
    rate = layer["tmp_sampling_rate"]
    fu = design_lowpass_filter(layer["up_taps"], layer["in_cutoff"], layer["in_half_width"] * 2, rate)
    fd = design_lowpass_filter(layer["down_taps"], layer["out_cutoff"], layer["out_half_width"] * 2, rate)
    size = layer["in_size"][0] + layer["conv_kernel"] - 1
    x, b = torch.randn(1, 2, size, size), torch.randn(2)
    options = {"up": layer["up_factor"], "down": layer["down_factor"], "padding": layer["padding"], "clamp": 256.0}
    _check(x, b, fu, fd, **options)
    assert filtered_lrelu(x, fu, fd, b, **options).shape[2:] == tuple(layer["out_size"])


@pytest.mark.parametrize("seed", range(36))
def test_random_geometries(seed: int) -> None:
    """Factors, paddings that crop, odd sizes, channels that fill no block, clamp, flip, missing filters and bias."""
    draw = np.random.default_rng(seed)
    up, down = (int(draw.choice([1, 2, 3, 4])) for _ in range(2))
    taps = [int(draw.integers(1, 7)) * factor for factor in (up, down)]
    fu, fd = (torch.tensor(draw.standard_normal(n), dtype=torch.float32) / n**0.5 for n in taps)
    fu = fu / up  # so that values stay of the size of the clamp
    n, c = int(draw.integers(1, 4)), int(draw.choice([1, 3, 15, 16, 17, 33]))
    x = torch.tensor(draw.standard_normal((n, c, *draw.integers(9, 28, 2))), dtype=torch.float32)
    # enough samples must be left for the filters; beyond that padding may crop
    spare = (min(x.shape[2:]) * up - sum(taps)) // 2
    padding = [int(draw.integers(max(-3, -spare), 8)) if spare >= 0 else 12 for _ in range(4)]
    b = torch.tensor(draw.standard_normal(c), dtype=torch.float32) if seed % 5 else None
    _check(
        x,
        b,
        None if seed % 7 == 3 else fu,
        None if seed % 7 == 5 else fd,
        up=up,
        down=down,
        padding=padding,
        gain=float(draw.uniform(0.5, 2)),
        slope=float(draw.choice([0.0, 0.2, 1.0])),
        clamp=[None, 0.4][seed % 2],
        flip_filter=bool(seed % 3 == 0),
    )


@pytest.mark.parametrize("seed", range(8))
def test_radial_filters(seed: int) -> None:
    """As in configuration R, and with the square filter before the non-linearity, or on both sides."""
    draw = np.random.default_rng(seed)
    up, down = (int(draw.choice([1, 2, 4])) for _ in range(2))
    square = design_lowpass_filter(12 if seed % 4 else 6, 2, 12, 32, radial=True)
    fu = square if seed % 3 == 2 else design_lowpass_filter(6 * up, 2, 12, 32)
    fd = None if seed == 2 else square
    c = int(draw.choice([2, 16, 21]))
    x = torch.tensor(draw.standard_normal((2, c, *draw.integers(14, 24, 2))), dtype=torch.float32)
    padding = [int(p) for p in draw.integers(0, 12, 4)]
    _check(x, torch.randn(c), fu, fd, up=up, down=down, padding=padding, clamp=0.7, flip_filter=bool(seed % 2))


OPTIONS = {"up": 2, "down": 2, "padding": [11, 10, 11, 10], "clamp": 1.0}
FIR = design_lowpass_filter(12, 2, 12, 32)


def _forward_and_gradient(x: Tensor) -> tuple[Tensor, Tensor]:
    with use_backend("cpu"):
        x = x.detach().requires_grad_()
        y = filtered_lrelu(x, FIR, FIR, None, **OPTIONS)
        (gx,) = torch.autograd.grad(y.square().sum(), x)
        return y.detach(), gx


def _same(found: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_any_memory_layout_gives_the_same_bits() -> None:
    x = torch.randn(2, 20, 13, 11)
    wanted = _forward_and_gradient(x)
    layouts = {
        "channels last": x.contiguous(memory_format=torch.channels_last),
        "every other": torch.stack([x, -x], -1).flatten(3)[..., ::2],
        "transposed": x.transpose(2, 3).contiguous().transpose(2, 3),
        "inside": torch.nn.functional.pad(x, [1, 2, 3, 4])[:, :, 3:-4, 1:-2],
    }
    for name, view in layouts.items():
        assert torch.equal(view, x) and _same(_forward_and_gradient(view), wanted), name
    row = torch.randn(1, 1, 13, 1).expand(2, 20, 13, 11)  # strides of zero, in x and in the cotangent of sum()
    assert _same(_forward_and_gradient(row), _forward_and_gradient(row.contiguous()))
    copy, leaf = x.clone(), x.clone().requires_grad_()
    filtered_lrelu(leaf, FIR, FIR, **OPTIONS).sum().backward()
    assert torch.equal(leaf.detach(), copy) and leaf.grad is not None  # the input is left alone


def test_concurrent_calls_give_the_same_bits() -> None:
    pictures = [torch.randn(2, 17 + i, 20, 20) for i in range(4)]
    wanted = [_forward_and_gradient(x) for x in pictures]
    start = threading.Barrier(len(pictures))

    def work(index: int) -> bool:
        start.wait(30)
        return all(_same(_forward_and_gradient(pictures[index]), wanted[index]) for _ in range(8))

    with ThreadPoolExecutor(len(pictures)) as pool:
        assert all(pool.map(work, range(len(pictures))))


def test_the_number_of_threads_changes_no_bit() -> None:
    before, x = torch.get_num_threads(), torch.randn(3, 40, 15, 15)
    results = []
    try:
        for threads in (1, 2, 3, 7, 1):
            torch.set_num_threads(threads)
            results.append(_forward_and_gradient(x))
    finally:
        torch.set_num_threads(before)
    assert all(_same(found, results[0]) for found in results[1:])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_it_works_after_a_fork() -> None:
    """As a data loader's worker does; the parent's pool does not exist in the child."""
    before, x = torch.get_num_threads(), torch.randn(2, 33, 9, 9)
    torch.set_num_threads(2)
    try:
        wanted = _forward_and_gradient(x)  # the pool runs from here on
        assert threads._pool is not None
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # a deadlock ends the child, and the test
            try:
                with torch.no_grad(), use_backend("cpu"):
                    same = torch.equal(filtered_lrelu(x, FIR, FIR, None, **OPTIONS), wanted[0])
                os._exit(0 if same else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert _same(_forward_and_gradient(x), wanted)  # and the parent's pool still does
    finally:
        torch.set_num_threads(before)


def test_all_memory_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lent memory is poisoned: NaN in results, and a mask that silences what it covers."""
    x = torch.randn(2, 19, 14, 9)
    wanted = _forward_and_gradient(x)
    array, poisoned = arena.array, []

    def bad(shape, dtype=np.float32) -> np.ndarray:
        poisoned.append(np.dtype(dtype).kind)
        made = array(shape, dtype)
        made.fill(np.nan if poisoned[-1] == "f" else np.iinfo(dtype).max)
        return made

    monkeypatch.setattr(arena, "array", bad)
    found = _forward_and_gradient(x)
    monkeypatch.undo()
    assert {"f", "u"} <= set(poisoned)
    assert _same(found, wanted)


def test_only_what_the_kernel_knows_is_given_to_it() -> None:
    x = torch.zeros(1, 2, 8, 8)
    assert fused.supported(x, FIR, None)
    assert not fused.supported(x.double(), FIR, None)
    assert not fused.supported(x.half(), FIR, None)
    assert fused.supported(x, None, torch.ones(4, 4))
    assert not fused.supported(x, None, torch.arange(16.0).view(4, 4))  # not the same upside down
    assert not fused.supported(x, torch.ones(3, 3), None)
    assert not fused.supported(x, torch.ones(4, 6), None)
    assert not fused.supported(x[:0], FIR, None)
    assert not fused.supported(x.to("meta"), FIR, None)


def test_the_wait_is_told_only_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stats = SimpleNamespace(cache_path=str(tmp_path))
    monkeypatch.setattr(fused_kernel, "run_tasks", SimpleNamespace(stats=stats, __name__="run_tasks"))
    for kept, levels in ((False, ["INFO"]), (True, [])):
        if kept:
            (tmp_path / "fused_kernel.run_tasks-1.py311.nbi").touch()
        caplog.clear()
        fused.available.cache_clear()
        with caplog.at_level("INFO", logger="editkit"):
            assert fused.available()
        assert [record.levelname for record in caplog.records if "a wait, once" in record.message] == levels


def test_without_numba_the_polyphase_way_answers(monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    import sys

    x = torch.randn(1, 3, 10, 10)
    wanted = filtered_lrelu(x, FIR, FIR, **OPTIONS)
    monkeypatch.setitem(sys.modules, "editkit.ops.fused_kernel", None)  # what a failed import leaves
    monkeypatch.delattr("editkit.ops.fused_kernel", raising=False)
    fused.available.cache_clear()
    try:
        with use_backend("cpu"):
            found = [filtered_lrelu(x, FIR, FIR, **OPTIONS) for _ in range(2)]
    finally:
        monkeypatch.undo()
        fused.available.cache_clear()
    assert relative_error(found[0], wanted) < 2e-6
    assert [r.levelname for r in caplog.records if "numba" in r.message] == ["WARNING"]  # once


def test_lanes_follow_what_numba_compiles_for() -> None:
    code = "from editkit.ops import simd; print(simd.LANES)"
    for features, lanes in (("+avx2,+fma", "8"), ("+avx2,+avx512f", "16")):
        environment = os.environ | {"NUMBA_CPU_FEATURES": features}
        found = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        assert found.stdout.strip() == lanes

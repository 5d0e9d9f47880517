"""Winograd's convolution and the kept weights, against the definition in float64."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from network_fixtures import relative_error
from torch import Tensor

from editkit.ops import scaled_conv, winograd
from editkit.ops.backends import precision, use_backend
from editkit.ops.modulated_conv import modulated_conv2d
from editkit.ops.scaled_conv import plain, scaled_conv2d

SHAPES = [(1, 32, 32, 36, 36, 2), (2, 37, 50, 13, 11, 1), (3, 64, 33, 7, 20, 0), (1, 40, 32, 25, 19, -3)]


def _data(n: int, i: int, o: int, h: int, w: int, k: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return torch.randn(n, i, h, w), torch.randn(o, i, k, k), torch.randn(n, i), torch.rand(n, o) + 0.5


def _everything(run, x: Tensor, weight: Tensor, s: Tensor, d: Tensor, padding: int) -> list[Tensor]:
    """Value, and gradients along x and both scales."""
    leaves = [t.detach().clone().requires_grad_() for t in (x, s, d)]
    y = run(leaves[0], weight, *leaves[1:], padding=padding)
    r = torch.tensor(np.random.default_rng(1).standard_normal(y.shape, np.float32)).to(y.dtype)
    return [y, *torch.autograd.grad((y * r).sum(), leaves)]


def _same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_value_and_gradients_against_float64(shape, kernel: int) -> None:
    *sizes, padding = shape
    x, weight, s, d = _data(*sizes, kernel)
    assert scaled_conv.supported(x, weight)
    found = _everything(scaled_conv2d, x, weight, s, d, padding)
    wanted = _everything(plain, *(t.double() for t in (x, weight, s, d)), padding)
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape and relative_error(a, b) < (2e-5 if kernel == 3 else 2e-6)
        assert torch.nn.functional.cosine_similarity(a.double().flatten(), b.flatten(), dim=0) > 1 - 1e-9


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_graph_of_the_gradient_falls_back_to_torch(kernel: int) -> None:
    x, weight, s, d = _data(2, 32, 32, 8, 8, kernel)
    results = []
    for run, dtype in ((scaled_conv2d, torch.float32), (plain, torch.float64)):
        leaves = [t.to(dtype).requires_grad_() for t in (x, s, d)]
        y = run(leaves[0], weight.to(dtype), *leaves[1:], padding=1)
        gradients = torch.autograd.grad(y.square().sum(), leaves, create_graph=True)
        results.append([*gradients, *torch.autograd.grad(sum(g.square().sum() for g in gradients), leaves)])
        for t in (x, s, d):
            t.requires_grad_(False)
    for found, wanted in zip(*results, strict=True):
        assert relative_error(found, wanted) < 5e-5


def test_memory_layouts_and_threads_change_no_bit() -> None:
    before = torch.get_num_threads()
    x, weight, s, d = _data(2, 40, 32, 21, 17)
    views = [x, x.contiguous(memory_format=torch.channels_last), torch.stack([x, -x], -1).flatten(3)[..., ::2]]
    weights = [weight, weight.contiguous(memory_format=torch.channels_last)]
    try:
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results += [_everything(scaled_conv2d, view, w, s, d, 2) for view in views for w in weights]
    finally:
        torch.set_num_threads(before)
    assert all(_same(found, results[0]) for found in results[1:])


@pytest.mark.parametrize("threads", [1, 2])
def test_inference_mode_reaches_the_pool(threads: int) -> None:
    """A mode is a thread's own: without it a worker may not write into what its caller made."""
    before = torch.get_num_threads()
    x, weight, s, d = _data(1, 32, 32, 12, 12)
    wanted = _everything(scaled_conv2d, x, weight, s, d, 1)[0]
    try:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            found = scaled_conv2d(x * 1, weight * 1, s * 1, d * 1, padding=1)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found, wanted)


def test_concurrent_calls_give_the_same_bits() -> None:
    data = [_data(1, 32 + i, 40, 20, 20 + i) for i in range(4)]
    wanted = [_everything(scaled_conv2d, *item, 1) for item in data]
    start = threading.Barrier(len(data))

    def work(index: int) -> bool:
        start.wait(30)
        return all(_same(_everything(scaled_conv2d, *data[index], 1), wanted[index]) for _ in range(4))

    with ThreadPoolExecutor(len(data)) as pool:
        assert all(pool.map(work, range(len(data))))


def test_changed_weights_are_seen() -> None:
    """Also a change that autograd's counter does not see; and a new tensor at the address of an old one."""
    x, weight, s, d = _data(1, 32, 32, 12, 12)
    entry = (0, 0, 0, 0)
    changes = (torch.Tensor.zero_, lambda w: w.add_(torch.randn_like(w)), lambda w: w.data.neg_())
    for change in (*changes, lambda w: w.data.__setitem__(entry, 9.0)):
        change(weight)
        found, wanted = scaled_conv2d(x, weight, s, d, padding=1), plain(x, weight, s, d, 1)
        assert torch.allclose(found, wanted, rtol=0, atol=1e-2 * wanted.std().item() / 100 + 1e-9)
        assert torch.allclose(winograd.squares(weight), weight.square().sum([2, 3]), rtol=1e-5)
    with torch.inference_mode():
        frozen = weight * 3
        assert relative_error(scaled_conv2d(x, frozen, s, d, padding=1), plain(x, frozen, s, d, 1)) < 2e-5
    kept = len(winograd._kept)
    del weight, frozen
    assert len(winograd._kept) <= kept - 2  # entries go with their weights


def test_no_more_weights_are_kept_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight, s, d = _data(1, 32, 32, 12, 12)
    wanted = scaled_conv2d(x, weight.clone(), s, d, padding=1)
    monkeypatch.setattr(winograd, "KEPT", 0)
    assert torch.equal(scaled_conv2d(x, weight, s, d, padding=1), wanted)
    assert winograd._kept_of(weight).points is None


def test_tiles_in_several_chunks_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of rows of a product may change its rounding, no more."""
    x, weight, s, d = _data(2, 32, 48, 33, 29)
    wanted = scaled_conv2d(x, weight, s, d, padding=1)
    monkeypatch.setattr(winograd, "CHUNK", 64 * 4 * 80 * 7)
    assert relative_error(scaled_conv2d(x, weight, s, d, padding=1), wanted) < 1e-6


def test_trained_weights_and_exactness_stay_with_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight, s, _ = _data(2, 32, 32, 9, 9)
    used: list[bool] = []
    original = winograd.convolve
    monkeypatch.setattr(winograd, "convolve", lambda *a, **k: used.append(True) or original(*a, **k))
    with use_backend("cpu"):
        fast = modulated_conv2d(x, weight, s, padding=1)
        assert used.pop()
        with precision("exact"):
            exact = modulated_conv2d(x, weight, s, padding=1)
        trained = weight.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(modulated_conv2d(x, trained, s, padding=1).square().sum(), trained)
        with torch.no_grad():
            assert not used
            modulated_conv2d(x, trained, s, padding=1)
            assert used.pop()  # at rest without a graph
    with use_backend("reference"):
        modulated_conv2d(x, weight, s, padding=1)
        again = weight.double().requires_grad_()
        wanted = modulated_conv2d(x.double(), again, s.double(), padding=1)
        (wanted_gradient,) = torch.autograd.grad(wanted.square().sum(), again)
    assert not used
    assert relative_error(exact, wanted) < 2e-6 and relative_error(fast, wanted) < 2e-5
    assert relative_error(gradient, wanted_gradient) < 1e-5


def test_negative_padding_crops_in_every_backend() -> None:
    x, weight, s, _ = _data(1, 32, 32, 14, 14)
    whole = modulated_conv2d(x.double(), weight.double(), s.double(), padding=2)[:, :, 5:-5, 5:-5]
    for backend in ("cpu", "polyphase", "reference"):
        with use_backend(backend):
            assert relative_error(modulated_conv2d(x, weight, s, padding=-3), whole) < 2e-5, backend


def test_an_unknown_precision_is_refused() -> None:
    from editkit.errors import UsageError

    with pytest.raises(UsageError, match="unknown precision 'slow'; choose one of fast, exact"), precision("slow"):
        pass

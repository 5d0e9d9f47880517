"""The convolution with its own weight gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from network_fixtures import relative_error

from editkit.ops import conv2d as module
from editkit.ops.backends import precision
from editkit.ops.conv2d import conv2d

SHAPES = [(2, 3, 5, 9, 11, 3, 1), (1, 16, 7, 13, 8, 3, 2), (3, 5, 4, 8, 8, 5, (2, 1)), (2, 4, 4, 7, 7, 3, 0)]


def _data(n, i, o, h, w, k) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(n, i, h, w).contiguous(memory_format=torch.channels_last).requires_grad_()
    return x, torch.randn(o, i, k, k, requires_grad=True)


@pytest.fixture
def quick_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the weight gradients that take the quick way."""
    calls: list[int] = []
    original = module._weight_gradient

    def counted(*args):
        calls.append(1)
        return original(*args)

    monkeypatch.setattr(module, "_weight_gradient", counted)
    return calls


@pytest.mark.parametrize("shape", SHAPES)
def test_value_and_gradients_against_float64(shape, quick_calls: list[int]) -> None:
    *sizes, padding = shape
    x, weight = _data(*sizes)
    y = conv2d(x, weight, padding=padding)
    r = torch.randn_like(y)
    found = torch.autograd.grad((y * r).sum(), [x, weight])
    assert len(quick_calls) == 1
    x64, w64 = x.detach().double().requires_grad_(), weight.detach().double().requires_grad_()
    y64 = F.conv2d(x64, w64, padding=padding)
    expected = torch.autograd.grad((y64 * r.double()).sum(), [x64, w64])
    assert relative_error(y, y64) < 2e-6
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape and relative_error(a, b) < 2e-6


@pytest.mark.parametrize("shape", SHAPES)
def test_second_derivatives_against_float64(shape, quick_calls: list[int]) -> None:
    """The gradient penalty of a discriminator: d/dw of |d y / d x|^2 through a non-linearity."""
    *sizes, padding = shape
    x, weight = _data(*sizes)
    results = []
    for dtype, run in ((torch.float32, conv2d), (torch.float64, F.conv2d)):
        a = x.detach().to(dtype, memory_format=torch.channels_last).requires_grad_()
        b = weight.detach().to(dtype).requires_grad_()
        y = run(a, b, padding=padding)
        gx, gw = torch.autograd.grad(y.square().sum(), [a, b], create_graph=True)
        results.append([gx, gw, *torch.autograd.grad(gx.square().sum() + gw.square().sum(), [a, b])])
    for found, expected in zip(*results, strict=True):
        assert relative_error(found, expected) < 1e-5


@pytest.mark.parametrize("change", ["frozen", "planar", "pointwise", "double", "no_grad"])
def test_everything_else_stays_with_torch(change: str, quick_calls: list[int]) -> None:
    x, weight = _data(2, 3, 4, 8, 8, 1 if change == "pointwise" else 3)
    x, weight = x.detach(), weight.detach()
    if change == "planar":
        x = x.contiguous()
    if change == "double":
        x, weight = x.double(), weight.double()
    x.requires_grad_()
    weight.requires_grad_(change != "frozen")
    if change == "no_grad":
        with torch.no_grad():
            assert torch.equal(conv2d(x, weight), F.conv2d(x, weight))
        return
    y = conv2d(x, weight)
    assert torch.equal(y, F.conv2d(x, weight))
    y.sum().backward()
    assert not quick_calls and x.grad is not None


def test_the_weight_gradient_is_written_everywhere() -> None:
    """Fresh memory is filled with NaN; none may be left."""
    x, weight = _data(2, 3, 5, 6, 6, 3)
    torch.use_deterministic_algorithms(True)
    try:
        (gw,) = torch.autograd.grad(conv2d(x, weight, padding=1).sum(), weight)
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.isfinite(gw).all()


@pytest.mark.parametrize("shape", [(2, 9, 10, 9, 11, 3, 1), (1, 16, 8, 13, 8, 3, 2), (2, 8, 8, 8, 8, 4, 1)])
@pytest.mark.parametrize("stride", [1, 2])
def test_half_is_near_the_definition(shape, stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values, gradients and second derivatives are rounded to 8 bits and come back in float32."""
    monkeypatch.setattr(module, "half_products", lambda: True)
    *sizes, padding = shape
    x, weight = _data(*sizes)
    results = []
    for dtype, name in ((torch.float32, "half"), (torch.float64, "fast")):
        a = x.detach().to(dtype, memory_format=torch.channels_last).requires_grad_()
        b = weight.detach().to(dtype).requires_grad_()
        with precision(name):
            y = conv2d(a, b, padding=padding, stride=stride)
        plain = torch.autograd.grad(y.square().sum(), [a, b], retain_graph=True)
        gx, gw = torch.autograd.grad(y.square().sum(), [a, b], create_graph=True)
        results.append([y, *plain, gx, gw, *torch.autograd.grad(gx.square().sum() + gw.square().sum(), [a, b])])
    for found, expected in zip(*results, strict=True):
        assert found.dtype == torch.float32
        assert 1e-5 < relative_error(found, expected) < 0.03


def test_half_is_fast_where_the_processor_has_no_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "half_products", lambda: False)
    x, weight = _data(2, 9, 10, 9, 11, 3)
    with precision("half"):
        assert torch.equal(conv2d(x, weight), F.conv2d(x, weight))


def test_few_channels_are_not_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "half_products", lambda: True)
    x, weight = _data(2, 3, 10, 9, 11, 3)
    with precision("half"):
        assert torch.equal(conv2d(x, weight), F.conv2d(x, weight))

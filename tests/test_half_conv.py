"""The convolution between two factors that rounds to bfloat16."""

from __future__ import annotations

import pytest
import torch
from network_fixtures import relative_error

from editkit.ops import fused, half_conv, simd
from editkit.ops.backends import precision, use_backend
from editkit.ops.modulated_conv import modulated_conv2d
from editkit.ops.scaled_conv import plain

pytestmark = pytest.mark.skipif(not fused.available(), reason="numba is not usable here")

SHAPES = [(2, 37, 20, 9, 11, 3, 1), (1, 16, 16, 8, 8, 3, 0), (3, 33, 48, 7, 6, 3, 2), (2, 16, 19, 8, 8, 4, 1)]


@pytest.fixture(autouse=True)
def tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor that multiplies bfloat16 fast."""
    monkeypatch.setattr(half_conv, "half_products", lambda: True)


def _data(n, i, o, h, w, k) -> list[torch.Tensor]:
    x = torch.randn(n, i, h, w).contiguous(memory_format=torch.channels_last)
    return [t.requires_grad_() for t in (x, torch.randn(o, i, k, k), torch.randn(n, i), torch.randn(n, o))]


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_definition_with_operands_and_products_rounded(shape) -> None:
    *sizes, padding = shape
    given = _data(*sizes)
    x, weight, scale_in, scale_out = given
    found = half_conv.half_scaled_conv2d(*given, padding=padding)
    g = torch.randn_like(found)
    gradients = torch.autograd.grad(found, given, g)

    def rounded(t: torch.Tensor) -> torch.Tensor:
        return t.detach().bfloat16().double()

    narrow, narrow_g = rounded(x * scale_in[:, :, None, None]), rounded(g * scale_out[:, :, None, None])
    narrow.requires_grad_()
    narrow_weight = rounded(weight).requires_grad_()
    y = torch.nn.functional.conv2d(narrow, narrow_weight, padding=padding)
    g_narrow, g_weight = torch.autograd.grad(y, [narrow, narrow_weight], narrow_g)
    wanted = (
        g_narrow * scale_in[:, :, None, None], g_weight,
        (g_narrow * x).sum([2, 3]), (y * g).sum([2, 3]),
    )  # fmt: skip
    assert relative_error(found, y * scale_out[:, :, None, None]) < 4e-3  # half a unit of 8 bits
    for a, b in zip(gradients, wanted, strict=True):
        assert a.shape == b.shape and relative_error(a, b) < 8e-3


@pytest.mark.parametrize("shape", SHAPES)
def test_second_derivatives_are_those_of_the_definition(shape) -> None:
    *sizes, padding = shape
    given = _data(*sizes)
    results = []
    for run in (half_conv.half_scaled_conv2d, plain):
        inputs = [t.detach().clone(memory_format=torch.preserve_format).requires_grad_() for t in given]
        y = run(*inputs, padding=padding)
        first = torch.autograd.grad(y, inputs, torch.ones_like(y), create_graph=True)
        results.append(torch.autograd.grad(sum(t.square().sum() for t in first), inputs))
    for a, b in zip(*results, strict=True):
        assert relative_error(a, b) < 1e-5


@pytest.mark.parametrize("at_rest", [False, True])
def test_a_graph_of_the_gradients_changes_none(at_rest: bool) -> None:
    """Demodulation leads to styles and weights a second time; that way must not be counted in the convolution too."""
    x, weight, styles, _ = _data(2, 32, 32, 8, 8, 3)
    weight.requires_grad_(not at_rest)
    inputs = [x, styles] if at_rest else [x, weight, styles]
    with precision("fast" if at_rest else "half"):
        y = modulated_conv2d(x, weight, styles, padding=1)
        assert ("ScaledConv" if at_rest else "HalfScaledConv") in type(y.grad_fn).__name__
        r = torch.randn_like(y)
        alone = torch.autograd.grad(y, inputs, r, retain_graph=True)
        graphed = torch.autograd.grad(y, inputs, r, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in graphed), inputs)
    with precision("fast"), use_backend("polyphase"):
        y = modulated_conv2d(x, weight, styles, padding=1)
        wanted = torch.autograd.grad(y, inputs, r, create_graph=True)
        wanted_second = torch.autograd.grad(sum(g.square().sum() for g in wanted), inputs)
    for a, b, c in zip(alone, graphed, wanted, strict=True):
        assert relative_error(a, c) < 2e-2 and relative_error(b, c) < 1e-4
    for a, b in zip(second, wanted_second, strict=True):
        assert relative_error(a, b) < 1e-4


def test_factors_of_any_kind() -> None:
    """Transposed ones, and another precision than the picture's."""
    x, weight, _, _ = _data(2, 16, 20, 8, 8, 3)
    styles = torch.randn(16, 2, requires_grad=True)
    with precision("half"):
        y = modulated_conv2d(x, weight, styles.t(), padding=1, input_gain=torch.ones(16, dtype=torch.float64))
        assert "HalfScaledConv" in type(y.grad_fn).__name__
        (g,) = torch.autograd.grad(y.sum(), styles, create_graph=True)
    with use_backend("polyphase"):
        assert relative_error(y, modulated_conv2d(x, weight, styles.t(), padding=1)) < 2e-2
    assert torch.isfinite(torch.autograd.grad(g.square().sum(), styles)[0]).all()


def test_threads_change_nothing() -> None:
    given, before = _data(4, 24, 24, 6, 6, 3), torch.get_num_threads()
    found = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            y = half_conv.half_scaled_conv2d(*given, padding=1)
            found.append([y, *torch.autograd.grad(y.sum(), given)])
    finally:
        torch.set_num_threads(before)
    for a, b in zip(*found, strict=True):
        assert relative_error(a, b) < 1e-6


def test_where_it_is_taken() -> None:
    x, weight, styles, _ = _data(2, 16, 20, 8, 8, 3)

    def taken(x: torch.Tensor = x, padding: int = 1, weight: torch.Tensor = weight) -> bool:
        made = modulated_conv2d(x, weight, styles, padding=padding)
        return made.grad_fn is not None and "HalfScaledConv" in type(made.grad_fn).__name__

    assert not taken()
    with precision("half"):
        assert taken() and taken(padding=0)
        cropped = x[:, :, 1:-1, 1:-1]
        assert not taken(cropped) and not taken(x.contiguous(memory_format=torch.contiguous_format))
        few = torch.randn(simd.LANES - 1, 16, 3, 3, requires_grad=True)
        assert not taken(weight=few), "fewer channels than a vector has lanes"
        with torch.autocast("cpu", torch.bfloat16):
            assert not taken()
        with use_backend("polyphase"):
            assert not taken()
        with torch.no_grad():
            assert not taken()

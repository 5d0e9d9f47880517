"""The filtered non-linearity on every backend."""

from __future__ import annotations

import pytest
import torch
from network_fixtures import absolute_error, op_cases

from editkit.ops import filtered_lrelu as module
from editkit.ops.backends import BACKENDS, use_backend
from editkit.ops.filtered_lrelu import filtered_lrelu

CASES = op_cases("filtered_lrelu")


def _run(case, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Value, gradients and the derivative of the gradient, by the names of the fixture."""
    x = case.given("x").to(dtype).requires_grad_()
    b, fu, fd = case.tensor("b"), case.tensor("fu"), case.tensor("fd")
    b = None if b is None else b.to(dtype).requires_grad_()
    r = case.given("r").to(dtype).requires_grad_()
    found = {"y": filtered_lrelu(x, fu, fd, b, **case.facts["kwargs"])}
    gradients = torch.autograd.grad((found["y"] * r).sum(), [x] if b is None else [x, b], create_graph=True)
    found |= dict(zip(("gx", "gb"), gradients, strict=False))
    (found["ggr"],) = torch.autograd.grad((gradients[0] * case.given("r2").to(dtype)).sum(), r)
    return found


@pytest.mark.parametrize("backend", ["reference", "polyphase"])
@pytest.mark.parametrize("case", CASES)
def test_float64_matches_the_reference(case, backend: str) -> None:
    with use_backend(backend):
        for key, value in _run(case, torch.float64).items():
            assert absolute_error(value, case.given(key)) <= (1e-10 if key == "y" else 1e-9), key


@pytest.mark.parametrize("case", CASES)
def test_the_default_backend_matches_the_reference_in_float32(case) -> None:
    """Fused where the filters separate, polyphase for radial ones."""
    with use_backend("cpu"):
        for key, value in _run(case, torch.float32).items():
            expected = case.given(key)
            assert value.dtype == torch.float32
            assert absolute_error(value, expected) <= 2e-6 * max(1.0, expected.abs().max().item()), key


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(2, 8, 8)}, "floating"),
        ({"x": torch.zeros(1, 2, 8, 8, dtype=torch.int64)}, "floating"),
        ({"b": torch.zeros(3)}, "bias must have 2 entries"),
        ({"b": torch.zeros(1, 2)}, "bias must have 2 entries"),
        ({"up": 0}, "at least 1"),
        ({"down": -2}, "at least 1"),
        ({"padding": [1, 2, 3]}, "one, two or four"),
        ({"padding": -4}, "too small"),
        ({"fd": torch.ones(40)}, "too small"),
    ],
)
def test_bad_input_is_refused(change: dict, message: str, backend: str) -> None:
    options = {"x": torch.zeros(1, 2, 8, 8), "fu": torch.ones(4), "fd": torch.ones(4), "b": torch.zeros(2)} | change
    with use_backend(backend), pytest.raises(ValueError, match=message):
        filtered_lrelu(**options)


def test_filters_have_one_or_two_dimensions() -> None:
    with pytest.raises(ValueError, match="one or two dimensions"):
        filtered_lrelu(torch.zeros(1, 2, 8, 8), torch.ones(2, 2, 2))


@pytest.mark.parametrize("backend", BACKENDS)
def test_not_a_number_stays_visible(backend: str) -> None:
    """Guards against divergence rely on it, with or without a clamp and gradients."""
    for clamp in (None, 256.0):
        for grad in (False, True):
            x = torch.randn(1, 3, 12, 12)
            x[0, 1, 5, 5] = torch.nan
            x.requires_grad_(grad)
            with use_backend(backend):
                y = filtered_lrelu(x, torch.ones(4) / 4, torch.ones(4) / 4, up=2, down=2, padding=3, clamp=clamp)
            assert y[0, 1, 5, 5].isnan() and torch.isfinite(y[0, 0]).all(), (clamp, grad)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_runs_and_stays(dtype: torch.dtype) -> None:
    x, f, b = torch.randn(1, 3, 10, 10), torch.tensor([1.0, 3, 3, 1]) / 8, torch.randn(3)
    y = filtered_lrelu(x.to(dtype), f, f, b, up=2, down=2, padding=3)
    assert y.dtype == dtype
    assert absolute_error(y, filtered_lrelu(x, f, f, b, up=2, down=2, padding=3)) < 0.1


def test_channels_in_chunks_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large pictures pass a few channels at a time: same values and derivatives, with and without a bias."""
    x = torch.randn(2, 7, 9, 8, dtype=torch.float64)
    fir = torch.tensor([1.0, 3, 3, 1]) / 8
    for bias in (torch.randn(7, dtype=torch.float64), None):
        results = []
        for chunk in (1 << 30, 3 * 2 * 9 * 8 * 4 * 8, 1):  # all seven, three, and one channel at a time
            monkeypatch.setattr(module, "CHUNK", chunk)
            leaf = x.clone().requires_grad_()
            b = None if bias is None else bias.clone().requires_grad_()
            with use_backend("polyphase"):
                y = filtered_lrelu(leaf, fir, fir, b, up=2, down=2, padding=3, clamp=0.5)
                gradients = torch.autograd.grad(y.square().sum(), [leaf] if b is None else [leaf, b])
            results.append([y, *gradients])
        for other in results[1:]:
            for found, wanted in zip(other, results[0], strict=True):
                assert absolute_error(found, wanted) < 1e-13

"""The arithmetic of the GPU kernels, in Triton's interpreter on the CPU: against the fixtures and float64."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest
import torch
from conftest import assert_close
from network_fixtures import absolute_error, network_fixture, op_cases
from torch import Tensor
from triton_interpreter import HAVE_TRITON, interpreter

from editkit.ops import triton_backend
from editkit.ops.backends import use_backend
from editkit.ops.bias_act import ACTIVATIONS, bias_act
from editkit.ops.filtered_lrelu import filtered_lrelu
from editkit.ops.filters import design_lowpass_filter
from editkit.ops.upfirdn2d import upfirdn2d

pytestmark = pytest.mark.skipif(
    not HAVE_TRITON, reason="Triton has no package for this system: a GPU's kernels need it"
)


@pytest.fixture(autouse=True)
def _interpreter() -> Iterator[None]:
    with interpreter():
        yield


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """One entry a launch of a kernel: proof that the kernels ran."""
    seen: list[object] = []
    original = triton_backend.on_device_of
    for name in ("triton_filtered_lrelu", "triton_upfirdn2d", "triton_bias_act"):
        module = __import__(f"editkit.ops.{name}", fromlist=[name])
        monkeypatch.setattr(module, "on_device_of", lambda x: seen.append(x) or original(x))
    return seen


def everything(
    operation: Callable[..., Tensor], x: Tensor, b: Tensor | None, r: Tensor, r2: Tensor
) -> dict[str, Tensor]:
    """Value, gradients of ``sum(y * r)``, and how the gradient along ``r2`` depends on ``r`` (the double backward)."""
    x, r = x.detach().requires_grad_(), r.detach().requires_grad_()
    b = None if b is None else b.detach().requires_grad_()
    found = {"y": operation(x, b)}
    gradients = torch.autograd.grad((found["y"] * r).sum(), [x] if b is None else [x, b], create_graph=True)
    found |= dict(zip(("gx", "gb"), gradients, strict=False))
    (found["ggr"],) = torch.autograd.grad((gradients[0] * r2).sum(), r)
    return found


def _exact(case: str, value: Tensor, expected: Tensor) -> None:
    assert torch.isfinite(value).all(), case
    assert absolute_error(value, expected) <= 2e-6 * max(1.0, expected.abs().max().item()), case


# The interpreter takes seconds a case; those without a bias repeat the one before them, but for the first.
WITH_BIAS = [case for case in op_cases("filtered_lrelu") if case.values[0].has("b") or case.id == "case001"]


@pytest.mark.parametrize("case", WITH_BIAS)
def test_filtered_lrelu_matches_the_reference(case, launches: list[object]) -> None:
    fu, fd, options = case.tensor("fu"), case.tensor("fd"), case.facts["kwargs"]
    x, b, r, r2 = (None if case.tensor(k) is None else case.given(k).float() for k in ("x", "b", "r", "r2"))
    found = everything(lambda x, b: filtered_lrelu(x, fu, fd, b, **options), x, b, r, r2)
    for key, value in found.items():
        _exact(key, value, case.given(key))
    small = all(f is None or f.numel() <= (64 if f.ndim == 1 else 256) for f in (fu, fd))
    kernel = {options["up"], options["down"]} <= {1, 2, 4, 8} and small
    assert (len(launches) == 3) == (kernel or fu is fd is None)  # the rest runs in several passes


@pytest.mark.parametrize("case", op_cases("upfirdn2d"))
def test_upfirdn2d_matches_the_reference(case, launches: list[object]) -> None:
    from editkit.ops import upfirdn2d as module

    if case.facts["func"] == "setup_filter":
        return
    x, r = case.given("x").float().requires_grad_(), case.given("r").float().requires_grad_()
    y = getattr(module, case.facts["func"])(x, case.tensor("f"), **case.facts["kwargs"])
    (gx,) = torch.autograd.grad((y * r).sum(), x, create_graph=True)
    (ggr,) = torch.autograd.grad((gx * case.given("x").float()).sum(), r)
    _exact("y", y, case.given("y"))
    _exact("gx", gx, case.given("gx"))
    _exact("ggr", ggr, case.given("y"))  # linear: the derivative along x is the value
    assert len(launches) >= 3


@pytest.mark.parametrize("case", op_cases("bias_act"))
def test_bias_act_matches_the_reference(case, launches: list[object]) -> None:
    x, b, r = (None if case.tensor(k) is None else case.given(k).float() for k in ("x", "b", "r"))
    x = x.requires_grad_()
    b = None if b is None else b.requires_grad_()
    y = bias_act(x, b, **case.facts["kwargs"])
    gradients = torch.autograd.grad((y * r).sum(), [x] if b is None else [x, b], create_graph=True)
    _exact("y", y, case.given("y"))
    for key, value in zip(("gx", "gb"), gradients, strict=False):
        _exact(key, value, case.given(key))
    if case.has("ggx"):
        second = None
        if gradients[0].requires_grad:  # the kernels' slopes are constants
            (second,) = torch.autograd.grad((gradients[0] * case.given("r2").float()).sum(), x, allow_unused=True)
        _exact("ggx", torch.zeros_like(x).zero_() if second is None else second, case.given("ggx"))
    assert bool(launches) == (case.facts["kwargs"]["act"] in ("linear", "relu", "lrelu"))


SKEWED = torch.randn(4, 5, generator=torch.Generator().manual_seed(1)) / 4
RADIAL = design_lowpass_filter(6, 3, 4, 16, radial=True)
FIR6, FIR12, FIR24 = (design_lowpass_filter(n, 3, 4, 16 * n / 6) for n in (6, 12, 24))
# (shape, fu, fd, options): pictures of odd sizes, of one sample, at and beside the edges of strips and segments
SHAPES = {
    "one-sample": ((1, 1, 1, 1), FIR6, FIR6, {"up": 2, "down": 2, "padding": 6}),
    "odd": ((2, 3, 7, 5), FIR6, FIR6, {"up": 2, "down": 2, "padding": [5, 4, 3, 6]}),
    "edge": ((1, 2, 8, 8), FIR6, FIR6, {"up": 2, "down": 2, "padding": 5}),
    "beside-the-edge": ((1, 2, 9, 9), FIR6, FIR6, {"up": 2, "down": 2, "padding": 5}),
    "crop": ((1, 2, 12, 11), FIR6, FIR6, {"up": 2, "down": 2, "padding": [-3, -2, -4, 1]}),
    "up4": ((1, 2, 6, 5), FIR24, FIR12, {"up": 4, "down": 2, "padding": [19, 18, 19, 18]}),
    "radial": ((1, 2, 7, 6), FIR6, RADIAL, {"up": 2, "down": 2, "padding": 5}),
    "skewed": ((1, 2, 7, 6), FIR6, SKEWED, {"up": 2, "padding": 5}),
}


@pytest.mark.parametrize(
    ("name", "dtype", "order"),
    [
        *[(name, torch.float32, "contiguous") for name in SHAPES],
        ("odd", torch.float32, "channels_last"),
        ("odd", torch.float16, "channels_last"),
        ("odd", torch.bfloat16, "contiguous"),
        ("radial", torch.float16, "contiguous"),
    ],
)
def test_filtered_lrelu_against_float64(name: str, dtype: torch.dtype, order: str, launches: list[object]) -> None:
    """Forward, both gradients and the double backward, from inputs that the dtype can hold; clamp active."""
    shape, fu, fd, options = SHAPES[name]
    x, b = torch.randn(shape).to(dtype), torch.randn(shape[1]).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last) if order == "channels_last" else x

    def operation(x: Tensor, b: Tensor | None) -> Tensor:
        return filtered_lrelu(x, fu, fd, b, clamp=0.8, **options)

    with use_backend("reference"):
        r = torch.randn(operation(x.double(), b.double()).shape).to(dtype)
        r2 = torch.randn(shape).to(dtype)
        wanted = everything(operation, x.double(), b.double(), r.double(), r2.double())
    found = everything(operation, x, b, r, r2)
    assert len(launches) == 3
    for key, value in found.items():
        assert value.dtype == dtype and value.shape == wanted[key].shape
        assert_close(value, wanted[key])
    if order == "channels_last":
        assert found["y"].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_resampling_and_activation_in_half_precision(dtype: torch.dtype) -> None:
    x, b = torch.randn(2, 3, 9, 7).to(dtype).contiguous(memory_format=torch.channels_last), torch.randn(3).to(dtype)
    f = torch.tensor([[1.0, 2, 1], [2, 4, 3]]) / 13
    for operation in (
        lambda x: upfirdn2d(x, f, up=2, down=[1, 3], padding=[2, 1, 3, 0], gain=4),
        lambda x: upfirdn2d(x, FIR6, down=2, padding=3),
        lambda x: bias_act(x, b.to(x.dtype), act="lrelu", clamp=0.8),
    ):
        r = torch.randn(operation(x).shape).to(dtype)
        results = []
        for cast in (dtype, torch.float64):
            leaf = x.to(cast).requires_grad_()
            y = operation(leaf)
            assert y.dtype == cast
            results.append([y, *torch.autograd.grad((y * r.to(cast)).sum(), leaf)])
        for value, wanted in zip(*results, strict=True):
            assert_close(value, wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_limit_clamps_what_lies_beyond_it_and_nothing_else(dtype: torch.dtype) -> None:
    """Also where the output is rounded to the limit."""
    x = torch.tensor([[0.7480, 0.5, 0.9, -0.7480, -0.9]]).to(dtype).requires_grad_()
    y = bias_act(x, torch.full([5], 0.0015), act="lrelu", alpha=1.0, gain=1.0, clamp=0.75)
    (gx,) = torch.autograd.grad(y.sum(), x)
    assert gx.tolist() == [[1.0, 1.0, 0.0, 1.0, 0.0]]


@pytest.mark.parametrize("name", ["sg3t_64", "sg3r_64"])
def test_a_network_and_its_gradient(name: str, launches: list[object]) -> None:
    """A narrow network of every layer kind, gradients to ws and all parameters, against float64."""
    from editkit.networks.stylegan3 import StyleGAN3Generator

    arguments = network_fixture(name).arguments
    small = {"channel_base": 64, "channel_max": 3, "num_layers": 4, "margin_size": 2, "filter_size": 4}
    arguments = arguments | small | {"img_resolution": 16}
    network = StyleGAN3Generator(**arguments).eval()
    ws = torch.randn(1, network.num_ws, network.synthesis.w_dim)
    r = torch.randn(1, network.img_channels, 16, 16)

    def run(dtype: torch.dtype) -> list[Tensor]:
        synthesis = network.synthesis.to(dtype)
        leaf = ws.to(dtype).requires_grad_()
        image = synthesis(leaf)
        return [image, *torch.autograd.grad((image * r.to(dtype)).sum(), [leaf, *synthesis.parameters()])]

    found = run(torch.float32)
    assert len(launches) > 8
    with use_backend("reference"):
        for value, wanted in zip(found, run(torch.float64), strict=True):
            assert_close(value, wanted, tolerance=1e-4)


def test_not_a_number_stays_visible() -> None:
    for clamp in (None, 256.0):
        for grad in (False, True):
            x = torch.randn(1, 3, 6, 6)
            x[0, 1, 3, 3] = torch.nan
            y = filtered_lrelu(x.requires_grad_(grad), FIR6, FIR6, up=2, down=2, padding=5, clamp=clamp)
            assert y[0, 1, 3, 3].isnan() and torch.isfinite(y[0, 0]).all(), (clamp, grad)
            y = bias_act(x, act="lrelu", clamp=clamp)
            assert y[0, 1, 3, 3].isnan() and torch.isfinite(y[0, 0]).all(), (clamp, grad)


def test_float64_runs_on_plain_torch_and_odd_factors_in_passes(
    launches: list[object], caplog: pytest.LogCaptureFixture
) -> None:
    """One warning a reason, and the same values."""
    triton_backend.warn_once.cache_clear()
    x = torch.randn(1, 2, 9, 9)
    with caplog.at_level(logging.WARNING):
        filtered_lrelu(x.double(), FIR6, FIR6, up=2, down=2, padding=5)
        assert not launches
        for _ in range(2):
            y = filtered_lrelu(x, FIR6, FIR6, up=3, down=3, padding=5)
    assert [r.message for r in caplog.records] == [
        "no fused Triton kernel for filtered_lrelu with up 3 and down 3: it runs in several slower passes"
    ]
    with use_backend("polyphase"):
        assert absolute_error(y, filtered_lrelu(x, FIR6, FIR6, up=3, down=3, padding=5)) < 1e-6


def test_activations_without_a_kernel_are_the_same() -> None:
    x = torch.randn(2, 3, 4)
    for act in ACTIVATIONS:
        y = bias_act(x, act=act, clamp=0.9)
        with use_backend("reference"):
            assert absolute_error(y, bias_act(x, act=act, clamp=0.9)) < 1e-6


def test_the_default_leaves_the_cpu_to_the_cpu(launches: list[object]) -> None:
    with use_backend("auto"):
        upfirdn2d(torch.randn(1, 1, 8, 8), FIR6)
        bias_act(torch.randn(1, 1, 8, 8), act="lrelu")
    assert not launches


def test_a_filter_is_read_once_and_again_after_a_change() -> None:
    f = torch.tensor([1.0, 2.0])
    assert triton_backend.taps_of(f) == (1.0, 2.0)
    assert triton_backend.taps_of(f) is triton_backend.taps_of(f)
    f.mul_(2)
    assert triton_backend.taps_of(f) == (2.0, 4.0)


def test_the_quick_multiply_add_of_these_tests_is_the_interpreters(monkeypatch: pytest.MonkeyPatch) -> None:
    import triton.language as tl

    x, f = torch.randn(1, 2, 4, 3), torch.randn(3)
    quick = filtered_lrelu(x, f, f, up=2, down=2, padding=2)
    monkeypatch.setattr(tl, "fma", tl.math.fma)
    assert absolute_error(filtered_lrelu(x, f, f, up=2, down=2, padding=2), quick) < 2e-5  # rounded once, not twice

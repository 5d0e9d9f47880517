"""Resampling, on the definition and without inserted zeros."""

from __future__ import annotations

import pytest
import torch
from network_fixtures import absolute_error, op_cases

from editkit.errors import UsageError
from editkit.ops import upfirdn2d as module
from editkit.ops.backends import BACKENDS, current_backend, use_backend
from editkit.ops.filters import setup_filter
from editkit.ops.upfirdn2d import downsample2d, filter2d, upfirdn2d, upsample2d

CASES = [case for case in op_cases("upfirdn2d") if case.values[0].facts["func"] != "setup_filter"]
RESAMPLERS = ("reference", "polyphase")  # the third backend is polyphase here


@pytest.mark.parametrize("backend", RESAMPLERS)
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_match_the_reference(case, backend: str) -> None:
    x = case.given("x", grad=True)
    with use_backend(backend):
        y = getattr(module, case.facts["func"])(x, case.tensor("f"), **case.facts["kwargs"])
        (gx,) = torch.autograd.grad((y * case.given("r")).sum(), x)
    assert absolute_error(y, case.given("y")) <= 1e-10
    assert absolute_error(gx, case.given("gx")) <= 1e-9


@pytest.mark.parametrize("seed", range(24))
def test_polyphase_is_the_definition(seed: int) -> None:
    """Random factors, paddings that crop, sizes over several tiles; forward, backward and its derivative."""
    draw = torch.Generator().manual_seed(seed)

    def pick(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, [], generator=draw))

    size = [pick(9, 150 if seed % 4 == 0 else 40), pick(9, 40)]
    up, down, padding = [pick(1, 4), pick(1, 4)], [pick(1, 4), pick(1, 4)], [pick(-3, 9) for _ in range(4)]
    taps = [[pick(1, 8)], [pick(1, 6), pick(1, 6)]][seed % 2]
    f = torch.randn(taps, generator=draw)
    x = torch.randn(pick(1, 2), pick(1, 3), *size, generator=draw, dtype=torch.float64, requires_grad=True)
    results = []
    for backend in RESAMPLERS:
        with use_backend(backend):
            y = upfirdn2d(x, f, up=up, down=down, padding=padding, flip_filter=seed % 3 == 0, gain=1.5)
            cotangent = torch.sin(torch.arange(y.numel(), dtype=torch.float64)).reshape(y.shape).requires_grad_()
            (gx,) = torch.autograd.grad((y * cotangent).sum(), x, create_graph=True)
            (again,) = torch.autograd.grad((gx * x.detach()).sum(), cotangent)
        results.append((y, gx, again))
    for fast, slow in zip(*reversed(results), strict=True):
        assert absolute_error(fast, slow) <= 1e-12
    assert absolute_error(results[1][2], results[1][0]) <= 1e-11  # linear: the derivative along x is the value


def test_the_mean_survives_up_and_down() -> None:
    f = setup_filter([1, 3, 3, 1])
    x = torch.full((1, 2, 16, 16), 0.7)
    assert upsample2d(x, f)[..., 4:-4, 4:-4].sub(0.7).abs().max() < 1e-6
    assert downsample2d(x, f)[..., 2:-2, 2:-2].sub(0.7).abs().max() < 1e-6
    assert filter2d(x, f)[..., 2:-2, 2:-2].sub(0.7).abs().max() < 1e-6
    assert upsample2d(x, f).shape[-1] == 32 and downsample2d(x, f).shape[-1] == 8 and filter2d(x, f).shape[-1] == 16


def test_float16_runs_and_stays_float16() -> None:
    x = torch.rand(1, 2, 12, 12)
    f = setup_filter([1.0, 2, 3, 4, 4, 3, 2, 1])
    half = upfirdn2d(x.half(), f, up=2, padding=3)
    assert half.dtype == torch.float16
    assert absolute_error(half, upfirdn2d(x, f, up=2, padding=3)) < 3e-3


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (torch.zeros(2, 8, 8), {}, "floating"),
        (torch.zeros(1, 1, 8, 8, dtype=torch.int32), {}, "floating"),
        (torch.zeros(1, 1, 8, 8), {"up": 0}, "at least 1"),
        (torch.zeros(1, 1, 8, 8), {"down": [1, -1]}, "at least 1"),
        (torch.zeros(1, 1, 8, 8), {"padding": [1, 2, 3]}, "one, two or four"),
        (torch.zeros(1, 1, 3, 3), {}, "too small"),
    ],
)
def test_bad_input_is_refused(x: torch.Tensor, options: dict, message: str) -> None:
    for backend in RESAMPLERS:
        with use_backend(backend), pytest.raises(ValueError, match=message):
            upfirdn2d(x, torch.ones(6), **options)


def test_a_filter_has_one_or_two_dimensions() -> None:
    with pytest.raises(ValueError, match="one or two dimensions"):
        upfirdn2d(torch.zeros(1, 1, 8, 8), torch.ones(2, 2, 2))


def test_choosing_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDITKIT_BACKEND", raising=False)
    assert current_backend() == "auto"
    monkeypatch.setenv("EDITKIT_BACKEND", "reference")
    assert current_backend() == "reference"
    with use_backend("polyphase"):
        assert current_backend() == "polyphase"
        with use_backend("cpu"):
            assert current_backend() == "cpu"
        assert current_backend() == "polyphase"
    assert current_backend() == "reference"
    monkeypatch.setenv("EDITKIT_BACKEND", "quantum")
    with pytest.raises(UsageError, match=f"'quantum'.*{', '.join(BACKENDS)}"):
        current_backend()
    with pytest.raises(UsageError, match="unknown backend"), use_backend("fast"):
        pass

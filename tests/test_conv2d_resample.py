"""Resampling convolution against the reference, and its shortcuts against the definition."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from network_fixtures import absolute_error, op_cases

from editkit.ops.backends import use_backend
from editkit.ops.conv2d_resample import conv2d_resample
from editkit.ops.filters import setup_filter
from editkit.ops.upfirdn2d import upfirdn2d


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("case", op_cases("conv2d_resample"))
def test_values_and_gradients_match_the_reference(case, backend: str) -> None:
    x, w = case.given("x", grad=True), case.given("w", grad=True)
    with use_backend(backend):
        y = conv2d_resample(x, w, case.tensor("f"), **case.facts["kwargs"])
        found = torch.autograd.grad((y * case.given("r")).sum(), [x, w])
    assert absolute_error(y, case.given("y")) <= 1e-10
    for gradient, key in zip(found, ("gx", "gw"), strict=True):
        assert absolute_error(gradient, case.given(key)) <= 1e-9, key


def _definition(x, w, f, *, up, down, padding, groups, flip_weight):
    """Step by step, for factors that both resample or do not."""
    taps = f.shape[-1]
    low = padding + ((taps + up - 1) // 2 if up > 1 else 0) + ((taps - down + 1) // 2 if down > 1 else 0)
    high = padding + ((taps - up) // 2 if up > 1 else 0) + ((taps - down) // 2 if down > 1 else 0)
    x = upfirdn2d(x, f if up > 1 else None, up=up, padding=[low, high, low, high], gain=up**2)
    x = F.conv2d(x, w if flip_weight else w.flip([2, 3]), groups=groups)
    return upfirdn2d(x, f, down=down) if down > 1 else x


@pytest.mark.parametrize("up", [1, 2, 3])
@pytest.mark.parametrize("down", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize(("groups", "flip_weight"), [(1, True), (2, False)])
def test_every_order_of_steps_is_the_definition(up, down, kernel, groups, flip_weight) -> None:
    """An asymmetric filter, so that one applied the wrong way round shows."""
    draw = torch.Generator().manual_seed(up * 10 + down)
    x = torch.randn(2, 4, 7, 9, generator=draw, dtype=torch.float64)
    w = torch.randn(6, 4 // groups, kernel, kernel, generator=draw, dtype=torch.float64)
    f = setup_filter([1, 2, 3, 5])
    options = {"up": up, "down": down, "padding": kernel // 2, "groups": groups, "flip_weight": flip_weight}
    wanted = _definition(x, w, f, **options)
    assert absolute_error(conv2d_resample(x, w, f, **options), wanted) < 1e-10 * wanted.abs().max()


def test_the_second_derivative_is_right() -> None:
    draw = torch.Generator().manual_seed(1)
    f = setup_filter([1, 3, 3, 1])
    for up, down in ((2, 1), (1, 2)):
        x = torch.randn(1, 1, 4, 4, generator=draw, dtype=torch.float64, requires_grad=True)
        w = torch.randn(1, 1, 3, 3, generator=draw, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradgradcheck(
            lambda x, w, up=up, down=down: conv2d_resample(x, w, f, up=up, down=down, padding=1).square(), (x, w)
        )


def test_bad_arguments_are_refused() -> None:
    x, w = torch.zeros(1, 4, 8, 8), torch.zeros(6, 4, 3, 3)
    for bad_x, bad_w, groups in ((x[:, :3], w, 1), (x[0], w, 1), (x, w[0], 1), (x, w, 2), (x, w[:5, :2], 2)):
        with pytest.raises(ValueError, match="does not go with weight"):
            conv2d_resample(bad_x, bad_w, groups=groups)
    for factors in ({"up": 0}, {"down": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            conv2d_resample(x, w, **factors)

"""StyleGAN2's modulated convolution."""

from __future__ import annotations

import pytest
import torch
from network_fixtures import absolute_error, op_cases, relative_error

from editkit.ops.filters import setup_filter
from editkit.ops.modulated_conv2d_resample import modulated_conv2d_resample

CASES = [case for case in op_cases("modulated_conv2d") if case.values[0].facts["family"] == "stylegan2"]


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_match_the_reference(case, fused: bool) -> None:
    """Both forms on every case: they are one function."""
    x, w, s = (case.given(key, grad=True) for key in "xws")
    options = {key: value for key, value in case.facts["kwargs"].items() if key != "fused_modconv"}
    y = modulated_conv2d_resample(
        x, w, s, noise=case.tensor("noise"), resample_filter=case.tensor("f"), fused=fused, **options
    )
    assert absolute_error(y, case.given("y")) <= 1e-10
    for found, key in zip(torch.autograd.grad((y * case.given("r")).sum(), [x, w, s]), ("gx", "gw", "gs"), strict=True):
        assert absolute_error(found, case.given(key)) <= 1e-9, key


def _random(n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(n)
    return (
        torch.randn(n, 16, 12, 12, generator=draw),
        torch.randn(8, 16, 3, 3, generator=draw),
        torch.rand(n, 16, generator=draw) + 0.5,
    )


def test_a_sample_does_not_see_its_batch() -> None:
    x, w, s = _random(3)
    together = modulated_conv2d_resample(x, w, s, padding=1)
    alone = torch.cat([modulated_conv2d_resample(x[i : i + 1], w, s[i : i + 1], padding=1) for i in range(3)])
    assert relative_error(together, alone) < 1e-6


def test_half_precision_does_not_overflow() -> None:
    """Styles and weights far beyond what float16 holds as products; demodulation makes the result the same."""
    x, w, s = _random(2)
    f = setup_filter([1, 3, 3, 1])
    options = {"resample_filter": f, "up": 2, "padding": 1, "flip_weight": False}
    wanted = modulated_conv2d_resample(x, w * 300, s * 300, **options)
    for fused in (False, True):
        found = modulated_conv2d_resample(x.half(), w * 300, s * 300, fused=fused, **options)
        assert found.dtype == torch.float16 and relative_error(found, wanted) < 1e-2


def test_noise_is_added_after_demodulation() -> None:
    x, w, s = _random(2)
    plain = modulated_conv2d_resample(x, w, s, padding=1)
    noise = torch.randn(2, 1, 12, 12)
    assert torch.equal(modulated_conv2d_resample(x, w, s, padding=1, noise=noise), plain + noise)


def test_bad_shapes_are_refused() -> None:
    x, w, s = _random(2)
    for bad in ((x, w[0], s), (x[:, :3], w, s), (x, w, s[:1]), (x, w, s[:, :3])):
        with pytest.raises(ValueError, match="needs weight"):
            modulated_conv2d_resample(*bad)

"""StyleGAN3's modulated convolution."""

from __future__ import annotations

import pytest
import torch
from network_fixtures import absolute_error, op_cases

from editkit.ops.backends import precision
from editkit.ops.modulated_conv import modulated_conv2d

CASES = [case for case in op_cases("modulated_conv2d") if case.values[0].facts["family"] == "stylegan3"]


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_match_the_reference(case) -> None:
    x, w, s = (case.given(key, grad=True) for key in "xws")
    options = dict(case.facts["kwargs"])
    padding = options["padding"]
    options["padding"] = tuple(padding) if isinstance(padding, list) else padding
    y = modulated_conv2d(x, w, s, input_gain=case.tensor("input_gain"), coupled=True, **options)
    assert absolute_error(y, case.given("y")) <= 1e-10
    for found, key in zip(torch.autograd.grad((y * case.given("r")).sum(), [x, w, s]), ("gx", "gw", "gs"), strict=True):
        assert absolute_error(found, case.given(key)) <= 1e-9, key


def _random(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, 6, 6, generator=draw, dtype=torch.float64)
    w = torch.randn(5, 4, 3, 3, generator=draw, dtype=torch.float64)
    s = torch.randn(n, 4, generator=draw, dtype=torch.float64)
    return x, w, s * torch.tensor([[10.0], [0.1], [1.0]][:n], dtype=torch.float64)


def test_a_sample_does_not_see_its_batch_unless_coupled() -> None:
    x, w, s = _random(3)
    together = modulated_conv2d(x, w, s, padding=1)
    for i in range(3):
        assert absolute_error(together[i : i + 1], modulated_conv2d(x[i : i + 1], w, s[i : i + 1], padding=1)) < 1e-12
    coupled = modulated_conv2d(x, w, s, padding=1, coupled=True)
    difference = absolute_error(coupled, together)
    assert 1e-9 < difference < 1e-2  # only the stabilising 1e-8, felt by the sample with small styles


def test_demodulation_keeps_unit_variance() -> None:
    draw = torch.Generator().manual_seed(3)
    x, w = torch.randn(4, 32, 40, 40, generator=draw), 7 * torch.randn(16, 32, 3, 3, generator=draw)
    y = modulated_conv2d(x, w, torch.rand(4, 32, generator=draw) + 0.5)
    assert y.std(dim=[2, 3]).mean().item() == pytest.approx(1, abs=0.05)


def test_bad_shapes_are_refused() -> None:
    x, w, s = _random(2)
    for bad in ((x, w[0], s), (x[:, :3], w, s), (x, w, s[:1]), (x, w, s[:, :3])):
        with pytest.raises(ValueError, match="needs weight"):
            modulated_conv2d(*bad)


@pytest.mark.parametrize("gradient", [False, True])
def test_exact_means_the_rounding_of_a_plain_convolution(gradient: bool) -> None:
    """Many channels, channels last as the fused filters leave them: oneDNN alone would be four times less accurate."""
    torch.manual_seed(0)
    x = torch.randn(2, 512, 24, 20).contiguous(memory_format=torch.channels_last)
    weight, styles = torch.randn(64, 512, 3, 3), torch.randn(2, 512, requires_grad=gradient)
    wanted = modulated_conv2d(x.double(), weight.double(), styles.double(), padding=2)
    with precision("exact"):
        found = modulated_conv2d(x, weight, styles, padding=2)
    plain = torch.nn.functional.conv2d(x.contiguous(), weight)
    rounding = (plain - torch.nn.functional.conv2d(x.double(), weight.double())).std() / plain.std()
    assert (found - wanted).std() / wanted.std() < 1.5 * rounding

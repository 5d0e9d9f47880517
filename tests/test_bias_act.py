"""Bias, activation, gain, clamp."""

from __future__ import annotations

import pytest
import torch
from network_fixtures import absolute_error, op_cases

from editkit.ops.bias_act import ACTIVATIONS, bias_act


@pytest.mark.parametrize("case", op_cases("bias_act"))
def test_values_and_derivatives_match_the_reference(case) -> None:
    x, b, r = case.given("x", grad=True), case.tensor("b", grad=True), case.given("r")
    y = bias_act(x, b, **case.facts["kwargs"])
    assert absolute_error(y, case.given("y")) <= 1e-10
    gradients = torch.autograd.grad((y * r).sum(), [x] if b is None else [x, b], create_graph=True)
    assert absolute_error(gradients[0], case.given("gx")) <= 1e-9
    if b is not None:
        assert absolute_error(gradients[1], case.given("gb")) <= 1e-9
    if case.has("ggx"):
        (second,) = torch.autograd.grad((gradients[0] * case.given("r2")).sum(), x, allow_unused=True)
        assert absolute_error(torch.zeros_like(x) if second is None else second, case.given("ggx")) <= 1e-9


def test_the_reference_covers_every_activation() -> None:
    assert {case.values[0].facts["kwargs"]["act"] for case in op_cases("bias_act")} == set(ACTIVATIONS)


def test_zero_gain_and_clamp_are_values_not_defaults() -> None:
    x = torch.tensor([[-2.0, 3.0]])
    assert torch.equal(bias_act(x, act="lrelu", gain=0.0), torch.zeros_like(x))
    assert torch.equal(bias_act(x, clamp=0.0), torch.zeros_like(x))
    assert torch.equal(bias_act(x, act="lrelu", alpha=0.0, gain=1.0), torch.tensor([[0.0, 3.0]]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_dtype_of_x_is_kept(dtype: torch.dtype) -> None:
    assert bias_act(torch.ones(2, 3, dtype=dtype), torch.ones(3), act="lrelu").dtype == dtype


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown activation 'gelu'"):
        bias_act(torch.ones(1, 2), act="gelu")
    with pytest.raises(ValueError, match="bias must have 2 entries"):
        bias_act(torch.ones(1, 2), torch.ones(3))
    with pytest.raises(TypeError):
        bias_act(torch.ones(1, 2), clamping=3)  # type: ignore[call-arg]

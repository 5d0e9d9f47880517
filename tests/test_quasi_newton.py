"""Limited-memory BFGS on functions whose minima are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from projector.quasi_newton import QuasiNewton


def minimise(function, start: Tensor, steps: int) -> QuasiNewton:
    search = QuasiNewton(start, memory=10, first=0.1)
    for _ in range(steps):
        point = search.propose().requires_grad_()
        value = function(point)
        (gradient,) = torch.autograd.grad(value.sum(), point)
        before = search.value.clone()
        search.tell(value, gradient)
        assert bool((search.value <= before).all())  # never worse
    return search


def rosenbrock(x: Tensor) -> Tensor:
    return (100 * (x[:, 1:] - x[:, :-1].square()).square() + (1 - x[:, :-1]).square()).sum(1)


def test_a_badly_scaled_quadratic() -> None:
    scales = torch.logspace(-1, 2, 40)
    search = minimise(lambda x: (scales * (x - 1).square()).sum(1), torch.zeros(3, 40), 120)
    assert float(search.value.max()) < 1e-4 and torch.allclose(search.point, torch.ones(3, 40), atol=1e-2)


def test_a_curved_valley() -> None:
    search = minimise(rosenbrock, torch.tensor([[-1.2, 1.0], [0.0, 0.0], [2.0, 2.0]]), 120)
    assert torch.allclose(search.point, torch.ones(3, 2), atol=1e-2)


def test_problems_of_a_batch_do_not_interact() -> None:
    start = torch.tensor([[-1.2, 1.0], [3.0, -2.0]])
    both, alone = minimise(rosenbrock, start, 25), minimise(rosenbrock, start[1:], 25)
    assert torch.allclose(both.point[1:], alone.point, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_stepped_back_from(bad: float) -> None:
    def walled(x: Tensor) -> Tensor:
        return torch.where(x[:, 0] > 0.5, torch.full_like(x[:, 0], bad), (x - 0.4).square().sum(1))

    search = minimise(walled, torch.tensor([[-3.0, 2.0]]), 60)
    assert torch.allclose(search.point, torch.full((1, 2), 0.4), atol=1e-2)


def test_nothing_moves_from_a_start_that_is_not_finite() -> None:
    search = minimise(lambda x: x.sum(1) * float("nan"), torch.ones(1, 3), 5)
    assert torch.equal(search.point, torch.ones(1, 3)) and bool(torch.isinf(search.value).all())

"""Bias, activation, gain and clamp, in this order. Differentiable any number of times."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from editkit.ops import triton_backend


@dataclass(frozen=True, kw_only=True, slots=True)
class Activation:
    """An element-wise function of ``(x, alpha)`` with the defaults published networks rely on."""

    function: Callable[[Tensor, float], Tensor]
    alpha: float = 0.0
    gain: float = 1.0


_SQRT2 = 2**0.5
ACTIVATIONS: dict[str, Activation] = {
    "linear": Activation(function=lambda x, a: x),
    "relu": Activation(function=lambda x, a: F.relu(x), gain=_SQRT2),
    "lrelu": Activation(function=lambda x, a: F.leaky_relu(x, a), alpha=0.2, gain=_SQRT2),
    "tanh": Activation(function=lambda x, a: torch.tanh(x)),
    "sigmoid": Activation(function=lambda x, a: torch.sigmoid(x)),
    "elu": Activation(function=lambda x, a: F.elu(x)),
    "selu": Activation(function=lambda x, a: F.selu(x)),
    "softplus": Activation(function=lambda x, a: F.softplus(x)),
    "swish": Activation(function=lambda x, a: torch.sigmoid(x) * x, gain=_SQRT2),
}


def bias_act(
    x: Tensor,
    b: Tensor | None = None,
    *,
    dim: int = 1,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    """``clamp(act(x + b) * gain)``.

    Args:
        x: any shape and floating dtype.
        b: ``[x.shape[dim]]`` or None.
        act: one of ``ACTIVATIONS``; ``alpha`` and ``gain`` default to that activation's own.
        clamp: limit of the magnitude, or None.
    """
    if act not in ACTIVATIONS:
        raise ValueError(f"unknown activation {act!r}; known: {', '.join(ACTIVATIONS)}")
    spec = ACTIVATIONS[act]
    alpha = spec.alpha if alpha is None else float(alpha)
    gain = spec.gain if gain is None else float(gain)
    if b is not None and (b.ndim != 1 or b.shape[0] != x.shape[dim]):
        raise ValueError(f"bias must have {x.shape[dim]} entries (dimension {dim} of x), got {tuple(b.shape)}")
    if triton_backend.wanted(x) and x.ndim:
        from editkit.ops import triton_bias_act as on_gpu

        if on_gpu.supported(act, alpha, gain):
            return on_gpu.bias_act(x, b, dim=dim, act=act, alpha=alpha, gain=gain, clamp=clamp)
    if b is not None:
        x = x + b.to(x.dtype).reshape([-1 if i == dim else 1 for i in range(x.ndim)])
    x = spec.function(x, alpha)
    if gain != 1:
        x = x * gain
    if clamp is not None:
        x = x.clamp(-clamp, clamp)
    return x

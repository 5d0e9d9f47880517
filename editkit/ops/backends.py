"""Which implementation of the operations runs: one switch, one place.

``reference`` follows the definitions step by step, zeros and all; ``polyphase`` never inserts a zero. Both are plain
torch: any device, float64, differentiable any number of times. ``cpu`` adds the fused filtered non-linearity (numba,
float32, separable filters) for tensors of the CPU, ``triton`` the kernels for those of an NVIDIA GPU (float32, float16,
bfloat16); each is polyphase for everything else. ``auto``, the default, is both.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from editkit.errors import UsageError

BACKENDS = ("auto", "cpu", "triton", "polyphase", "reference")

_chosen: ContextVar[str | None] = ContextVar("editkit_backend", default=None)


def _checked(name: str) -> str:
    if name not in BACKENDS:
        raise UsageError(f"unknown backend {name!r}; choose one of {', '.join(BACKENDS)}")
    return name


def current_backend() -> str:
    """Name of the backend in force: ``use_backend``, else the variable EDITKIT_BACKEND, else the default."""
    return _chosen.get() or _checked(os.environ.get("EDITKIT_BACKEND") or BACKENDS[0])


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Runs a block with another backend; safe across threads and tasks."""
    token = _chosen.set(_checked(name))
    try:
        yield
    finally:
        _chosen.reset(token)

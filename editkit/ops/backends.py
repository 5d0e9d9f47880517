"""Which implementation of the operations runs: one switch, one place.

``reference`` follows the definitions step by step, zeros and all; ``polyphase`` never inserts a zero. Both are plain
torch: any device, float64, differentiable any number of times. ``cpu`` adds kernels compiled by numba for float32 on a
processor: the fused filtered non-linearity and Winograd's convolution. ``triton`` adds the kernels for tensors of an
NVIDIA GPU (float32, float16, bfloat16). Each is polyphase for everything else. ``auto``, the default, is both.

On a processor there are three precisions. ``fast``, the default, convolves by Winograd's method where weights are not
trained: within 1e-4 of the range of the picture. ``exact`` convolves directly: no further from the definition in
float64 than float32 arithmetic itself is. ``half``, for training, is ``fast``, but where gradients are recorded the
direct convolutions multiply in bfloat16, on processors with tiles for that (``half_products``).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from editkit.errors import UsageError

BACKENDS = ("auto", "cpu", "triton", "polyphase", "reference")

PRECISIONS = ("fast", "exact", "half")

_chosen: ContextVar[str | None] = ContextVar("editkit_backend", default=None)
_precision: ContextVar[str | None] = ContextVar("editkit_precision", default=None)


def _checked(name: str) -> str:
    if name not in BACKENDS:
        raise UsageError(f"unknown backend {name!r}; choose one of {', '.join(BACKENDS)}")
    return name


def current_backend() -> str:
    """Name of the backend in force: ``use_backend``, else the variable EDITKIT_BACKEND, else the default."""
    return _chosen.get() or _checked(os.environ.get("EDITKIT_BACKEND") or BACKENDS[0])


def compiled_for_cpu() -> bool:
    """Whether tensors of the CPU go to the kernels compiled by numba."""
    return current_backend() in ("auto", "cpu")


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Runs a block with another backend; safe across threads and tasks."""
    token = _chosen.set(_checked(name))
    try:
        yield
    finally:
        _chosen.reset(token)


def _checked_precision(name: str) -> str:
    if name not in PRECISIONS:
        raise UsageError(f"unknown precision {name!r}; choose one of {', '.join(PRECISIONS)}")
    return name


def current_precision() -> str:
    """The precision in force: ``precision``, else the variable EDITKIT_PRECISION, else "fast"."""
    return _precision.get() or _checked_precision(os.environ.get("EDITKIT_PRECISION") or PRECISIONS[0])


@contextmanager
def precision(name: str) -> Iterator[None]:
    """Runs a block in one of ``PRECISIONS``; safe across threads and tasks."""
    token = _precision.set(_checked_precision(name))
    try:
        yield
    finally:
        _precision.reset(token)


def half_products() -> bool:
    """Whether this processor multiplies bfloat16 faster than float32: it has AMX (Intel's, from 2023)."""
    asked = getattr(torch.cpu, "_is_amx_tile_supported", None)  # not part of torch's public interface
    return bool(asked is not None and asked())

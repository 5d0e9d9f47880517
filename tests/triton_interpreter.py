"""Triton's interpreter for tests: set before Triton is imported, so before any test runs; quick multiply-adds."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

HAVE_TRITON = importlib.util.find_spec("triton") is not None
if HAVE_TRITON:
    os.environ["TRITON_INTERPRET"] = "1"


def multiply_add(x, y, z):
    """``tl.fma`` of three float32 tensors of one shape, without the interpreter's checks of types: 20 times faster."""
    import triton.language as tl
    from triton.runtime.interpreter import TensorHandle

    assert x.type == y.type == z.type and x.dtype == tl.float32
    return tl.tensor(TensorHandle(x.handle.data * y.handle.data + z.handle.data, z.handle.dtype), z.type)


@contextmanager
def interpreter() -> Iterator[None]:
    """CPU tensors run through the kernels inside, fresh outputs full of NaN."""
    import triton.language as tl

    from editkit.ops.backends import use_backend

    slow, empty, empty_like = tl.fma, torch.empty, torch.empty_like

    def poisoned(made: torch.Tensor) -> torch.Tensor:
        return made.fill_(torch.nan if made.is_floating_point() else -1)

    tl.fma = multiply_add
    torch.empty = lambda *args, **options: poisoned(empty(*args, **options))
    torch.empty_like = lambda *args, **options: poisoned(empty_like(*args, **options))
    try:
        with use_backend("triton"):
            yield
    finally:
        tl.fma, torch.empty, torch.empty_like = slow, empty, empty_like

"""Memory that is used again: a fresh block of a hundred megabytes costs more in page faults than what fills it.

A block is lent as an array or a tensor and comes back when nothing refers to it any more: views, autograd and other
threads included. So a result that is alive never shares memory with another one.
"""

import ctypes
import math
import threading
import weakref
from collections import deque

import numpy as np
import torch
from torch import Tensor

SMALLEST = 1 << 20  # bytes: below, the allocator of the system is quick
KEPT = 128 << 20  # bytes of idle blocks that are kept, or as many as are lent
_STEP = 1 << 16

_free: list[np.ndarray] = []
_returned: deque[np.ndarray] = deque()  # given back; a finaliser may run anywhere, so it takes no lock
_lock = threading.Lock()
_lent = 0  # bytes


def _collect() -> None:
    """Takes in what came back, and lets the oldest go where too much lies idle; the caller holds the lock."""
    global _lent
    while _returned:
        _free.append(_returned.popleft())
        _lent -= _free[-1].nbytes
    idle = sum(block.nbytes for block in _free)
    while idle > max(KEPT, _lent):
        idle -= _free.pop(0).nbytes


def _block(size: int) -> np.ndarray:
    """The smallest idle block that holds ``size`` bytes and is not half as large again, or a fresh one."""
    global _lent
    with _lock:
        _collect()
        fitting = [index for index, block in enumerate(_free) if size <= block.nbytes <= size + size // 2]
        if fitting:
            block = _free.pop(min(fitting, key=lambda index: _free[index].nbytes))
        else:
            block = np.empty(math.ceil(size / _STEP) * _STEP, np.uint8)
        _lent += block.nbytes
    return block


def array(shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
    """As ``np.empty``: the content is whatever was there before."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < SMALLEST:
        return np.empty(shape, dtype)
    block = _block(size)
    loan = (ctypes.c_char * size).from_buffer(block.data)  # every view refers to it
    weakref.finalize(loan, _returned.append, block).atexit = False
    return np.frombuffer(memoryview(loan), dtype).reshape(shape)


def empty(shape: tuple[int, ...]) -> Tensor:
    """As ``torch.empty``, float32."""
    return torch.from_numpy(array(shape))


def clear() -> None:
    """Gives idle blocks back to the system."""
    with _lock:
        _collect()
        _free.clear()

"""Memory that is used again: a fresh block of a hundred megabytes costs more in page faults than what fills it.

A block is lent as an array or a tensor and comes back when nothing refers to it any more: views, autograd and other
threads included. So a result that is alive never shares memory with another one.

Blocks are cut from slabs, and grow together again when they come back, so that one pass's few large blocks and another
layer's many small ones use the same pages.
"""

import ctypes
import math
import threading
import weakref
from bisect import insort
from collections import deque
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

SMALLEST = 1 << 20  # bytes: below, the allocator of the system is quick
KEPT = 128 << 20  # bytes, lent and idle, that are kept in any case
_STEP = 1 << 16
LINE = 64  # bytes of a cache line


@dataclass(eq=False)
class _Slab:
    """A piece of memory and its idle ranges [begin, end), sorted; neighbours are never both idle."""

    memory: np.ndarray
    idle: list[tuple[int, int]] = field(default_factory=list)

    @property
    def unused(self) -> bool:
        return self.idle == [(0, self.memory.nbytes)]

    def take(self, size: int, span: tuple[int, int]) -> int:
        """Where a block of ``size`` bytes begins, cut from the idle range ``span``."""
        self.idle.remove(span)
        begin, end = span
        if begin + size < end:
            insort(self.idle, (begin + size, end))
        return begin

    def give(self, begin: int, end: int) -> None:
        for span in [span for span in self.idle if span[1] == begin or span[0] == end]:
            self.idle.remove(span)
            begin, end = min(begin, span[0]), max(end, span[1])
        insort(self.idle, (begin, end))


_slabs: list[_Slab] = []
_returned: deque[tuple[_Slab, int, int]] = deque()  # given back; a finaliser may run anywhere, so it takes no lock
_lock = threading.Lock()
_lent = 0  # bytes
_most = [0, 0]  # bytes lent at a time at most, in the last pass and in this one; a pass begins where nothing is lent


def _collect() -> None:
    """Takes in what came back; the caller holds the lock."""
    global _lent
    while _returned:
        slab, begin, end = _returned.popleft()
        slab.give(begin, end)
        _lent -= end - begin


def _limit() -> int:
    """Bytes to hold: a quarter more than a pass used at a time, since ranges do not always fit together."""
    return max(KEPT, max(_most) * 5 // 4)


def _drop(limit: int) -> None:
    """Lets unused slabs go, the oldest first, until all of them are at most ``limit`` bytes."""
    held = sum(slab.memory.nbytes for slab in _slabs)
    for slab in [slab for slab in _slabs if slab.unused]:
        if held <= limit:
            break
        held -= slab.memory.nbytes
        _slabs.remove(slab)


def _aligned(size: int) -> np.ndarray:
    """Bytes that begin with a cache line: convolutions in bfloat16 take a fifth less."""
    memory = np.empty(size + LINE, np.uint8)
    first = -memory.ctypes.data % LINE
    return memory[first : first + size]


def _block(size: int) -> tuple[_Slab, int]:
    """A slab, and where in it ``size`` bytes begin: in the smallest idle range that holds them, or in a fresh slab.

    What lies idle is let go before more is held than ``_limit``, so a pass that is like the last one finds its blocks,
    and a process holds hardly more than it needed at a time.
    """
    global _lent
    with _lock:
        _collect()
        if not _lent:
            _most[:] = _most[1], 0
            _drop(_limit())
        _most[1] = max(_most[1], _lent + size)
        fitting = [(b - a, i, (a, b)) for i, slab in enumerate(_slabs) for a, b in slab.idle if b - a >= size]
        if fitting:
            _, index, span = min(fitting)
            slab = _slabs[index]
        else:
            _drop(_limit() - size)
            slab, span = _Slab(_aligned(size)), (0, size)
            slab.idle.append(span)
            _slabs.append(slab)
        _lent += size
        return slab, slab.take(size, span)


def array(shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
    """As ``np.empty``: the content is whatever was there before."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < SMALLEST:
        return np.empty(shape, dtype)
    whole = math.ceil(size / _STEP) * _STEP
    slab, begin = _block(whole)
    loan = (ctypes.c_char * size).from_buffer(slab.memory.data, begin)  # every view refers to it
    weakref.finalize(loan, _returned.append, (slab, begin, begin + whole)).atexit = False
    return np.frombuffer(memoryview(loan), dtype).reshape(shape)


def empty(shape: tuple[int, ...]) -> Tensor:
    """As ``torch.empty``, float32."""
    return torch.from_numpy(array(shape))


def idle() -> int:
    """Bytes that are held and not lent."""
    with _lock:
        _collect()
        return sum(slab.memory.nbytes for slab in _slabs) - _lent


def clear() -> None:
    """Gives idle slabs back to the system."""
    with _lock:
        _collect()
        _drop(0)

"""Work of the CPU kernels over as many threads as torch uses.

numba's own layers do not follow ``torch.set_num_threads``, and the one that is everywhere aborts on concurrent calls;
a pool of Python threads around kernels that release the GIL has neither trouble, on any system.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

_pool: ThreadPoolExecutor | None = None


def _threads() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:  # a race makes a second pool, which is harmless
        _pool = ThreadPoolExecutor(max_workers=max(1, (os.cpu_count() or 1)), thread_name_prefix="editkit-ops")
    return _pool


def _forget_pool() -> None:
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)  # threads do not survive a fork


def spread(part: Callable[[int, int], object], tasks: int) -> None:
    """Runs ``part(first, last)`` over ``range(tasks)``; the caller takes the first share. Parts must not spread again."""
    workers = max(1, min(torch.get_num_threads(), tasks))
    edges = [tasks * i // workers for i in range(workers + 1)]
    others = [_threads().submit(part, edges[i], edges[i + 1]) for i in range(1, workers)]
    part(edges[0], edges[1])
    for other in others:
        other.result()

"""Work of the CPU kernels over as many threads as torch uses.

numba's own layers do not follow ``torch.set_num_threads``, and the one that is everywhere aborts on concurrent calls;
a pool of Python threads around kernels that release the GIL has neither trouble, on any system. In the pool torch
itself runs on one thread, so that its products can be dealt out in the same way: OpenMP's threads spin while they wait
for each other, which costs a third of the processor on a busy machine.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

_pool: ThreadPoolExecutor | None = None
_lock = threading.Lock()


def _threads() -> ThreadPoolExecutor:
    global _pool
    with _lock:
        if _pool is None:
            _pool = _started(max(1, os.cpu_count() or 1))
        return _pool


def _started(workers: int) -> ThreadPoolExecutor:
    """All threads of the pool, each told that torch has one thread there."""
    together = threading.Barrier(workers)

    def alone() -> None:
        torch.get_num_threads()  # the first question in a thread sets its number
        torch.set_num_threads(1)
        together.wait()

    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="editkit-ops")
    for task in [pool.submit(alone) for _ in range(workers)]:
        task.result()
    torch.set_num_threads(threads)  # what threads yet to come begin with
    return pool


def _forget_pool() -> None:
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)  # threads do not survive a fork


def spread(part: Callable[[int, int], object], tasks: int) -> None:
    """Runs ``part(first, last)`` over ``range(tasks)``, in the pool, without autograd; parts must not spread again."""
    inference = torch.is_inference_mode_enabled()  # as grad mode, a thread's own

    def run(first: int, last: int) -> None:
        with torch.inference_mode(inference), torch.no_grad():
            part(first, last)

    workers = max(1, min(torch.get_num_threads(), tasks))
    if workers == 1:
        run(0, tasks)
        return
    edges = [tasks * i // workers for i in range(workers + 1)]
    for share in [_threads().submit(run, edges[i], edges[i + 1]) for i in range(workers)]:
        share.result()

"""Where the processes of one start meet: a corner of torchrun's store that no start before has written to.

torchrun keeps one store over its restarts (``--max-restarts``; seen in torch 2.13), and Gloo and NCCL read in it where
the others are reached: after a restart that is where those that died were. The number of the restart is each machine's
own count, so it names no common corner. The first process draws a name, and the others take it once it answers to them.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import timedelta

from torch.distributed import PrefixStore, Store

from editkit.errors import EditkitError

_PAUSE = 0.05  # seconds between two looks
PATIENCE = timedelta(minutes=10)


def fresh_corner(store: Store, rank: int, size: int, *, patience: timedelta = PATIENCE) -> Store:
    """``store`` below a name that the ``size`` processes of this start share, whatever one before has left in it.

    Raises EditkitError where a process does not come within ``patience``.
    """
    mine = uuid.uuid4().hex
    until = time.monotonic() + patience.total_seconds()
    if rank:
        store.set(_call(rank), mine)
        name = ""

        def answered() -> bool:
            nonlocal name
            to, _, name = _read(store, _answer(rank)).partition(" ")
            return to == mine

        _wait(answered, until, "the first process")
        store.set(_thanks(rank), name)
        return PrefixStore(name, store)
    for other in range(1, size):  # a call may be of a process that is dead: answer until somebody takes the name

        def taken(other: int = other) -> bool:
            store.set(_answer(other), f"{_read(store, _call(other))} {mine}")
            return _read(store, _thanks(other)) == mine

        _wait(taken, until, f"process {other}")
    return PrefixStore(mine, store)


def _call(rank: int) -> str:
    return f"editkit/call/{rank}"


def _answer(rank: int) -> str:
    return f"editkit/answer/{rank}"


def _thanks(rank: int) -> str:
    return f"editkit/thanks/{rank}"


def _read(store: Store, key: str) -> str:
    return store.get(key).decode() if store.check([key]) else ""


def _wait(done: Callable[[], bool], until: float, who: str) -> None:
    while not done():
        if time.monotonic() > until:
            raise EditkitError(f"{who} of this training did not come; see what the other machines say, and start again")
        time.sleep(_PAUSE)

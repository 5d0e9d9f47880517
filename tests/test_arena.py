"""Memory that is lent again: never while it is in use, and always when it is not."""

from __future__ import annotations

import gc
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from network_fixtures import relative_error

from editkit.memory import free_memory
from editkit.ops import arena
from editkit.ops.scaled_conv import scaled_conv2d

SHAPE = (1, 1 << 19)  # twice the smallest block


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No slabs, whatever ran before."""
    gc.collect()
    arena.idle()  # takes in what came back
    monkeypatch.setattr(arena, "_slabs", [])
    monkeypatch.setattr(arena, "_lent", 0)
    monkeypatch.setattr(arena, "_most", [0, 0])


def test_views_keep_their_memory_and_what_is_dropped_comes_back() -> None:
    first = arena.empty(SHAPE)
    address, view = first.data_ptr(), first.fill_(1)[:, 5:9]
    del first
    second = arena.empty(SHAPE).fill_(2)
    assert second.data_ptr() != address and (view == 1).all()
    del view
    assert arena.empty(SHAPE).data_ptr() == address


def test_results_that_live_never_share_memory() -> None:
    x, weight = torch.randn(1, 32, 96, 96), torch.randn(32, 32, 3, 3)
    s, d = torch.randn(1, 32), torch.rand(1, 32) + 0.5
    results = [scaled_conv2d(x * i, weight, s, d, padding=1) for i in range(1, 5)]
    assert len({r.data_ptr() for r in results}) == 4
    for i, result in enumerate(results, 1):
        assert relative_error(result, results[0] * i) < 1e-4


def shuffled(seed: int) -> int:
    """Lends and drops at random, and looks whether every living array is as it was written; how many were lent."""
    chance, alive, count = random.Random(seed), {}, 0
    for step in range(200):
        if alive and chance.random() < 0.5:
            mark = chance.choice(list(alive))
            assert (alive.pop(mark) == mark).all()
        else:
            mark = seed * 1000 + step
            alive[mark] = arena.array((chance.randint(1 << 18, 1 << 20),))
            alive[mark][:] = mark
            count += 1
    assert all((array == mark).all() for mark, array in alive.items())
    return count


def test_nothing_is_lent_twice_and_everything_comes_back() -> None:
    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(shuffled, range(4)))
    gc.collect()
    held = arena.idle()
    assert held and all(slab.unused for slab in arena._slabs)
    assert len(arena._slabs) < sum(counts) / 4  # blocks are cut from what came back
    arena.clear()
    assert not arena._slabs and arena.idle() == 0


def test_a_pass_like_the_last_one_takes_nothing_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arena, "KEPT", 0)

    def one_pass() -> None:
        x = arena.array((4 << 18,))
        for rows in (4, 6, 9, 9, 12):  # a layer's points there and back, then its result
            points, products = arena.array((8 << 18,)), arena.array((8 << 18,))
            x = arena.array((rows << 18,))
            del points, products
        assert len(x)

    for _ in range(3):
        one_pass()
    before = {id(slab) for slab in arena._slabs}
    one_pass()
    assert {id(slab) for slab in arena._slabs} == before
    assert sum(slab.memory.nbytes for slab in arena._slabs) <= (37 << 20) * 5 // 4  # two results, points, products


def test_what_a_large_pass_left_is_let_go_by_smaller_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arena, "KEPT", 0)
    arena.array((8 << 20,))
    assert arena.idle() == 32 << 20
    for _ in range(4):
        arena.array((1 << 20,))
    assert arena.idle() == 4 << 20


def test_idle_slabs_count_as_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from editkit import memory

    monkeypatch.setattr(memory, "_available", lambda: 10**9)
    monkeypatch.setattr(memory, "_CGROUP", ())
    kept = arena.array((1 << 20,))
    assert free_memory() == 10**9
    del kept
    assert free_memory() == 10**9 + (4 << 20)


def test_a_refused_allocation_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __getattr__(self, name: str) -> object:
            return getattr(np, name)

        def empty(self, *_: object) -> np.ndarray:
            raise MemoryError

    monkeypatch.setattr(arena, "np", Full())
    with pytest.raises(MemoryError):
        arena.array((1 << 20,))
    assert arena._lent == 0 and arena.idle() == 0


def test_blocks_begin_with_a_cache_line() -> None:
    blocks = [arena.array((size,), np.uint8) for size in (arena.SMALLEST, arena.SMALLEST + 3, 3 * arena.SMALLEST)]
    assert all(block.ctypes.data % arena.LINE == 0 for block in blocks)

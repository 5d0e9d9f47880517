"""Scaling by channel between float32 and bfloat16, compiled by numba: each a single pass over a channels-last picture.

Arrays are flat; bfloat16 is held as uint16. Channels: as many as a vector has lanes, or more; the last vector ends with
the last channel and so meets some for a second time.
"""

import numpy as np
from numba import njit

from editkit.ops.simd import LANES, fma, load, load_half, splat, store, store_half


@njit(nogil=True, cache=True)
def narrow(first, last, x, points, channels, scale, half):
    """half = bfloat16(x * scale) of samples ``first`` to ``last``; x [N, points, channels], scale [N, channels]."""
    for n in range(first, last):
        for point in range(n * points, (n + 1) * points):
            for j in range(0, channels, LANES):
                c = min(j, channels - LANES)
                at = point * channels + c
                store_half(half, at, load(x, at) * load(scale, n * channels + c))


@njit(nogil=True, cache=True)
def widen(first, last, half, points, channels, scale, y):
    """y = half * scale."""
    for n in range(first, last):
        for point in range(n * points, (n + 1) * points):
            for j in range(0, channels, LANES):
                c = min(j, channels - LANES)
                at = point * channels + c
                store(y, at, load_half(half, at) * load(scale, n * channels + c))


@njit(nogil=True, cache=True)
def _add_up(sums, channels, total, at):
    """The sums of a row of vectors to ``total``, [channels] from ``at`` on."""
    for j in range(0, channels, LANES):
        c = min(j, channels - LANES)
        for e in range(j - c, LANES):
            total[at + c + e] = sums[j + e]


@njit(nogil=True, cache=True)
def narrow_and_dot(first, last, g, points, channels, scale, half, other, dots):
    """half = bfloat16(g * scale), and dots [N, channels], over points, of g and the bfloat16 ``other``."""
    vectors = (channels + LANES - 1) // LANES
    sums = np.empty(vectors * LANES, np.float32)
    for n in range(first, last):
        for j in range(0, vectors * LANES, LANES):
            store(sums, j, splat(np.float32(0)))
        for point in range(n * points, (n + 1) * points):
            for j in range(0, channels, LANES):
                c = min(j, channels - LANES)
                at = point * channels + c
                v = load(g, at)
                store(sums, j, fma(v, load_half(other, at), load(sums, j)))
                store_half(half, at, v * load(scale, n * channels + c))
        _add_up(sums, channels, dots, n * channels)


@njit(nogil=True, cache=True)
def widen_and_dot(first, last, half, points, channels, scale, y, other, dots):
    """y = half * scale, and dots [N, channels], over points, of half and the float32 ``other``."""
    vectors = (channels + LANES - 1) // LANES
    sums = np.empty(vectors * LANES, np.float32)
    for n in range(first, last):
        for j in range(0, vectors * LANES, LANES):
            store(sums, j, splat(np.float32(0)))
        for point in range(n * points, (n + 1) * points):
            for j in range(0, channels, LANES):
                c = min(j, channels - LANES)
                at = point * channels + c
                v = load_half(half, at)
                store(sums, j, fma(v, load(other, at), load(sums, j)))
                store(y, at, v * load(scale, n * channels + c))
        _add_up(sums, channels, dots, n * channels)

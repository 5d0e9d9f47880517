"""Scaling by channel between float32 and bfloat16, compiled by numba: each a single pass over a channels-last picture.

Arrays are flat; bfloat16 is held as uint16. Channels: as many as a vector has lanes, or more; the last vector ends with
the last channel and so meets some for a second time.
"""

import numpy as np
from numba import njit

from editkit.ops.simd import LANES, fma, load, load_half, splat, store, store_half


@njit(nogil=True, cache=True)
def _clear(half, at, channels, width):
    """Zeros behind the channels of a point; what they cover before these is written later."""
    for c in range(width - LANES, channels - LANES, -LANES):
        store_half(half, at + c, splat(np.float32(0)))


@njit(nogil=True, cache=True)
def narrow(first, last, x, points, channels, scale, half, width):
    """half = bfloat16(x * scale) of samples ``first`` to ``last``; x [N, points, channels], scale [N, channels], half
    [N, points, width], zero from ``channels`` on."""
    for n in range(first, last):
        for point in range(n * points, (n + 1) * points):
            _clear(half, point * width, channels, width)
            for j in range(0, channels, LANES):
                c = min(j, channels - LANES)
                v = load(x, point * channels + c) * load(scale, n * channels + c)
                store_half(half, point * width + c, v)


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
def narrow_and_dot(first, last, g, points, channels, scale, half, width, other, dots):
    """``narrow``, and dots [N, channels], over points, of g and the bfloat16 ``other`` [N, points, channels]."""
    vectors = (channels + LANES - 1) // LANES
    for n in range(first, last):
        sums = np.zeros(vectors * LANES, np.float32)
        for point in range(n * points, (n + 1) * points):
            _clear(half, point * width, channels, width)
            for j in range(0, channels, LANES):
                c = min(j, channels - LANES)
                v = load(g, point * channels + c)
                store(sums, j, fma(v, load_half(other, point * channels + c), load(sums, j)))
                store_half(half, point * width + c, v * load(scale, n * channels + c))
        _add_up(sums, channels, dots, n * channels)


@njit(nogil=True, cache=True)
def widen_and_dot(first, last, half, points, channels, scale, y, other, dots):
    """y = half * scale, and dots [N, channels], over points, of half and the float32 ``other``."""
    vectors = (channels + LANES - 1) // LANES
    for n in range(first, last):
        sums = np.zeros(vectors * LANES, np.float32)
        for point in range(n * points, (n + 1) * points):
            for j in range(0, channels, LANES):
                c = min(j, channels - LANES)
                at = point * channels + c
                v = load_half(half, at)
                store(sums, j, fma(v, load(other, at), load(sums, j)))
                store(y, at, v * load(scale, n * channels + c))
        _add_up(sums, channels, dots, n * channels)

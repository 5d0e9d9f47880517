"""The transforms of Winograd's F(6x6, 3x3), compiled by numba, over channels-last pictures.

Points 0, +-1, +-2, +-1/2 and infinity: with a point its reciprocal is one, so that the transform of a flipped kernel is
a permutation of the transform of the kernel, and one set of weights serves both directions. Even and odd parts are
shared between a point and its negative. Sources: Lavin & Gray 2015, "Fast Algorithms for Convolutional Neural
Networks", section 4; choice of points: Barabasz et al. 2018, "Error Analysis and Improving the Accuracy of Winograd
Convolution for Deep Neural Networks".
"""

import numpy as np
from numba import njit

from editkit.ops.simd import LANES, fma, load, splat, store

TILE, PATCH = 6, 8  # outputs and inputs of a tile along an axis
FLIPPED = (7, 1, 2, 5, 6, 3, 4, 0)  # where the reciprocal of a point stands

_SQUARES = (1.0, 4.0, 0.25)


def _pair(index: int) -> tuple[np.float32, ...]:
    """Points a and -a: factors of (d6, d4, d2) for the even and of (d5, d3, d1) for the odd part."""
    a = _SQUARES[index] ** 0.5
    p, q = (s for i, s in enumerate(_SQUARES) if i != index)
    even = a / (2 * a * a * (a * a - p) * (a * a - q))
    return tuple(np.float32(f * even) for f in (1, -(p + q), p * q, a, -a * (p + q), a * p * q))


_E16, _E14, _E12, _O15, _O13, _O11 = _pair(0)
_E26, _E24, _E22, _O25, _O23, _O21 = _pair(1)
_E36, _E34, _E32, _O35, _O33, _O31 = _pair(2)
_K = np.float32(sum(_SQUARES))
_2, _4, _8, _16, _32 = (np.float32(2**i) for i in range(1, 6))
_H, _Q, _H3, _H4, _H5 = (np.float32(0.5**i) for i in range(1, 6))


@njit(nogil=True, cache=True)
def _inwards(d0, d1, d2, d3, d4, d5, d6, d7):
    """B^T d."""
    e1 = fma(splat(_E16), d6, fma(splat(_E14), d4, splat(_E12) * d2))
    o1 = fma(splat(_O15), d5, fma(splat(_O13), d3, splat(_O11) * d1))
    e2 = fma(splat(_E26), d6, fma(splat(_E24), d4, splat(_E22) * d2))
    o2 = fma(splat(_O25), d5, fma(splat(_O23), d3, splat(_O21) * d1))
    e3 = fma(splat(_E36), d6, fma(splat(_E34), d4, splat(_E32) * d2))
    o3 = fma(splat(_O35), d5, fma(splat(_O33), d3, splat(_O31) * d1))
    first = fma(splat(_K), d4 - d2, d0 - d6)
    last = fma(splat(_K), d3 - d5, d7 - d1)
    return first, e1 + o1, e1 - o1, e2 + o2, e2 - o2, e3 + o3, e3 - o3, last


@njit(nogil=True, cache=True)
def _outwards(m0, m1, m2, m3, m4, m5, m6, m7):
    """A^T m."""
    s1, s2, s3 = m1 + m2, m3 + m4, m5 + m6
    d1, d2, d3 = m1 - m2, m3 - m4, m5 - m6
    y0 = (m0 + s1) + (s2 + s3)
    y1 = fma(splat(_2), d2, fma(splat(_H), d3, d1))
    y2 = fma(splat(_4), s2, fma(splat(_Q), s3, s1))
    y3 = fma(splat(_8), d2, fma(splat(_H3), d3, d1))
    y4 = fma(splat(_16), s2, fma(splat(_H4), s3, s1))
    y5 = fma(splat(_32), d2, fma(splat(_H5), d3, d1 + m7))
    return y0, y1, y2, y3, y4, y5


@njit(nogil=True, cache=True)
def _inwards_strided(source, at, step, target, to, skip):
    """``_inwards`` of eight vectors of ``source``, ``step`` apart, to eight of ``target``, ``skip`` apart."""
    v0, v1, v2, v3, v4, v5, v6, v7 = _inwards(
        load(source, at),
        load(source, at + step),
        load(source, at + 2 * step),
        load(source, at + 3 * step),
        load(source, at + 4 * step),
        load(source, at + 5 * step),
        load(source, at + 6 * step),
        load(source, at + 7 * step),
    )
    store(target, to, v0)
    store(target, to + skip, v1)
    store(target, to + 2 * skip, v2)
    store(target, to + 3 * skip, v3)
    store(target, to + 4 * skip, v4)
    store(target, to + 5 * skip, v5)
    store(target, to + 6 * skip, v6)
    store(target, to + 7 * skip, v7)


@njit(nogil=True, cache=True)
def gather(first, last, x, shape, scale, pad, grid, offset, count, order, v):
    """Transforms the tiles ``first`` to ``last`` (of all samples, row by row) into ``v`` [64, count, C], flat.

    x: flat [N, H, W, C] of ``shape``; scale: flat [N, C]; pad: zeros before the picture, negative crops; grid: tiles
    (y, x); offset: the tile that v begins with; order: where each of the 64 points goes.
    """
    _, height, width, channels = shape
    patch = np.zeros(PATCH * PATCH * LANES, np.float32)
    half = np.empty(PATCH * PATCH * LANES, np.float32)
    full = np.empty(PATCH * PATCH * LANES, np.float32)
    for tile in range(first, last):
        n, rest = tile // (grid[0] * grid[1]), tile % (grid[0] * grid[1])
        top, left = rest // grid[1] * TILE - pad, rest % grid[1] * TILE - pad
        whole = top >= 0 and top + PATCH <= height and left >= 0 and left + PATCH <= width
        for c in range(0, channels, LANES):
            lanes = min(LANES, channels - c)
            if whole and lanes == LANES:  # straight from the picture
                at = ((n * height + top) * width + left) * channels + c
                for j in range(PATCH):
                    _inwards_strided(x, at + j * channels, width * channels, half, j * LANES, PATCH * LANES)
            else:
                for i in range(PATCH * PATCH):
                    y, xx = top + i // PATCH, left + i % PATCH
                    if 0 <= y < height and 0 <= xx < width:
                        at = ((n * height + y) * width + xx) * channels + c
                        for e in range(lanes):
                            patch[i * LANES + e] = x[at + e]
                    else:
                        store(patch, i * LANES, splat(np.float32(0)))
                for j in range(PATCH):
                    _inwards_strided(patch, j * LANES, PATCH * LANES, half, j * LANES, PATCH * LANES)
            for i in range(PATCH):
                _inwards_strided(half, i * PATCH * LANES, LANES, full, i * PATCH * LANES, LANES)
            at = (tile - offset) * channels + c
            if lanes == LANES:
                s = load(scale, n * channels + c)
                for point in range(PATCH * PATCH):
                    store(v, order[point] * count * channels + at, load(full, point * LANES) * s)
            else:
                for point in range(PATCH * PATCH):
                    for e in range(lanes):
                        v[order[point] * count * channels + at + e] = (
                            full[point * LANES + e] * scale[n * channels + c + e]
                        )


@njit(nogil=True, cache=True)
def _outwards_strided(source, at, step, target, to, skip):
    """``_outwards`` of eight vectors of ``source``, ``step`` apart, to six of ``target``, ``skip`` apart."""
    y0, y1, y2, y3, y4, y5 = _outwards(
        load(source, at),
        load(source, at + step),
        load(source, at + 2 * step),
        load(source, at + 3 * step),
        load(source, at + 4 * step),
        load(source, at + 5 * step),
        load(source, at + 6 * step),
        load(source, at + 7 * step),
    )
    store(target, to, y0)
    store(target, to + skip, y1)
    store(target, to + 2 * skip, y2)
    store(target, to + 3 * skip, y3)
    store(target, to + 4 * skip, y4)
    store(target, to + 5 * skip, y5)


@njit(nogil=True, cache=True)
def scatter(first, last, m, count, offset, order, grid, scale, y, shape):
    """Transforms ``m`` [64, count, C] back: tiles ``first`` to ``last`` of ``y``, flat [N, H, W, C] of ``shape``."""
    _, height, width, channels = shape
    full = np.zeros(PATCH * PATCH * LANES, np.float32)
    half = np.empty(TILE * PATCH * LANES, np.float32)
    block = np.empty(TILE * TILE * LANES, np.float32)
    for tile in range(first, last):
        n, rest = tile // (grid[0] * grid[1]), tile % (grid[0] * grid[1])
        top, left = rest // grid[1] * TILE, rest % grid[1] * TILE
        rows, columns = min(TILE, height - top), min(TILE, width - left)
        for c in range(0, channels, LANES):
            lanes = min(LANES, channels - c)
            at = (tile - offset) * channels + c
            if lanes == LANES:
                for point in range(PATCH * PATCH):
                    store(full, point * LANES, load(m, order[point] * count * channels + at))
            else:
                for point in range(PATCH * PATCH):
                    for e in range(lanes):
                        full[point * LANES + e] = m[order[point] * count * channels + at + e]
            for j in range(PATCH):
                _outwards_strided(full, j * LANES, PATCH * LANES, half, j * LANES, PATCH * LANES)
            for i in range(rows):
                _outwards_strided(half, i * PATCH * LANES, LANES, block, i * TILE * LANES, LANES)
            for i in range(rows):
                to = ((n * height + top + i) * width + left) * channels + c
                if lanes == LANES:
                    s = load(scale, n * channels + c)
                    for j in range(columns):
                        store(y, to + j * channels, load(block, (i * TILE + j) * LANES) * s)
                else:
                    for j in range(columns):
                        for e in range(lanes):
                            y[to + j * channels + e] = block[(i * TILE + j) * LANES + e] * scale[n * channels + c + e]


@njit(nogil=True, cache=True)
def expand(first, last, w, steps, shape, u):
    """Kernels to points: w, flat, element (o, i, tap) at the sum of ``steps`` times these, to u, flat [64, O, I].

    ``shape``: (O, I); rows ``first`` to ``last`` of O.
    """
    outputs, channels = shape
    taps = np.zeros(9 * LANES, np.float32)
    half = np.empty(PATCH * 3 * LANES, np.float32)
    full = np.empty(PATCH * PATCH * LANES, np.float32)
    plane = outputs * channels
    for o in range(first, last):
        for c in range(0, channels, LANES):
            lanes, at = min(LANES, channels - c), o * channels + c
            for e in range(lanes):
                for tap in range(9):
                    taps[tap * LANES + e] = w[o * steps[0] + (c + e) * steps[1] + tap * steps[2]]
            source, target = taps, half
            start, stride, to, skip = 0, 3 * LANES, 0, 3 * LANES
            for step in range(3 + PATCH):  # columns of the kernel first, then rows of what they gave
                if step == 3:
                    source, target = half, full
                    start, stride, to, skip = 0, LANES, 0, LANES
                g0, g1, g2 = load(source, start), load(source, start + stride), load(source, start + 2 * stride)
                ends = g0 + g2
                e2 = fma(splat(_2), g2, g0 * splat(_H))
                e3 = fma(splat(_2), g0, g2 * splat(_H))
                store(target, to, g0)
                store(target, to + skip, ends + g1)
                store(target, to + 2 * skip, ends - g1)
                store(target, to + 3 * skip, e2 + g1)
                store(target, to + 4 * skip, e2 - g1)
                store(target, to + 5 * skip, e3 + g1)
                store(target, to + 6 * skip, e3 - g1)
                store(target, to + 7 * skip, g2)
                start += LANES if step < 3 else 3 * LANES
                to += LANES if step < 3 else PATCH * LANES
            for point in range(PATCH * PATCH):
                if lanes == LANES:
                    store(u, point * plane + at, load(full, point * LANES))
                else:
                    for e in range(lanes):
                        u[point * plane + at + e] = full[point * LANES + e]


@njit(nogil=True, cache=True)
def channel_dot(first, last, a, b, channels, pixels, result):
    """result[p, c] = sum of a * b over the pixels of part ``first <= p < last``; flat [pixels * C], [parts, C]."""
    parts = result.shape[0] // channels
    for part in range(first, last):
        total = result[part * channels : (part + 1) * channels]
        total[:] = 0
        for pixel in range(part * pixels // parts, (part + 1) * pixels // parts):
            va, vb = a[pixel * channels : (pixel + 1) * channels], b[pixel * channels : (pixel + 1) * channels]
            for c in range(channels):
                total[c] += va[c] * vb[c]

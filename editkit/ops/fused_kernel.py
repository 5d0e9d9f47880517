"""The fused filtered non-linearity for CPUs, compiled by numba: up FIR, leaky ReLU, gain, clamp, down FIR in one pass.

Layout: channels last, a vector of channels at a time, so that no FIR shuffles. A task is a block of channels of one
sample; it goes through the picture in strips of columns whose rows stream through two rings small enough for the
first-level cache: source rows, and rows that are filtered down horizontally (or, for a radial filter, rows of the
upsampled picture). The upsampled picture never exists. Every FIR is the same sum of taps times vectors, eight results
at a time in registers. Polyphase branches: Vaidyanathan 1993, section 4.3. The backward pass is the same kernel with
the filters swapped and the stored mask: the operation is piecewise linear.
"""

import numpy as np
from numba import njit

from editkit.ops.simd import LANES, bits_less, choose_bits, choose_less, fma, item, load, prefetch, splat, store

BLOCK = 16  # channels a task: one cache line of float32

NO_MASK, WRITE_MASK, READ_MASK = 0, 1, 2


@njit(nogil=True, cache=True, error_model="numpy")
def _combine(dst, to, to_step, count, src, start, step, offsets, taps, first, used):
    """Vectors dst[to + i * to_step] = sum over j < used of taps[first + j] * src[start + i * step + offsets[j]]."""
    zero = splat(np.float32(0))
    if count < 8:
        for i in range(count):
            a0 = zero
            for j in range(used):
                a0 = fma(splat(item(taps, first + j)), load(src, start + i * step + item(offsets, j)), a0)
            store(dst, to + i * to_step, a0)
        return
    i = 0
    while i < count:
        i = min(i, count - 8)  # the last eight overlap those before
        a0, a1, a2, a3, a4, a5, a6, a7 = zero, zero, zero, zero, zero, zero, zero, zero
        for j in range(used):
            w = splat(item(taps, first + j))
            at = start + i * step + item(offsets, j)
            a0 = fma(w, load(src, at), a0)
            a1 = fma(w, load(src, at + step), a1)
            a2 = fma(w, load(src, at + 2 * step), a2)
            a3 = fma(w, load(src, at + 3 * step), a3)
            a4 = fma(w, load(src, at + 4 * step), a4)
            a5 = fma(w, load(src, at + 5 * step), a5)
            a6 = fma(w, load(src, at + 6 * step), a6)
            a7 = fma(w, load(src, at + 7 * step), a7)
        at = to + i * to_step
        store(dst, at, a0)
        store(dst, at + to_step, a1)
        store(dst, at + 2 * to_step, a2)
        store(dst, at + 3 * to_step, a3)
        store(dst, at + 4 * to_step, a4)
        store(dst, at + 5 * to_step, a5)
        store(dst, at + 6 * to_step, a6)
        store(dst, at + 7 * to_step, a7)
        i += 8


@njit(nogil=True, cache=True, error_model="numpy")
def _activate(row, at, count, mask, bit, mode, slope, gain, clamp):
    """Leaky ReLU, gain and clamp in place; the mask holds for every vector its negative and its clamped lanes."""
    zero, low, high = splat(np.float32(0)), splat(np.float32(gain * slope)), splat(np.float32(gain))
    top, bottom = splat(np.float32(clamp)), splat(np.float32(-clamp))
    for i in range(count):
        v = load(row, at + i * LANES)
        if mode == READ_MASK:
            v = v * choose_bits(item(mask, bit + 2 * i), low, high)
            v = choose_bits(item(mask, bit + 2 * i + 1), zero, v)
        else:
            w = v * choose_less(v, zero, low, high)
            if mode == WRITE_MASK:
                mask[bit + 2 * i] = bits_less(v, zero)
                mask[bit + 2 * i + 1] = bits_less(top, w) | bits_less(w, bottom)
            v = choose_less(top, w, top, choose_less(w, bottom, bottom, w))
        store(row, at + i * LANES, v)


@njit(nogil=True, cache=True, error_model="numpy")
def _fetch(x, at, step, lanes, bias, first, last, width, row, to):
    """Columns ``first`` to ``last`` of a row of the source, plus bias; zero outside the picture."""
    for i in range(first, last):
        here = to + (i - first) * LANES
        if i < 0 or i >= width:
            store(row, here, splat(np.float32(0)))
        elif lanes == LANES:
            store(row, here, load(x, at + i * step) + load(bias, 0))
            prefetch(x, at + (i + 2 * width) * step)  # two rows on
        else:
            for e in range(lanes):
                row[here + e] = x[at + i * step + e] + bias[e]


@njit(nogil=True, cache=True, error_model="numpy")
def _row_taps(k, factor, length, taps, i, rows, ring, row, offsets, used_taps):
    """Vertical FIR: tap k meets row i, tap k + factor row i + 1 ...; those that exist, as ring slots and weights."""
    if i < 0:
        k, i = k - i * factor, 0
    slot, used = i % ring, 0
    while k < length and i < rows:
        offsets[used] = slot * row
        used_taps[used] = item(taps, k)
        used, k, i, slot = used + 1, k + factor, i + 1, slot + 1
        if slot == ring:
            slot = 0
    return used


@njit(nogil=True, cache=True, error_model="numpy")
def _fold(rows, upper, lower, height, ring, row, count, folded, to):
    """The sum of two rows of the ring; one that does not exist is zero."""
    upper_in, lower_in = 0 <= upper < height, 0 <= lower < height
    at, below = (upper % ring) * row, (lower % ring) * row
    for i in range(0, count * LANES, LANES):
        v = splat(np.float32(0))
        if upper_in:
            v = load(rows, at + i)
        if lower_in:
            v = v + load(rows, below + i)
        store(folded, to + i, v)


@njit(nogil=True, cache=True, error_model="numpy")
def run_tasks(
    first_task,
    last_task,
    x,  # flat [N, H, W, C]
    x_shape,
    bias,  # [C]
    y,  # flat [N, OH, OW, C], written
    y_shape,
    mask,  # flat [N, vectors, TH, TW, 2], a bit a lane (one element if unused)
    mode,
    up_taps,  # flat [K] or [K, K]: tmp[t] = sum over k of up_taps[k] * upsampled[t + k - pad]
    up_length,
    up,
    pad,  # (y, x)
    down_taps,  # flat [K], or [K / 2, K] of a filter that is the same upside down
    down_length,
    down,
    shift,  # (y, x): output o reads tmp[o * down + k + shift]
    tmp_shape,
    strip,  # columns of the output at a time
    slope,
    gain,
    clamp,
):
    """Tasks ``first_task`` to ``last_task`` of N * ceil(C / BLOCK); geometry as in ``fused.Geometry``."""
    _, height, width, channels = x_shape
    _, out_height, out_width, _ = y_shape
    tmp_height, tmp_width = tmp_shape
    blocks = (channels + BLOCK - 1) // BLOCK
    vectors = (channels + LANES - 1) // LANES
    up_square, down_square = up_taps.shape[0] > up_length, down_taps.shape[0] > down_length
    widest = (strip - 1) * down + down_length  # columns of tmp that a strip reads
    source_row = ((widest + up_length) // up + 2) * LANES
    source_ring, tmp_ring = up_length // up + 2, down_length + down
    source = np.zeros(source_ring * source_row, np.float32)
    lifted = np.zeros(source_row, np.float32)  # a row of the source at the vertical position of a tmp row
    tmp_row, down_row = widest * LANES, strip * LANES
    tmp = np.zeros((tmp_ring if down_square else 1) * tmp_row, np.float32)
    folded = np.zeros((down_length // 2 if down_square else 1) * tmp_row, np.float32)
    rows_down = np.zeros((1 if down_square else tmp_ring) * down_row, np.float32)
    result = np.zeros(down_row, np.float32)
    lane_bias = np.zeros(LANES, np.float32)
    most = max(up_taps.shape[0], down_taps.shape[0], up_length, down_length) + 1
    offsets, taps = np.zeros(most, np.int64), np.zeros(most, np.float32)
    across, down_across = np.zeros(most, np.int64), np.zeros(most, np.int64)
    phase_taps = np.zeros(most * up, np.float32)
    phase_start, phase_count, phase_used = np.zeros(up, np.int64), np.zeros(up, np.int64), np.zeros(up, np.int64)
    phase_tap = np.zeros(up, np.int64)
    row_tap, row_first = np.zeros(tmp_height, np.int64), np.zeros(tmp_height, np.int64)
    for t in range(tmp_height):
        row_tap[t] = (pad[0] - t) % up
        row_first[t] = (t - pad[0] + row_tap[t]) // up
    for j in range(most):
        across[j] = j * LANES
    for j in range(down_taps.shape[0]):
        down_across[j] = (j // down_length) * tmp_row + (j % down_length) * LANES
    for task in range(first_task, last_task):
        n, c_block = task // blocks, (task % blocks) * BLOCK
        for o0 in range(0, out_width, strip):
            o1 = min(o0 + strip, out_width)
            a, b = o0 * down + shift[1], (o1 - 1) * down + shift[1] + down_length  # of tmp
            va, vb = max(a, 0), min(b, tmp_width)
            s0 = -((pad[1] - va) // up)
            s1 = max(s0, (vb - 1 + up_length - 1 - pad[1]) // up + 1)
            for p in range(up):
                k = (pad[1] - va - p) % up
                phase_tap[p], phase_used[p] = k, (up_length - k + up - 1) // up
                phase_start[p] = ((va + p + k - pad[1]) // up - s0) * LANES
                phase_count[p] = (vb - va - p + up - 1) // up
                for j in range(0 if up_square else phase_used[p]):
                    phase_taps[p * most + j] = up_taps[k + j * up]
            for c in range(c_block, min(c_block + BLOCK, channels), LANES):
                lanes = min(LANES, channels - c)
                lane_bias[:lanes] = bias[c : c + lanes]
                tmp[:] = 0
                next_in, slot_in, next_out, slot = max(0, row_first[0]), 0, 0, -1
                slot_in = next_in % source_ring
                for t in range(tmp_height):
                    last_in = min(height, row_first[t] + (up_length - row_tap[t] + up - 1) // up)
                    while next_in < last_in:
                        at = (n * height + next_in) * width * channels + c
                        _fetch(x, at, channels, lanes, lane_bias, s0, s1, width, source, slot_in * source_row)
                        next_in, slot_in = next_in + 1, slot_in + 1
                        if slot_in == source_ring:
                            slot_in = 0
                    slot += 1
                    if slot == tmp_ring:
                        slot = 0
                    here = slot * tmp_row if down_square else 0
                    if not up_square:
                        used = _row_taps(
                            row_tap[t], up, up_length, up_taps, row_first[t], height, source_ring, source_row,
                            offsets, taps,
                        )  # fmt: skip
                        _combine(lifted, 0, LANES, s1 - s0, source, 0, LANES, offsets, taps, 0, used)
                    for p in range(min(up, vb - va)):
                        src, table, weights, first, used = lifted, across, phase_taps, p * most, phase_used[p]
                        if up_square:
                            used, i = 0, row_first[t]
                            for ky in range(row_tap[t], up_length, up):
                                if 0 <= i < height:
                                    for j in range(phase_used[p]):
                                        offsets[used] = (i % source_ring) * source_row + j * LANES
                                        taps[used] = up_taps[ky * up_length + phase_tap[p] + j * up]
                                        used += 1
                                i += 1
                            src, table, weights, first = source, offsets, taps, 0
                        to = here + (va + p - a) * LANES
                        _combine(
                            tmp, to, up * LANES, phase_count[p], src, phase_start[p], LANES, table, weights, first, used
                        )
                    bit = (((n * vectors + c // LANES) * tmp_height + t) * tmp_width + va) * 2 if mode != NO_MASK else 0
                    _activate(tmp, here + (va - a) * LANES, vb - va, mask, bit, mode, slope, gain, clamp)
                    if not down_square:
                        _combine(
                            rows_down, slot * down_row, LANES, o1 - o0, tmp, 0, down * LANES,
                            down_across, down_taps, 0, down_length,
                        )  # fmt: skip
                    while next_out < out_height and (
                        next_out * down + shift[0] + down_length - 1 <= t or t == tmp_height - 1
                    ):  # rows that are complete now
                        top = next_out * down + shift[0]
                        at = ((n * out_height + next_out) * out_width + o0) * channels + c
                        target, to, to_step = y, at, channels
                        if lanes < LANES:
                            target, to, to_step = result, 0, LANES
                        if down_square:
                            for k in range(down_length // 2):
                                upper, lower = top + k, top + down_length - 1 - k
                                _fold(tmp, upper, lower, tmp_height, tmp_ring, tmp_row, b - a, folded, k * tmp_row)
                            src, step, table, weights, used = (
                                folded,
                                down * LANES,
                                down_across,
                                down_taps,
                                down_taps.shape[0],
                            )
                        else:
                            used = _row_taps(
                                0, 1, down_length, down_taps, top, tmp_height, tmp_ring, down_row, offsets, taps
                            )
                            src, step, table, weights = rows_down, LANES, offsets, taps
                        for i in range(o1 - o0):
                            prefetch(y, at + (i + out_width) * channels)  # the row after
                        _combine(target, to, to_step, o1 - o0, src, 0, step, table, weights, 0, used)
                        if lanes < LANES:
                            for i in range(o1 - o0):
                                for e in range(lanes):
                                    y[at + i * channels + e] = result[i * LANES + e]
                        next_out += 1

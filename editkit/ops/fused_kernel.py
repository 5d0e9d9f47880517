"""The fused filtered non-linearity for CPUs, compiled by numba: up FIR, leaky ReLU, gain, clamp, down FIR in one pass.

Layout: a task is one sample and a block of LANES channels of a channels-last tensor; a row is ``[planes, columns,
LANES]`` where plane p holds the samples whose index is p modulo the number of planes, so that every FIR, in either
direction, is a sum of long contiguous runs times scalars (polyphase branches, Vaidyanathan 1993, section 4.3). Rows
stream through two rings; the upsampled picture never exists. The backward pass is the same kernel with the filters
swapped and the stored mask: the operation is piecewise linear.
"""

import numpy as np
from numba import njit

LANES = 16  # channels a task: one cache line of float32
GROUP = 6  # taps summed in registers at a time; tap tables are padded with zeros to a multiple of it

_FAST = {"contract", "nsz"}  # fused multiply-add; NaN and infinity keep their meaning

NO_MASK, WRITE_MASK, READ_MASK = 0, 1, 2


@njit(nogil=True, cache=True, fastmath=_FAST)
def _combine(dst, start, count, src, offsets, taps):
    """dst[start:start + count] = sum over j of taps[j] * src[offsets[j]:offsets[j] + count]."""
    out = dst[start : start + count]
    for g in range(0, taps.shape[0], GROUP):
        a0, a1, a2 = taps[g], taps[g + 1], taps[g + 2]
        a3, a4, a5 = taps[g + 3], taps[g + 4], taps[g + 5]
        r0 = src[offsets[g] : offsets[g] + count]
        r1 = src[offsets[g + 1] : offsets[g + 1] + count]
        r2 = src[offsets[g + 2] : offsets[g + 2] + count]
        r3 = src[offsets[g + 3] : offsets[g + 3] + count]
        r4 = src[offsets[g + 4] : offsets[g + 4] + count]
        r5 = src[offsets[g + 5] : offsets[g + 5] + count]
        if g == 0:
            for e in range(count):
                out[e] = a0 * r0[e] + a1 * r1[e] + a2 * r2[e] + a3 * r3[e] + a4 * r4[e] + a5 * r5[e]
        else:
            for e in range(count):
                out[e] += a0 * r0[e] + a1 * r1[e] + a2 * r2[e] + a3 * r3[e] + a4 * r4[e] + a5 * r5[e]


@njit(nogil=True, cache=True, fastmath=_FAST)
def _activate(row, count, mask, mode, slope, gain, clamp):
    """Leaky ReLU, gain and clamp of a row in place; the mask has bit 0 for negative and bit 1 for clamped."""
    clamp = np.float32(clamp)
    low = np.float32(gain * slope)
    high = np.float32(gain)
    zero = np.float32(0)
    if mode == READ_MASK:
        for e in range(count):
            m = mask[e]
            factor = low if m & 1 else high
            row[e] *= zero if m & 2 else factor
    elif mode == WRITE_MASK:
        for e in range(count):
            mask[e] = row[e] < zero
        for e in range(count):
            v = row[e]
            row[e] = v * low if v < zero else v * high
        if clamp < np.inf:
            for e in range(count):
                v = row[e]
                mask[e] |= np.uint8(2) if abs(v) > clamp else np.uint8(0)
                row[e] = min(max(v, -clamp), clamp)
    else:
        for e in range(count):
            v = row[e]
            v = v * low if v < 0 else v * high
            row[e] = min(max(v, -clamp), clamp)


@njit(nogil=True, cache=True, fastmath=_FAST)
def _row_taps(position, factor, reversed_taps, rows, ring, row_length, offsets, taps):
    """Tap table of a vertical FIR at padded position ``position`` over rows that exist: ring slots and weights.

    Row i of the source sits at upsampled position i * factor; taps that meet no row get weight zero.
    """
    count = 0
    length = reversed_taps.shape[0]
    first = (-position) % factor
    for k in range(first, length, factor):
        i = (position + k) // factor
        if 0 <= i < rows:
            offsets[count] = (i % ring) * row_length
            taps[count] = reversed_taps[k]
            count += 1
    padded = max(GROUP, (count + GROUP - 1) // GROUP * GROUP)
    for j in range(count, padded):
        offsets[j] = 0
        taps[j] = 0
    return padded


@njit(nogil=True, cache=True, fastmath=_FAST)
def run_tasks(
    first_task,
    last_task,
    x,  # [N, H, W, C] float32, contiguous
    bias,  # [C]
    y,  # [N, OH, OW, C], written
    mask,  # [tasks, TH, planes * columns * LANES] uint8 (one element if unused)
    mode,
    up_taps,  # reversed: y[t] = sum of up_taps[k] * upsampled[t + k - pad]
    up,
    pad_y,
    down_taps,
    down,
    shift_y,  # output o reads tmp[o * down + k + shift]
    tmp_height,
    tmp_width,
    planes,
    columns,  # samples a plane of a tmp row
    margin,  # zero columns before a plane of a tmp row
    src_planes,
    src_columns,
    src_margin,
    up_offsets,  # [planes, J] into a source row, in floats
    up_weights,
    out_planes,
    out_columns,
    down_offsets,  # [out_planes, J] into a tmp row, in floats
    down_weights,
    slope,
    gain,
    clamp,
):
    """Tasks ``first_task`` to ``last_task``; see ``fused.Plan`` for the geometry."""
    height, width, channels = x.shape[1], x.shape[2], x.shape[3]
    out_height, out_width = y.shape[1], y.shape[2]
    blocks = (channels + LANES - 1) // LANES
    src_row = np.zeros(src_planes * src_columns * LANES, np.float32)
    plane = columns * LANES
    up_row = planes * plane
    ring_up = up_taps.shape[0] // up + 2
    up_ring = np.zeros(ring_up * up_row, np.float32)
    tmp_plane = (columns + 2 * margin) * LANES
    tmp = np.zeros(planes * tmp_plane, np.float32)
    work = np.zeros(up_row, np.float32)
    out_plane = out_columns * LANES
    out_row = out_planes * out_plane
    ring_down = down_taps.shape[0] + down
    down_ring = np.zeros(ring_down * out_row, np.float32)
    result = np.zeros(out_row, np.float32)
    most = max(up_taps.shape[0], down_taps.shape[0]) + GROUP
    offsets = np.zeros(most, np.int64)
    taps = np.zeros(most, np.float32)
    for task in range(first_task, last_task):
        n, c0 = task // blocks, (task % blocks) * LANES
        lanes = min(LANES, channels - c0)
        next_in = 0
        next_out = 0
        for t in range(tmp_height):
            # rows of the source that tmp row t needs, filtered horizontally
            last_in = min(height - 1, (t - pad_y + up_taps.shape[0] - 1) // up)
            next_in = max(next_in, (t - pad_y + up - 1) // up)
            while next_in <= last_in:
                for i in range(width):
                    at = ((i % src_planes) * src_columns + src_margin + i // src_planes) * LANES
                    if lanes == LANES:  # a constant length becomes one vector
                        for c in range(LANES):
                            src_row[at + c] = x[n, next_in, i, c0 + c] + bias[c0 + c]
                    else:
                        for c in range(lanes):
                            src_row[at + c] = x[n, next_in, i, c0 + c] + bias[c0 + c]
                slot = (next_in % ring_up) * up_row
                for p in range(planes):
                    _combine(up_ring, slot + p * plane, plane, src_row, up_offsets[p], up_weights[p])
                next_in += 1
            used = _row_taps(t - pad_y, up, up_taps, height, ring_up, up_row, offsets, taps)
            _combine(work, 0, up_row, up_ring, offsets[:used], taps[:used])
            if mode == NO_MASK:
                _activate(work, up_row, mask[0, 0], mode, slope, gain, clamp)
            else:
                _activate(work, up_row, mask[task, t], mode, slope, gain, clamp)
            for p in range(planes):
                at = p * tmp_plane + margin * LANES
                tmp[at : at + plane] = work[p * plane : (p + 1) * plane]
            for column in range(tmp_width, planes * columns):  # the last column of a plane may lie outside
                at = (column % planes) * tmp_plane + (margin + column // planes) * LANES
                tmp[at : at + LANES] = 0
            slot = (t % ring_down) * out_row
            for p in range(out_planes):
                _combine(down_ring, slot + p * out_plane, out_plane, tmp, down_offsets[p], down_weights[p])
            # output rows that are complete now
            while next_out < out_height and (
                next_out * down + shift_y + down_taps.shape[0] - 1 <= t or t == tmp_height - 1
            ):
                used = _row_taps(next_out * down + shift_y, 1, down_taps, tmp_height, ring_down, out_row, offsets, taps)
                _combine(result, 0, out_row, down_ring, offsets[:used], taps[:used])
                for o in range(out_width):
                    at = ((o % out_planes) * out_columns + o // out_planes) * LANES
                    if lanes == LANES:
                        for c in range(LANES):
                            y[n, next_out, o, c0 + c] = result[at + c]
                    else:
                        for c in range(lanes):
                            y[n, next_out, o, c0 + c] = result[at + c]
                next_out += 1

# ruff: noqa: RUF005, PIE808 (Triton compiles this: its tuples have no unpacking)
"""The fused filtered non-linearity for GPUs, in Triton: up FIR, leaky ReLU, gain, clamp, down FIR in one pass.

One lane owns one channel of one strip of columns and walks down the picture. Its window of input rows, its row of the
upsampled picture and its unfinished output rows are registers, so that every FIR is a run of multiply-adds of registers
with kernel parameters (constant bank): no shared memory, no shuffles, no temporary in memory. All indices into the
tuples below are compile-time constants. Neighbouring lanes are neighbouring channels (channels-last) or strips
(contiguous), so that loads and stores coalesce. The backward pass is the same kernel with the filters swapped and the
stored mask: the operation is piecewise linear. docs/gpu.md has the arithmetic behind this choice.

Convention: output o reads tmp[o * D + k + shift]; tmp t reads upsampled[t + j - pad]; sample i sits at i * U.
"""

import triton
import triton.language as tl

from editkit.ops.triton_lrelu_mask import NO_MASK, READ_MASK, WORD, WRITE_MASK, activate, read_factors, write_codes


@triton.jit
def _spread(taps, COUNT: tl.constexpr, BLOCK: tl.constexpr):
    """Scalars as tensors, once: the compiler sees through it, the interpreter is several times faster."""
    tensors = ()
    for k in tl.static_range(COUNT):
        tensors = tensors + (tl.full([BLOCK], taps[k], tl.float32),)
    return tensors


@triton.jit
def _load_row(
    x, row, col0, height, width, stride_h, stride_w, inside, nil, bias, HAS_BIAS: tl.constexpr, COUNT: tl.constexpr
):
    """``COUNT`` samples of a row from column ``col0`` on, float32, bias added; zeros outside the picture."""
    base = x + (row.to(tl.int64) * stride_h + col0 * stride_w)
    limit = tl.where(inside & (row + nil >= 0) & (row + nil < height), width, 0).to(tl.uint32, bitcast=True)
    values = ()
    for m in tl.static_range(COUNT):
        good = (col0 + m).to(tl.uint32, bitcast=True) < limit  # a negative column is a large one
        value = tl.load(base + m * stride_w, mask=good, other=0.0).to(tl.float32)
        if HAS_BIAS:
            value = tl.where(good, value + bias, 0.0)
        values = values + (value,)
    return values


@triton.jit
def _upsampled_row(
    window,
    taps,
    zero,
    p: tl.constexpr,
    U: tl.constexpr,
    TAPS: tl.constexpr,
    TAPS_Y: tl.constexpr,
    TWO_D: tl.constexpr,
    PHASE_X: tl.constexpr,
    PHASE_Y: tl.constexpr,
    COLUMNS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Row ``p`` of the upsampled strip, ``WIDTH`` samples, from a window of input rows of ``COLUMNS`` samples."""
    first_x: tl.constexpr = (PHASE_X + U - 1) // U
    first_y: tl.constexpr = (PHASE_Y + U - 1) // U
    row = ()
    if TWO_D:
        for u in tl.static_range(WIDTH):
            total = zero
            for ky in tl.static_range(TAPS_Y):
                if (PHASE_Y + p + ky) % U == 0:
                    for kx in tl.static_range(TAPS):
                        if (PHASE_X + u + kx) % U == 0:
                            total = tl.fma(
                                window[
                                    ((PHASE_Y + p + ky) // U - first_y) * COLUMNS + (PHASE_X + u + kx) // U - first_x
                                ],
                                taps[ky * TAPS + kx],
                                total,
                            )
            row = row + (total,)
    else:
        column = ()
        for m in tl.static_range(COLUMNS):
            total = zero
            for k in tl.static_range(TAPS):
                if (PHASE_Y + p + k) % U == 0:
                    total = tl.fma(window[((PHASE_Y + p + k) // U - first_y) * COLUMNS + m], taps[k], total)
            column = column + (total,)
        for u in tl.static_range(WIDTH):
            total = zero
            for k in tl.static_range(TAPS):
                if (PHASE_X + u + k) % U == 0:
                    total = tl.fma(column[(PHASE_X + u + k) // U - first_x], taps[k], total)
            row = row + (total,)
    return row


@triton.jit
def _accumulate(
    sums,
    row,
    taps,
    zero,
    p: tl.constexpr,
    D: tl.constexpr,
    TAPS: tl.constexpr,
    TAPS_Y: tl.constexpr,
    TWO_D: tl.constexpr,
    FOLD: tl.constexpr,
    OUT: tl.constexpr,
    OPEN: tl.constexpr,
    HELD: tl.constexpr,
):
    """Adds tmp row ``p`` to the output rows it meets; of ``HELD`` rows, ``OPEN`` began in earlier steps."""
    filtered = ()
    if not TWO_D:
        for o in tl.static_range(OUT):
            total = zero
            for k in tl.static_range(TAPS):
                total = tl.fma(row[o * D + k], taps[k], total)
            filtered = filtered + (total,)
    elif FOLD:  # a kernel that is its own mirror image: add the pairs once, for all the output rows
        for o in tl.static_range(OUT):
            for k in tl.static_range(TAPS // 2):
                filtered = filtered + (row[o * D + k] + row[o * D + TAPS - 1 - k],)
    new = ()
    for a in tl.static_range(HELD):
        for o in tl.static_range(OUT):
            total = sums[a * OUT + o]
            if (p - (a - OPEN) * D >= 0) and (p - (a - OPEN) * D < TAPS_Y):
                if not TWO_D:
                    total = tl.fma(filtered[o], taps[p - (a - OPEN) * D], total)
                elif FOLD:
                    for k in tl.static_range(TAPS // 2):
                        total = tl.fma(filtered[o * (TAPS // 2) + k], taps[(p - (a - OPEN) * D) * TAPS + k], total)
                else:
                    for k in tl.static_range(TAPS):
                        total = tl.fma(row[o * D + k], taps[(p - (a - OPEN) * D) * TAPS + k], total)
            new = new + (total,)
    return new


@triton.jit(
    do_not_specialize=[
        "lanes", "channels", "strips", "height", "width", "out_height", "out_width", "tmp_height", "words", "segment",
        "base_x", "base_y", "word_shift", "row_shift", "xs_n", "xs_c", "xs_h", "xs_w", "ys_n", "ys_c", "ys_h", "ys_w",
        "ms_n", "ms_c", "ms_h", "ms_w",
    ]
)  # fmt: skip
def filtered_lrelu_kernel(
    x,
    bias,  # [C] float32
    y,
    mask,  # int16
    up_taps,  # tuples of float32, in the order in which they meet the samples; [ky * taps + kx] if two-dimensional
    down_taps,
    low,  # gain * slope
    high,  # gain
    clamp,
    lanes,  # samples * channels * strips
    channels,
    strips,
    height,
    width,
    out_height,
    out_width,
    tmp_height,
    words,  # of a mask row
    segment,  # output rows a program, a multiple of the output rows a step
    base_x,  # input column of strip 0, input row of output row 0
    base_y,
    word_shift,  # mask word and tmp row of strip 0 and output row 0
    row_shift,
    xs_n, xs_c, xs_h, xs_w,
    ys_n, ys_c, ys_h, ys_w,
    ms_n, ms_c, ms_h, ms_w,
    U: tl.constexpr,
    D: tl.constexpr,
    UP_TAPS: tl.constexpr,  # along x, and along y
    UP_TAPS_Y: tl.constexpr,
    DOWN_TAPS: tl.constexpr,
    DOWN_TAPS_Y: tl.constexpr,
    UP_2D: tl.constexpr,
    DOWN_2D: tl.constexpr,
    FOLD: tl.constexpr,
    PHASE_X: tl.constexpr,  # (shift - pad) modulo U
    PHASE_Y: tl.constexpr,
    BIT_OFFSET: tl.constexpr,  # shift modulo WORD
    MODE: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_CLAMP: tl.constexpr,
    CHANNELS_FAST: tl.constexpr,
    STRIP: tl.constexpr,  # samples of the upsampled picture a strip owns: a multiple of WORD, U and D
    BLOCK: tl.constexpr,
):  # fmt: skip
    """A segment of output rows of ``BLOCK`` strips; see the module."""
    STEP: tl.constexpr = max(U, D)  # tmp rows a step: after it, all phases are where they were
    IN_STEP: tl.constexpr = STEP // U
    OUT_STEP: tl.constexpr = STEP // D
    OUT: tl.constexpr = STRIP // D
    WIDTH: tl.constexpr = STRIP - D + DOWN_TAPS
    FIRST_X: tl.constexpr = (PHASE_X + U - 1) // U
    FIRST_Y: tl.constexpr = (PHASE_Y + U - 1) // U
    COLUMNS: tl.constexpr = (PHASE_X + WIDTH + UP_TAPS - 2) // U - FIRST_X + 1
    ROWS: tl.constexpr = (PHASE_Y + STEP + UP_TAPS_Y - 2) // U - FIRST_Y + 1
    OPEN: tl.constexpr = (DOWN_TAPS_Y + D - 1) // D - 1  # output rows that earlier steps began
    HELD: tl.constexpr = OPEN + OUT_STEP

    lane = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    nil = lane * 0  # conditions on scalars join those on lanes as tensors: the interpreter mixes no others
    inside = lane < lanes
    if CHANNELS_FAST:
        c, rest = lane % channels, lane // channels
        s, n = rest % strips, rest // strips
    else:
        s, rest = lane % strips, lane // strips
        c, n = rest % channels, rest // channels
    n64, c64 = n.to(tl.int64), c.to(tl.int64)
    x += n64 * xs_n + c64 * xs_c
    y += n64 * ys_n + c64 * ys_c
    zero = tl.zeros([BLOCK], tl.float32)
    up_taps = _spread(up_taps, UP_TAPS * (UP_TAPS_Y if UP_2D else 1), BLOCK)
    down_taps = _spread(down_taps, DOWN_TAPS * (DOWN_TAPS_Y if DOWN_2D else 1), BLOCK)
    shift = zero
    if HAS_BIAS:
        shift = tl.load(bias + c, mask=inside, other=0.0)
    if MODE != NO_MASK:
        mask += n64 * ms_n + c64 * ms_c
    first = tl.program_id(1) * segment
    end = tl.minimum(first + segment, out_height)
    col0 = s * (STRIP // U) + base_x + FIRST_X
    row0 = first // OUT_STEP * IN_STEP + base_y + FIRST_Y
    word0 = s * (STRIP // WORD) + word_shift

    window = ()  # rows before those that a step loads
    for _ in tl.static_range((ROWS - IN_STEP) * COLUMNS):
        window = window + (zero,)
    if ROWS > IN_STEP:
        for ahead in range(0, ROWS - IN_STEP):
            window = window[COLUMNS:] + _load_row(
                x, row0 + ahead, col0, height, width, xs_h, xs_w, inside, nil, shift, HAS_BIAS, COLUMNS
            )
    sums = ()
    for _ in tl.static_range(OPEN * OUT):
        sums = sums + (zero,)

    for q in range(0, ((end - 1 - first) * D + DOWN_TAPS_Y + STEP - 1) // STEP):
        for r in tl.static_range(IN_STEP):
            window = window + _load_row(
                x, row0 + q * IN_STEP + (ROWS - IN_STEP + r), col0, height, width, xs_h, xs_w, inside, nil, shift,
                HAS_BIAS, COLUMNS,
            )  # fmt: skip
        for _ in tl.static_range(OUT_STEP * OUT):
            sums = sums + (zero,)
        for p in tl.static_range(STEP):
            row = _upsampled_row(
                window, up_taps, zero, p, U, UP_TAPS, UP_TAPS_Y, UP_2D, PHASE_X, PHASE_Y, COLUMNS, WIDTH
            )
            t = first * D + q * STEP + p + row_shift
            there = inside & (t + nil >= 0) & (t + nil < tmp_height)
            if MODE == READ_MASK:
                row = read_factors(
                    row, mask + t.to(tl.int64) * ms_h, word0, words, there, ms_w, low, high, BIT_OFFSET, WIDTH
                )
            else:
                if MODE == WRITE_MASK:
                    own = there & ((t + nil < end * D) | (end + nil == out_height))
                    write_codes(
                        row, mask + t.to(tl.int64) * ms_h, word0, words, own, s == strips - 1, ms_w, low, high, clamp,
                        HAS_CLAMP, STRIP, WIDTH,
                    )  # fmt: skip
                row = activate(row, low, high, clamp, HAS_CLAMP, WIDTH)
            sums = _accumulate(sums, row, down_taps, zero, p, D, DOWN_TAPS, DOWN_TAPS_Y, DOWN_2D, FOLD, OUT, OPEN, HELD)
        for r in tl.static_range(OUT_STEP):  # the oldest rows are complete
            o = first + q * OUT_STEP + (r - OPEN)
            good = inside & (o + nil >= first) & (o + nil < end)
            base = y + o.to(tl.int64) * ys_h
            for i in tl.static_range(OUT):
                col = s * OUT + i
                tl.store(base + col * ys_w, sums[r * OUT + i].to(y.dtype.element_ty), mask=good & (col < out_width))
        window = window[IN_STEP * COLUMNS :]
        sums = sums[OUT_STEP * OUT :]

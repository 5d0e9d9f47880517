# ruff: noqa: RUF005 (Triton compiles this: its tuples have no unpacking)
"""The middle of the GPU's filtered non-linearity: leaky ReLU, gain and clamp, and the mask that derivatives read."""

import triton
import triton.language as tl

WORD = tl.constexpr(8)  # samples in a 16-bit word of the mask, two bits each: 1 not positive, 2 clamped
NO_MASK = tl.constexpr(0)
WRITE_MASK = tl.constexpr(1)
READ_MASK = tl.constexpr(2)


@triton.jit
def read_factors(row, mask, word0, words, there, stride_w, low, high, OFFSET: tl.constexpr, WIDTH: tl.constexpr):
    """The row times what the mask stored for it."""
    scaled = ()
    for w in tl.static_range((OFFSET + WIDTH + WORD - 1) // WORD):
        at = word0 + w
        codes = tl.load(mask + at * stride_w, mask=there & (at >= 0) & (at < words), other=0).to(tl.int32)
        for j in tl.static_range(WORD):
            if (w * WORD + j >= OFFSET) and (w * WORD + j < OFFSET + WIDTH):
                factor = tl.where((codes & (1 << (2 * j))) != 0, low, high)
                factor = tl.where((codes & (2 << (2 * j))) != 0, 0.0, factor)
                scaled = scaled + (row[w * WORD + j - OFFSET] * factor,)
    return scaled


@triton.jit
def activate(row, low, high, clamp, HAS_CLAMP: tl.constexpr, WIDTH: tl.constexpr):
    """Leaky ReLU, gain and clamp; NaN stays NaN."""
    values = ()
    for u in tl.static_range(WIDTH):
        value = row[u] * tl.where(row[u] > 0, high, low)
        if HAS_CLAMP:
            value = tl.clamp(value, -clamp, clamp, propagate_nan=tl.PropagateNan.ALL)
        values = values + (value,)
    return values


@triton.jit
def write_codes(
    row, mask, word0, words, own, last, stride_w, low, high, clamp,
    HAS_CLAMP: tl.constexpr, STRIP: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Stores the codes of a row before its activation: the strip's own words, and those beyond if it is the last."""
    for w in tl.static_range((WIDTH + WORD - 1) // WORD):
        codes = tl.zeros_like(word0)
        for j in tl.static_range(WORD):
            if w * WORD + j < WIDTH:
                value = row[w * WORD + j]
                codes |= tl.where(value > 0, 0, 1 << (2 * j))
                if HAS_CLAMP:
                    value = value * tl.where(value > 0, high, low)
                    codes |= tl.where(tl.abs(value) > clamp, 2 << (2 * j), 0)
        at = word0 + w
        if w < STRIP // WORD:
            tl.store(mask + at * stride_w, codes.to(tl.int16), mask=own & (at < words))
        else:
            tl.store(mask + at * stride_w, codes.to(tl.int16), mask=own & last & (at < words))

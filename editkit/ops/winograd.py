"""3x3 convolutions with a fifth of the multiplications: Winograd's F(6x6, 3x3) over channels-last float32.

A layer is a transform of its input tiles, 64 matrix products, and a transform back (kernels: ``winograd_kernel``); only
a part of the tiles is in the transformed domain at a time. The error is about 6e-6 of the standard deviation of the
result, ten times that of a direct convolution. Source: Lavin & Gray 2015, section 4.
"""

import threading
import weakref
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from editkit.ops import arena, fused
from editkit.ops.threads import spread

CHUNK = 32 << 20  # bytes of the transformed domain at a time
KEPT = 128 << 20  # bytes of transformed weights that are kept, of all networks together
LEAST = 32  # channels on both sides below which a direct convolution is as quick
POINTS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kept:
    """What is derived from weights, and how to see that these have changed."""

    mark: tuple[int, int]
    squares: Tensor  # [O, I]: sum over taps
    points: Tensor | None  # [64, O, I]; None: beyond what is kept


_kept: dict[int, tuple[weakref.ref, _Kept]] = {}
_lock = threading.Lock()


def _mark(weight: Tensor) -> tuple[int, int]:
    """Address and a sum over the bits: also a change that bypasses autograd's counter shows."""
    flat = _flat(weight)[0]
    bits = flat.view(np.uint64 if flat.size % 2 == 0 else np.uint32)
    return weight.data_ptr(), int(np.add.reduce(bits, dtype=np.uint64))


def _flat(weight: Tensor) -> tuple[np.ndarray, tuple[int, int, int]]:
    """The weights as a vector, and its steps along outputs, inputs and taps."""
    _, inputs, kh, kw = weight.shape
    weight = weight.detach()
    if weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous():
        return weight.permute(0, 2, 3, 1).reshape(-1).numpy(), (kh * kw * inputs, 1, inputs)
    return weight.contiguous().reshape(-1).numpy(), (kh * kw * inputs, kh * kw, 1)


def _expand(weight: Tensor, points: Tensor) -> Tensor:
    from editkit.ops import winograd_kernel as kernel

    flat, steps = _flat(weight)
    shape, u = (weight.shape[0], weight.shape[1]), points.view(-1).numpy()
    spread(lambda first, last: kernel.expand(first, last, flat, steps, shape, u), shape[0])
    return points


def _kept_of(weight: Tensor) -> _Kept:
    """Looks up or computes; entries go with their weights."""
    mark, key = _mark(weight), id(weight)
    with _lock:
        reference, kept = _kept.get(key, (None, None))
    if kept is not None and reference is not None and reference() is weight and kept.mark == mark:
        return kept
    points = None
    if suits(weight):
        size = POINTS * 4 * weight.shape[0] * weight.shape[1]
        with _lock:
            _kept.pop(key, None)
            used = sum(k.points.numel() * 4 for _, k in _kept.values() if k.points is not None)
        if used + size <= KEPT:
            points = _expand(weight, torch.from_numpy(np.empty((POINTS, *weight.shape[:2]), np.float32)))
    found = _Kept(mark=mark, squares=weight.detach().square().sum([2, 3]), points=points)
    with _lock:
        _kept[key] = (weakref.ref(weight, lambda _: _kept.pop(key, None)), found)
    return found


def squares(weight: Tensor) -> Tensor:
    """``weight`` [O, I, k, k], float32 on the CPU: the sums of its squares over the taps, [O, I]; kept."""
    return _kept_of(weight).squares


def available() -> bool:
    """Whether numba can be imported (``fused`` says once if not)."""
    return fused.available()


def suits(weight: Tensor) -> bool:
    """Whether these weights are worth the transforms: [O, I, 3, 3] with enough channels."""
    return tuple(weight.shape[2:]) == (3, 3) and min(weight.shape[:2]) >= LEAST


@lru_cache(maxsize=1)
def _orders() -> tuple[np.ndarray, np.ndarray]:
    """Where the 64 points go for a kernel, and for the kernel flipped."""
    from editkit.ops.winograd_kernel import FLIPPED

    flip = np.array(FLIPPED)
    return np.arange(POINTS), (flip[:, None] * 8 + flip[None, :]).reshape(-1)


def convolve(
    x: Tensor,
    weight: Tensor,
    scale_in: Tensor,
    scale_out: Tensor,
    *,
    padding: int,
    size: tuple[int, int],
    transpose: bool = False,
) -> Tensor:
    """``scale_out * (weight conv (scale_in * x))``; no derivatives here.

    Args:
        x: [N, H, W, I], contiguous float32.
        weight: [O, I, 3, 3]; ``transpose`` takes O to I, with the kernels flipped.
        scale_in, scale_out: [N, I] and [N, O].
        padding: zeros before the first row and column; negative crops.
        size: of the result.

    Returns:
        [N, *size, O].
    """
    from editkit.ops import winograd_kernel as kernel

    points = _kept_of(weight).points
    if points is None:
        points = _expand(weight, arena.empty((POINTS, *weight.shape[:2])))
    matrices = points if transpose else points.transpose(1, 2)  # [64, I, O]
    order = _orders()[transpose]
    n, channels, outputs = x.shape[0], matrices.shape[1], matrices.shape[2]
    shape, grid = tuple(x.shape), (-(-size[0] // kernel.TILE), -(-size[1] // kernel.TILE))
    y = arena.empty((n, *size, outputs))
    x_flat, y_flat, y_shape = x.reshape(-1).numpy(), y.view(-1).numpy(), tuple(y.shape)
    s_in, s_out = (s.detach().float().contiguous().view(-1).numpy() for s in (scale_in, scale_out))
    tiles = n * grid[0] * grid[1]
    chunks = -(-tiles * POINTS * 4 * (channels + outputs) // CHUNK)
    count = -(-tiles // chunks)
    v, m = arena.empty((POINTS * count * channels,)), arena.empty((POINTS * count * outputs,))
    v_flat, m_flat = v.numpy(), m.numpy()
    for begin in range(0, tiles, count):
        here = min(count, tiles - begin)

        def inwards(first: int, last: int, begin: int = begin, here: int = here) -> None:
            kernel.gather(begin + first, begin + last, x_flat, shape, s_in, padding, grid, begin, here, order, v_flat)

        def outwards(first: int, last: int, begin: int = begin, here: int = here) -> None:
            kernel.scatter(begin + first, begin + last, m_flat, here, begin, order, grid, s_out, y_flat, y_shape)

        spread(inwards, here)
        tensors = v[: POINTS * here * channels].view(POINTS, here, channels)
        products = m[: POINTS * here * outputs].view(POINTS, here, outputs)

        def multiply(first: int, last: int, a: Tensor = tensors, b: Tensor = products) -> None:
            torch.bmm(a[first:last], matrices[first:last], out=b[first:last])

        spread(multiply, POINTS)
        spread(outwards, here)
    return y


def channel_dot(a: Tensor, b: Tensor) -> Tensor:
    """[N, C]: sum over pixels of ``a * b``, both [N, H, W, C], contiguous."""
    from editkit.ops import winograd_kernel as kernel

    n, h, w, c = a.shape
    parts = min(16, h)  # a fixed number, so that the number of threads changes no bit
    result = torch.empty(n, parts, c)
    flat = [t.reshape(n, -1).numpy() for t in (a, b, result)]

    def part(first: int, last: int) -> None:
        for i in range(n):
            kernel.channel_dot(first, last, flat[0][i], flat[1][i], c, h * w, flat[2][i])

    spread(part, parts)
    return result.sum(1)

"""Where the picture sits in generator space.

Convention: a Transform is forward, it says where the content goes. Content moves by +t; x points right, y down; angles
are in degrees, counter-clockwise as seen; the image's width is 1 and its centre the origin, so x and y run from -0.5
to +0.5. Points are columns (x, y, 1) and a matrix applies from the left. The official ``synthesis.input.transform``
says where each output pixel takes its content from and is therefore the inverse; only the generator wrapper inverts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from editkit.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Transform:
    """An affine map a sample. ``a @ b`` applies b first, then a; one sample goes with any number.

    Attributes:
        matrix: [N, 3, 3], or [3, 3] for one sample; floating point, float64 where built here. May carry gradients.
    """

    matrix: Tensor

    def __post_init__(self) -> None:
        matrix = self.matrix
        if not isinstance(matrix, Tensor) or not matrix.is_floating_point():
            raise UsageError(f"a transform needs a floating-point tensor, got {type(matrix).__name__}")
        if matrix.ndim == 2:
            matrix = matrix.unsqueeze(0)
        if matrix.ndim != 3 or matrix.shape[0] < 1 or matrix.shape[1:] != (3, 3):
            raise UsageError(f"a transform needs a matrix [N, 3, 3], got {list(self.matrix.shape)}")
        object.__setattr__(self, "matrix", matrix)

    @classmethod
    def identity(cls) -> Self:
        """The picture stays where it is."""
        return cls.translate(0.0, 0.0)

    @classmethod
    def translate(cls, x: float | Sequence[float] | Tensor, y: float | Sequence[float] | Tensor) -> Self:
        """Content moves right by ``x`` and down by ``y``, in image widths. Numbers, or one a sample."""
        x, y = _per_sample(x, y, what="translate")
        one, zero = torch.ones_like(x), torch.zeros_like(x)
        return cls(matrix=_rows(one, zero, x, zero, one, y))

    @classmethod
    def rotate(cls, degrees: float | Sequence[float] | Tensor) -> Self:
        """Content turns counter-clockwise as seen, about the centre. A number, or one a sample.

        As y points down, a quarter turn takes (1, 0), right, to (0, -1), up: x' = c x + s y, y' = -s x + c y.
        """
        (angle,) = _per_sample(degrees, what="rotate")
        c, s = torch.cos(angle * (math.pi / 180)), torch.sin(angle * (math.pi / 180))
        zero = torch.zeros_like(c)
        return cls(matrix=_rows(c, s, zero, -s, c, zero))

    @classmethod
    def scale(cls, factor: float | Sequence[float] | Tensor) -> Self:
        """Content grows by ``factor`` (above 0) about the centre. A number, or one a sample."""
        (factor,) = _per_sample(factor, what="scale")
        if bool((factor <= 0).any()):
            raise UsageError(f"scale must be above 0, got {factor.tolist()}")
        zero = torch.zeros_like(factor)
        return cls(matrix=_rows(factor, zero, zero, zero, factor, zero))

    @classmethod
    def from_list(cls, rows: Sequence[Sequence[float]] | Sequence[Sequence[Sequence[float]]]) -> Self:
        """The inverse of ``tolist``, for JSON. Raises UsageError unless finite, affine and invertible."""
        try:
            found = cls(matrix=torch.tensor(rows, dtype=torch.float64))
        except (TypeError, ValueError, RuntimeError) as problem:
            raise UsageError(f"a transform needs rows of numbers, got {rows!r:.80} ({problem})") from problem
        last = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
        if not bool(torch.isfinite(found.matrix).all()) or not bool((found.matrix[:, 2] == last).all()):
            raise UsageError("a transform needs finite numbers and a last row of 0, 0, 1")
        found.inverse()
        return found

    @property
    def is_identity(self) -> bool:
        """Whether it leaves every sample where it is, exactly."""
        return bool((self.matrix == torch.eye(3).to(self.matrix)).all())

    def tolist(self) -> list[list[list[float]]]:
        """Nested lists `[N][3][3]`, for JSON."""
        return self.matrix.detach().cpu().double().tolist()

    def __matmul__(self, first: Transform) -> Transform:
        """Apply ``first``, then self. Raises UsageError unless both have as many samples, or one has one."""
        if not isinstance(first, Transform):
            return NotImplemented
        if len(self) != len(first) and 1 not in (len(self), len(first)):
            raise UsageError(f"transforms of {len(self)} and {len(first)} samples do not go together")
        dtype = torch.promote_types(self.matrix.dtype, first.matrix.dtype)
        return Transform(matrix=self.matrix.to(dtype) @ first.matrix.to(dtype))

    def inverse(self) -> Transform:
        """The way back, in closed form: x = A^-1 (x' - t). Differentiable. Raises UsageError where there is none."""
        a, b, c, d = (self.matrix[:, i, j] for i in (0, 1) for j in (0, 1))
        determinant = a * d - b * c  # [N]
        if not bool((determinant.abs() > 1e-12).all()):
            raise UsageError("this transform flattens the picture and has no inverse")
        x, y = self.matrix[:, 0, 2], self.matrix[:, 1, 2]
        a, b, c, d = d / determinant, -b / determinant, -c / determinant, a / determinant
        return Transform(matrix=_rows(a, b, -(a * x + b * y), c, d, -(c * x + d * y)))

    def apply(self, points: Tensor) -> Tensor:
        """Move points: [K, 2] or [N, K, 2] as (x, y) in image widths from the centre -> [N, K, 2]."""
        matrix = self.matrix.to(points.dtype)
        return points @ matrix[:, :2, :2].mT + matrix[:, None, :2, 2]

    def expand(self, count: int) -> Transform:
        """``count`` samples: as many as there are, or one repeated. Raises UsageError otherwise."""
        if len(self) not in (1, count):
            raise UsageError(f"a transform of {len(self)} samples does not go with {count}")
        return Transform(matrix=self.matrix.expand(count, 3, 3))

    def to(self, device: torch.device | str) -> Transform:
        """On another device; float32 where the device has no float64 (mps)."""
        device = torch.device(device)
        dtype = torch.float32 if device.type == "mps" else self.matrix.dtype
        return Transform(matrix=self.matrix.to(device=device, dtype=dtype))

    def __len__(self) -> int:
        return self.matrix.shape[0]

    def __getitem__(self, index: int | slice) -> Transform:
        """Some of the samples; an int keeps the sample axis."""
        if isinstance(index, int):
            index = range(len(self))[index]  # raises IndexError out of range, counts negatives from the end
            return Transform(matrix=self.matrix[index : index + 1])
        return Transform(matrix=self.matrix[index])


def _per_sample(*values: float | Sequence[float] | Tensor, what: str) -> list[Tensor]:
    """Numbers or one a sample -> float64 (or the tensor's type) tensors [N] of equal length."""
    found = []
    for value in values:
        try:
            number = value if isinstance(value, Tensor) else torch.as_tensor(value, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError) as problem:
            raise UsageError(f"{what} needs numbers, got {value!r:.80}") from problem
        number = number if number.is_floating_point() else number.double()
        if number.ndim > 1 or not bool(torch.isfinite(number).all()):
            raise UsageError(f"{what} needs finite numbers, one or one a sample, got {value!r:.80}")
        found.append(number.reshape(-1))
    try:
        return list(torch.broadcast_tensors(*found))
    except RuntimeError as problem:
        raise UsageError(f"{what} got {[len(f) for f in found]} numbers; give as many of each") from problem


def _rows(a: Tensor, b: Tensor, x: Tensor, c: Tensor, d: Tensor, y: Tensor) -> Tensor:
    """Columns [N] of the two upper rows -> [N, 3, 3]."""
    zero, one = torch.zeros_like(a), torch.ones_like(a)
    return torch.stack([a, b, x, c, d, y, zero, zero, one], dim=-1).reshape(-1, 3, 3)

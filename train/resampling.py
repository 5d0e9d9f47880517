"""Bilinear sampling of pictures whose gradient can be differentiated again, as the penalty R1 needs.

``torch.nn.functional.grid_sample`` has no second derivative. Sampling is linear in the picture, so its gradient is the
adjoint, and the gradient of the adjoint is sampling again. No gradient flows to the grid.

Convention: grids are [N, H, W, 2] as (x, y) from -1 to 1 over the picture's outer edges; outside is zero.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_BILINEAR, _ZEROS = 0, 0  # ATen's numbers of the interpolation and of the padding


def sample_bilinear(image: Tensor, grid: Tensor) -> Tensor:
    """[N, C, H, W] at ``grid`` [N, h, w, 2]: [N, C, h, w]; any number of derivatives with respect to the image."""
    return _Sample.apply(image, grid)  # type: ignore[no-untyped-call, no-any-return]


class _Sample(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.shape = image.shape
        return functional.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (grid,) = ctx.saved_tensors
        return _Adjoint.apply(gradient, grid, ctx.shape), None  # type: ignore[no-untyped-call]


class _Adjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, grid: Tensor, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(grid)
        image = gradient.new_empty(1).expand(shape)  # only its shape is read for the gradient of the picture
        found = torch.ops.aten.grid_sampler_2d_backward(
            gradient.contiguous(), image, grid, _BILINEAR, _ZEROS, False, [True, False]
        )
        return found[0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (grid,) = ctx.saved_tensors
        return sample_bilinear(gradient, grid), None, None

"""Where the picture sits, found together with the latent: for photos that are not aligned as the generator's were.

StyleGAN3 draws on a plane that can be moved (Karras et al. 2021, section 3.2), so that a photo is a code and a
placement; Alaluf et al. 2022, "Third Time's the Charm? Image and Video Editing with StyleGAN3", section 4, invert
unaligned photos so. They take the placement from a landmark detector; here it is four numbers with gradients of their
own, started from a coarse search, so that any domain will do. The first row of W+, which moves and turns the picture
as well, stays at the mean of W: the code is the aligned one, and the placement is all in the transform.

Convention: a placement is [N, 4]: x and y in image widths, the angle in radians counter-clockwise as seen, and the
logarithm of the scale; scaled first, then turned, then moved.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from editkit.errors import UsageError
from editkit.latent import Latent
from editkit.transform import Transform

if TYPE_CHECKING:
    from editkit.generator import Generator

COARSE = 32
"""Pixels a side at which the coarse search compares."""
CHUNK = 256
"""Placements compared at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Settings of the search for the placement.

    Attributes:
        shift, angle, zoom: how far it goes: image widths, degrees, and a factor (2: from half to twice the size).
        coarse: values an axis that the coarse search tries; 1 starts from where the picture is.
        lr: peak learning rate of Adam: of widths, radians and the logarithm of the scale alike.
    """

    shift: float = 0.35
    angle: float = 30.0
    zoom: float = 2.0
    coarse: int = 5
    lr: float = 0.01

    def __post_init__(self) -> None:
        if not (0 < self.shift <= 1 and 0 < self.angle <= 180 and 1 < self.zoom <= 8):
            raise UsageError(
                "a placement is sought within a shift of at most 1 width, an angle of at most 180 degrees and a zoom "
                f"from above 1 to 8, got {self.shift}, {self.angle} and {self.zoom}"
            )
        if self.coarse < 1:
            raise UsageError(f"the coarse search tries at least 1 value an axis, got {self.coarse}")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise UsageError(f"lr must be a positive number, got {self.lr}")

    @property
    def limits(self) -> tuple[float, float, float, float]:
        """Largest magnitude of each of the four numbers."""
        return self.shift, self.shift, math.radians(self.angle), math.log(self.zoom)

    def check(self, G: Generator) -> None:
        """Raises UsageError for a generator whose pictures cannot be moved."""
        if G.spec.kind == "stylegan2":
            raise UsageError(
                f"{G.spec.name!r} is a StyleGAN2, which draws on a fixed grid: no placement can be sought; leave "
                "--placement out and align the photo, or take a StyleGAN3 generator"
            )

    def clamp(self, placed: Tensor) -> Tensor:
        """``placed`` [N, 4] within the limits."""
        limit = placed.new_tensor(self.limits)
        return torch.minimum(torch.maximum(placed, -limit), limit)

    def start(self, G: Generator, targets: Tensor, mean: Tensor) -> Tensor:
        """[N, 4]: of a grid of placements, the one at which the mean picture is most like each of ``targets``.

        ``mean``: [w_dim]. Its picture is rendered once, zoomed out as far as the search goes, and moved as a picture
        is, which for StyleGAN3 is nearly the same; compared small, since only the coarse layout can agree.
        """
        if self.coarse == 1:
            return targets.new_zeros(len(targets), 4)
        codes = mean.expand(1, G.spec.num_ws, -1)
        latent = Latent(space="w", codes=codes, generator=G.spec.id, parent=G.spec.parent_id)
        with torch.no_grad():
            wide = G.synthesize(latent, transform=Transform.scale(1 / self.zoom))
        wanted = _small(targets)
        steps = torch.linspace(-1, 1, self.coarse)
        grid = torch.cartesian_prod(steps, steps, steps, steps).to(targets) * targets.new_tensor(self.limits)
        grid = torch.cat([torch.zeros_like(grid[:1]), grid])  # equals: the first, where the picture is
        errors = []
        for some in grid.split(CHUNK):
            # the content of output pixel p is that of p under the inverse; wide shows it at 1 / zoom of the size
            back = Transform(
                matrix=Transform.scale(1 / self.zoom).matrix.to(some) @ transform_of(some).inverse().matrix
            )
            theta = back.matrix[:, :2]  # grid_sample runs from -1 to 1 over the width: only the shift is in other units
            theta = torch.cat([theta[:, :, :2], 2 * theta[:, :, 2:]], 2)
            places = F.affine_grid(theta, [len(some), 3, COARSE, COARSE], align_corners=False)
            moved = F.grid_sample(
                wide.expand(len(some), -1, -1, -1), places, padding_mode="border", align_corners=False
            )
            errors.append(torch.stack([_unlike(moved, one) for one in wanted]))  # [N, some]
        return grid[torch.cat(errors, 1).argmin(1)].clone()


def transform_of(placed: Tensor) -> Transform:
    """``placed`` [N, 4] as a transform; differentiable."""
    x, y, angle, size = placed.unbind(1)
    return Transform.translate(x, y) @ Transform.rotate(angle * (180 / math.pi)) @ Transform.scale(size.exp())


def _small(images: Tensor) -> Tensor:
    """[N, 3, R, R] to [N, 3, COARSE, COARSE], averaged."""
    return F.interpolate(images, size=(COARSE, COARSE), mode="area")


def _unlike(images: Tensor, one: Tensor) -> Tensor:
    """[N]: 1 less the correlation of [N, 3, S, S] with [3, S, S], so that brightness and contrast do not count."""
    flat = F.avg_pool2d(images, 2).flatten(1)
    goal = F.avg_pool2d(one[None], 2).flatten(1)
    flat, goal = flat - flat.mean(1, keepdim=True), goal - goal.mean(1, keepdim=True)
    return 1 - F.cosine_similarity(flat, goal, dim=1)

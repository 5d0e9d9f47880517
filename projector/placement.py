"""Where the picture sits, found together with the latent: for photos that are not aligned as the generator's were.

StyleGAN3 draws on a plane that can be moved (Karras et al. 2021, section 3.2), so that a photo is a code and a
placement; Alaluf et al. 2022, "Third Time's the Charm? Image and Video Editing with StyleGAN3", section 4, invert
unaligned photos so. They take the placement from a landmark detector; here it is solved from the pixels, with a code
in W (``projector.pose_search``), so that any domain will do, and rests while the search for the latent goes on from
that code. The first row of W+, which moves and turns the picture as well, stays at the mean of W: the code is the
aligned one, and the placement is all in the transform.

Convention: a placement is [N, 4]: x and y in image widths, the angle in radians counter-clockwise as seen, and the
logarithm of the scale; scaled first, then turned, then moved.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from editkit.errors import UsageError
from editkit.transform import Transform

if TYPE_CHECKING:
    from editkit.generator import Generator


def movable(G: Generator) -> bool:
    """Whether pictures of ``G`` can be shifted, turned and zoomed: a StyleGAN2 draws on a fixed grid."""
    return G.spec.kind != "stylegan2"


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Settings of the search for the placement.

    Attributes:
        shift, angle, zoom: how far it goes: image widths, degrees, and a factor (2: from half to twice the size).
        coarse: values an axis of the grid that starts are chosen from; 1 starts from where the picture is alone.
        starts: how many are tried.
        trial: steps from each of them, after which the better third goes on.
        steps: of those, in which only the generator's own frame counts; after a third of them the best goes on alone.
    """

    shift: float = 0.35
    angle: float = 30.0
    zoom: float = 1.6
    coarse: int = 7
    starts: int = 10
    trial: int = 10
    steps: int = 60

    def __post_init__(self) -> None:
        if not (0 < self.shift <= 1 and 0 < self.angle <= 180 and 1 < self.zoom <= 8):
            raise UsageError(
                "a placement is sought within a shift of at most 1 width, an angle of at most 180 degrees and a zoom "
                f"from above 1 to 8, got {self.shift}, {self.angle} and {self.zoom}"
            )
        for name in ("coarse", "starts", "trial", "steps"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} of a placement is at least 1, got {getattr(self, name)}")

    @property
    def limits(self) -> tuple[float, float, float, float]:
        """Largest magnitude of each of the four numbers."""
        return self.shift, self.shift, math.radians(self.angle), math.log(self.zoom)

    def check(self, G: Generator) -> None:
        """Raises UsageError for a generator whose pictures cannot be moved."""
        if not movable(G):
            raise UsageError(
                f"{G.spec.name!r} is a StyleGAN2, which draws on a fixed grid: no placement can be sought; leave "
                "--placement out and align the photo, or take a StyleGAN3 generator"
            )

    def clamp(self, placed: Tensor) -> Tensor:
        """``placed`` [N, 4] within the limits."""
        limit = placed.new_tensor(self.limits)
        return torch.minimum(torch.maximum(placed, -limit), limit)


def transform_of(placed: Tensor) -> Transform:
    """``placed`` [N, 4] as a transform; differentiable."""
    x, y, angle, size = placed.unbind(1)
    return Transform.translate(x, y) @ Transform.rotate(angle * (180 / math.pi)) @ Transform.scale(size.exp())

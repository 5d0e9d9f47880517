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
from editkit.labels import Classes
from editkit.latent import Latent
from editkit.transform import Transform
from projector.statistics import drawn

if TYPE_CHECKING:
    from editkit.generator import Generator

COARSE = 16
"""Pixels a side at which the coarse search compares."""
SAMPLES, COMPONENTS = 64, 24
"""Samples that it compares with, and how many principal components of them."""
NOISE = 0.2
"""Standard deviation of what those leave unexplained, of pictures in [-1, 1]."""
FINER, KEPT = 3, 8
"""How often the grid is halved, and around how many of the best."""
CHUNK = 128
"""Placements compared at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Settings of the search for the placement.

    Attributes:
        shift, angle, zoom: how far it goes: image widths, degrees, and a factor (2: from half to twice the size).
        coarse: values an axis that the coarse search tries; 1 starts from where the picture is.
        lr: peak learning rate of Adam: of widths, radians and the logarithm of the scale alike.
        settle: share of the search, at its beginning, in which the rows of a W+ code move together. Free rows could
            draw a moved picture at the wrong placement; in W the placement comes to rest first.
    """

    shift: float = 0.35
    angle: float = 30.0
    zoom: float = 1.6
    coarse: int = 5
    lr: float = 0.01
    settle: float = 0.5

    def __post_init__(self) -> None:
        if not (0 < self.shift <= 1 and 0 < self.angle <= 180 and 1 < self.zoom <= 8):
            raise UsageError(
                "a placement is sought within a shift of at most 1 width, an angle of at most 180 degrees and a zoom "
                f"from above 1 to 8, got {self.shift}, {self.angle} and {self.zoom}"
            )
        if self.coarse < 1:
            raise UsageError(f"the coarse search tries at least 1 value an axis, got {self.coarse}")
        if not 0 <= self.settle <= 1:
            raise UsageError(f"settle is a share of the search, from 0 to 1, got {self.settle}")
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

    def begin(self, G: Generator, targets: Tensor, classes: Classes | None = None) -> Tensor:
        """``start``, with samples of ``classes``."""
        return self.start(G, targets, drawn(G, SAMPLES, classes=classes))

    def start(self, G: Generator, targets: Tensor, codes: Tensor) -> Tensor:
        """[N, 4]: the placements at which ``targets`` [N, 3, R, R] look most like pictures of ``G``.

        ``codes``: [K, w_dim] of samples. Their pictures are rendered once and moved as pictures are, which for
        StyleGAN3 is nearly the same. See ``_Likeness``; a grid first, then around the best of it at half the distance.
        """
        if self.coarse == 1:
            return targets.new_zeros(len(targets), 4)
        likeness = _Likeness(G, codes)
        limits = targets.new_tensor(self.limits)
        steps = torch.linspace(-1, 1, self.coarse)
        grid = torch.cartesian_prod(steps, steps, steps, steps).to(targets) * limits
        around = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0])] * 4).to(targets)
        found = []
        for target in targets:
            few, spacing = grid, 2 * limits / (self.coarse - 1)
            for _ in range(FINER):
                best = few[likeness.unlike(few, target).topk(min(KEPT, len(few)), largest=False).indices]
                spacing = spacing / 2
                few = self.clamp((best[:, None] + around * spacing).flatten(0, 1))
            found.append(few[likeness.unlike(few, target).argmin()])
        return torch.stack(found)


class _Likeness:
    """How well the generator's pictures, moved, explain a target: a Gaussian of pictures with white noise on top.

    Probabilistic principal components (Tipping & Bishop 1999): mean and ``COMPONENTS`` axes of the samples' pictures
    at ``COARSE`` pixels. Pictures are compared with all that samples may show, since the mean alone is like nothing.
    """

    def __init__(self, G: Generator, codes: Tensor) -> None:
        ws = codes[:, None].expand(-1, G.spec.num_ws, -1)
        latent = Latent(space="w", codes=ws, generator=G.spec.id, parent=G.spec.parent_id)
        parts = [G.synthesize(latent[k : k + 8]) for k in range(0, len(codes), 8)]
        pictures = F.interpolate(torch.cat(parts), size=(COARSE, COARSE), mode="area")
        mean = pictures.mean(0, keepdim=True)
        flat = (pictures - mean).flatten(1).cpu().double()
        _, spread, axes = torch.linalg.svd(flat / max(len(flat) - 1, 1) ** 0.5, full_matrices=False)
        kept = min(COMPONENTS, len(spread))
        basis = (axes[:kept] * spread[:kept, None]).to(pictures).unflatten(1, pictures.shape[1:])
        self.layers = torch.cat([mean, basis, torch.ones_like(mean)]).flatten(0, 1)[None]  # [1, (2 + K) 3, S, S]

    def unlike(self, placed: Tensor, target: Tensor) -> Tensor:
        """[P]: how unlikely ``target`` [3, R, R] is at each of ``placed`` [P, 4]: -2 log p, constants aside."""
        goal = F.interpolate(target[None], size=(COARSE, COARSE), mode="area").flatten()
        return torch.cat([self._some(part, goal) for part in placed.split(CHUNK)])

    def _some(self, placed: Tensor, goal: Tensor) -> Tensor:
        back = transform_of(placed).inverse().matrix  # the content of output pixel p is that of p under the inverse
        theta = back[:, :2] * back.new_tensor([1.0, 1.0, 2.0])  # grid_sample runs from -1 to 1: shifts count double
        places = F.affine_grid(theta, [len(placed), 3, COARSE, COARSE], align_corners=False)
        layers = self.layers.expand(len(placed), -1, -1, -1)
        moved = F.grid_sample(layers, places, align_corners=False)
        moved = moved.reshape(len(placed), -1, goal.numel())  # [P, 2 + K, 3 S S]
        inside = moved[:, -1] > 0.5  # elsewhere nothing is known but how the target's pixels are spread
        off = (goal - moved[:, 0]) * inside
        basis = moved[:, 1:-1] * inside[:, None] / NOISE
        inner = basis @ basis.mT + torch.eye(basis.shape[1]).to(basis)  # [P, K, K]
        factor = torch.linalg.cholesky(inner)
        seen = basis @ (off / NOISE)[:, :, None]  # [P, K, 1]
        explained = (seen * torch.cholesky_solve(seen, factor)).sum([1, 2])
        outside = ((goal - goal.mean()) / goal.std()).square() + 2 * (goal.std() / NOISE).log()
        unexplained = (off / NOISE).square().sum(1) - explained + (outside * ~inside).sum(1)
        return unexplained + 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)


def transform_of(placed: Tensor) -> Transform:
    """``placed`` [N, 4] as a transform; differentiable."""
    x, y, angle, size = placed.unbind(1)
    return Transform.translate(x, y) @ Transform.rotate(angle * (180 / math.pi)) @ Transform.scale(size.exp())

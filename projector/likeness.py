"""Where pictures of a generator may sit in a photo: every pose of a grid, compared at a glance.

Probabilistic principal components (Tipping and Bishop 1999): the mean and the main axes of samples' pictures, moved as
pictures are, and white noise on top; a photo is compared with all that samples may show, since their mean alone is like
nothing. Nothing is rendered a pose, so that hundreds cost little; what comes out are places to start from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from editkit.latent import Latent
from editkit.transform import Transform

if TYPE_CHECKING:
    from editkit.generator import Generator

COARSE = 16
"""Pixels a side at which a photo is compared."""
SAMPLES, COMPONENTS = 64, 24
"""Samples that it is compared with, and how many principal components of them."""
NOISE, SMOOTH = 0.1, 0.2
"""Standard deviation of what those leave unexplained, of pictures in [-1, 1]: to compare poses, with which fewer wrong
ones look better than the right one, and to move them, since twice as much has wider basins."""
CHUNK = 64
"""Poses compared at a time."""


class Likeness:
    """A Gaussian of pictures of ``G``, drawn on a canvas ``wide`` widths across.

    On the frame alone (1.0) enlarged photos are told best; shrunk ones show what is beyond, for which a wider canvas is
    rendered, at fewer pixels a width.
    """

    def __init__(self, G: Generator, codes: Tensor, *, wide: float = 1.0) -> None:
        """``codes``: [K, w_dim] of samples."""
        self.wide, side = wide, round(COARSE * wide)
        ws = codes[:, None].expand(-1, G.spec.num_ws, -1)
        latent = Latent(space="w", codes=ws, generator=G.spec.id, parent=G.spec.parent_id)
        whole = Transform.scale(1 / wide)
        parts = [G.synthesize(latent[k : k + 8], transform=whole) for k in range(0, len(codes), 8)]
        pictures = F.interpolate(torch.cat(parts).clamp(-1, 1), size=(side, side), mode="area")
        mean = pictures.mean(0, keepdim=True)
        flat = (pictures - mean).flatten(1).cpu().double()
        _, spread, axes = torch.linalg.svd(flat / max(len(flat) - 1, 1) ** 0.5, full_matrices=False)
        kept = min(COMPONENTS, len(spread))
        basis = (axes[:kept] * spread[:kept, None]).to(pictures).unflatten(1, pictures.shape[1:])
        self.layers = torch.cat([mean, basis, torch.ones_like(mean)]).flatten(0, 1)[None]  # [1, (2 + K) 3, S, S]

    def unlike(self, placed: Tensor, target: Tensor, *, noise: float = NOISE) -> Tensor:
        """[P]: how unlikely ``target`` [3, R, R] is at each of ``placed`` [P, 4]: -2 log p, constants aside."""
        goal = F.interpolate(target[None], size=(COARSE, COARSE), mode="area").flatten()
        return torch.cat([self._some(part, goal, noise) for part in placed.split(CHUNK)])

    def _some(self, placed: Tensor, goal: Tensor, noise: float) -> Tensor:
        from projector.placement import transform_of

        back = transform_of(placed).inverse().matrix  # the content of output pixel p is that of p under the inverse
        theta = back[:, :2] * back.new_tensor([1.0, 1.0, 2.0])  # grid_sample runs from -1 to 1: shifts count double
        places = F.affine_grid(theta / self.wide, [len(placed), 3, COARSE, COARSE], align_corners=False)
        layers = self.layers.expand(len(placed), -1, -1, -1)
        moved = F.grid_sample(layers, places, align_corners=False)
        moved = moved.reshape(len(placed), -1, goal.numel())  # [P, 2 + K, 3 S S]
        inside = moved[:, -1] > 0.5  # elsewhere nothing is known but how the target's pixels are spread
        off = (goal - moved[:, 0]) * inside
        basis = moved[:, 1:-1] * inside[:, None] / noise
        inner = basis @ basis.mT + torch.eye(basis.shape[1]).to(basis)  # [P, K, K]
        factor = torch.linalg.cholesky(inner)
        seen = basis @ (off / noise)[:, :, None]  # [P, K, 1]
        explained = (seen * torch.cholesky_solve(seen, factor)).sum([1, 2])
        deviation = goal.std().clamp(min=1e-3)
        outside = ((goal - goal.mean()) / deviation).square() + 2 * (deviation / noise).log()
        unexplained = (off / noise).square().sum(1) - explained + (outside * ~inside).sum(1)
        return unexplained + 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)

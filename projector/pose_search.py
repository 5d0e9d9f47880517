"""A photo's placement, solved together with a code in W: many starts, few steps each, and the best goes on.

A code can hide an error of the placement and the other way round: along that valley first-order steps crawl (Adam was
1.9 degrees off after 50), while limited-memory BFGS, which learns the valley's shape, is within a tenth of a degree
after 30. It needs a start in the right basin; the poses of a grid that look most like pictures of the generator are
tried, the better third goes on, the best of those ends it (after Jamieson and Talwalkar 2016, "Non-stochastic Best Arm
Identification and Hyperparameter Optimization", section 3).

Of those that go on only what lies within the generator's own frame counts. Beyond it a photograph shows what the
generator has never seen, hair and shoulders of a face, and to cover them a picture grows: 7 % too large on a portrait
shrunk by 6 %.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from editkit.labels import Classes
from editkit.latent import Latent
from editkit.search_memory import fitting_batch
from projector.likeness import SAMPLES, SMOOTH, Likeness
from projector.losses import multiscale_mse
from projector.placement import Placement, transform_of
from projector.quasi_newton import QuasiNewton
from projector.statistics import WStatistics, drawn, sample_statistics

if TYPE_CHECKING:
    from editkit.generator import Generator

UNIT = (0.02, 0.02, 0.04, 0.04)
"""Of the four numbers of a placement: what changes a picture about as much as a standard deviation of W does."""
PIXEL, PRIOR, SCALES = 10.0, 0.001, 4
"""Weights of the picture's squared error and of the code's length, and halvings of the picture that are compared."""
FRAMED, FRAMED_PRIOR, HALF = 3, 0.005, 0.4
"""How often the last steps look which pixels lie well within the generator's own frame, the weight of the length there,
and half the side of what they look at, in widths: at 0.5 a frame that is too large sees too much to shrink."""
CANVASES = (1.0, 1.3, 1.6)
"""Widths of the canvases that starts are looked for on: for enlarged pictures, and for shrunk ones."""
POLISHED, POLISHING = 96, 20
"""How many of the grid's poses are moved to where a photo is likelier on a canvas, and in how many steps."""
APART = (0.06, 0.06, 0.12, 0.12)
"""Two starts differ by more than this in one of their numbers; from nearer ones a search ends at the same place."""
AT_ONCE = 8
"""Starts rendered at a time, at most."""


class PoseSearch:
    """Finds placements for photos of ``G``; what it knows of the generator is made once."""

    def __init__(self, G: Generator, placement: Placement, classes: Classes | None = None) -> None:
        self.G, self.placement = G, placement
        self.size = fitting_batch(G, perceptual=None, most=AT_ONCE)
        self.statistics: WStatistics = sample_statistics(G, classes=classes)
        self.likenesses: list[Likeness] = []
        if placement.coarse > 1:
            codes = drawn(G, SAMPLES, classes=classes)
            with torch.no_grad():
                self.likenesses = [Likeness(G, codes, wide=wide) for wide in CANVASES]

    def find(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Placements [N, 4] of ``targets`` [N, 3, R, R], and codes [N, w_dim] in standard deviations of W."""
        found = [self._find(target) for target in targets]
        return torch.stack([placed for placed, _ in found]), torch.stack([code for _, code in found])

    def starts(self, target: Tensor) -> Tensor:
        """[K, 4]: where the picture is, and poses at which ``target`` [3, R, R] is likely, well apart."""
        chosen = [target.new_zeros(4)]
        if not self.likenesses:
            return torch.stack(chosen)
        steps = torch.linspace(-1, 1, self.placement.coarse)
        grid = torch.cartesian_prod(steps, steps, steps, steps).to(target) * target.new_tensor(self.placement.limits)
        each = -(-(self.placement.starts - 1) // len(self.likenesses))
        for likeness in self.likenesses:
            order = self._polished(likeness, grid, target)
            for _ in range(min(each, self.placement.starts - len(chosen))):
                apart = [((order - one) / order.new_tensor(APART)).abs().amax(1) > 1 for one in chosen]
                order = order[torch.stack(apart).all(0)]
                if len(order):
                    chosen.append(order[0])
        return torch.stack(chosen)

    def _polished(self, likeness: Likeness, grid: Tensor, target: Tensor) -> Tensor:
        """[K, 4]: the likeliest of ``grid``, moved to where they are likelier still, the likeliest first."""
        unit = target.new_tensor(UNIT)
        order = likeness.unlike(grid, target, noise=SMOOTH).argsort()[:POLISHED]
        search = QuasiNewton(grid[order] / unit, memory=8, first=0.5, longest=3.0)
        for _ in range(POLISHING):
            with torch.enable_grad():
                point = search.propose().requires_grad_()
                unlike = likeness.unlike(self.placement.clamp(point * unit), target, noise=SMOOTH)
                (gradient,) = torch.autograd.grad(unlike.sum(), point)
            search.tell(unlike, gradient)
        placed = self.placement.clamp(search.point * unit)
        return placed[likeness.unlike(placed, target).argsort()]

    def _find(self, target: Tensor) -> tuple[Tensor, Tensor]:
        starts = self.starts(target)
        unit = target.new_tensor(UNIT)
        codes = target.new_zeros(len(starts), self.G.spec.w_dim)
        search = QuasiNewton(torch.cat([codes, starts / unit], 1), memory=40)
        for _ in range(self.placement.trial):
            self._step(search, target, unit)
        placed = search.point[search.value.argsort()[: max(1, len(starts) // 3)], -4:]
        # from the mean again: a code that covers what is beyond the frame would hold the placement where it is
        point = torch.cat([torch.zeros_like(codes[: len(placed)]), placed], 1)
        for _ in range(FRAMED):
            inside = framed(self.placement.clamp(point[:, -4:] * unit), target.shape[-1])
            search = QuasiNewton(point, memory=40)
            for _ in range(-(-self.placement.steps // FRAMED)):
                self._step(search, target, unit, inside)
            point = search.point[search.value.argmin()][None]
        return self.placement.clamp(point[:, -4:] * unit)[0], point[0, :-4]

    def _step(self, search: QuasiNewton, target: Tensor, unit: Tensor, inside: Tensor | None = None) -> None:
        proposed = search.propose()
        parts = proposed.split(self.size)
        weights = [None] * len(parts) if inside is None else inside.split(self.size)
        values, slopes = [], []
        for part, weight in zip(parts, weights, strict=True):
            with torch.enable_grad():
                point = part.detach().requires_grad_()
                loss = self._loss(point[:, :-4], self.placement.clamp(point[:, -4:] * unit), target, weight)
                (gradient,) = torch.autograd.grad(loss.sum(), point)
            values.append(loss.detach())
            slopes.append(gradient)
        search.tell(torch.cat(values), torch.cat(slopes))

    def _loss(self, codes: Tensor, placed: Tensor, target: Tensor, inside: Tensor | None = None) -> Tensor:
        """[N]; ``inside`` [N, 1, R, R]: the weight of each pixel, by default all count."""
        rows = (self.statistics.mean + codes @ self.statistics.axes)[:, None].expand(-1, self.G.spec.num_ws, -1)
        mean = self.statistics.mean.expand(len(codes), 1, -1)  # row 0 places the picture too: not twice
        spec = self.G.spec
        latent = Latent(space="w+", codes=torch.cat([mean, rows[:, 1:]], 1), generator=spec.id, parent=spec.parent_id)
        image = self.G.synthesize(latent, transform=transform_of(placed))
        if inside is None:
            off, prior = multiscale_mse(image, target.expand_as(image), scales=SCALES), PRIOR
        else:
            apart = (image - target) * inside
            off, prior = multiscale_mse(apart, torch.zeros_like(apart), scales=SCALES), FRAMED_PRIOR
            off = off / inside.mean([1, 2, 3]).clamp(min=1e-3)
        return PIXEL * off + prior * codes.square().mean(1)


def framed(placed: Tensor, side: int) -> Tensor:
    """[N, 1, side, side]: which pixels show the middle of the generator's frame where it is ``placed`` [N, 4],
    1 from a pixel within on, else 0."""
    middles = (torch.arange(side).to(placed) + 0.5) / side - 0.5
    y, x = torch.meshgrid(middles, middles, indexing="ij")
    there = transform_of(placed).inverse().apply(torch.stack([x, y], -1).reshape(1, -1, 2).expand(len(placed), -1, -1))
    return ((HALF - there.abs().amax(-1)) * side).clamp(0, 1).view(len(placed), 1, side, side)

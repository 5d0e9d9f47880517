"""``drag``: pull points of a generated picture to where they should be.

Source: Pan et al. 2023, "Drag Your GAN: Interactive Point-based Manipulation on the Generative Image Manifold"; motion
supervision: equation 1, point tracking: equation 2. Departures: positions have fractions of a pixel, in the search of
the tracker too; a step supervises at most the distance that is left; a handle's features are those of a patch
round it, not of one place, and of the last layer, since those of the layer that leads run ahead of the picture;
features are read at their own sampling rate, not resized to the picture.

Convention: points are (x, y) in pixels of the picture, the origin at the top-left corner of the top-left pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from editkit.errors import LatentError, UsageError
from projector.drag_result import DragResult, DragStep, DragStop
from projector.interruption import finished

if TYPE_CHECKING:
    from editkit.feature_map import FeatureMap
    from editkit.latent import Latent
    from editkit.network_generator import NetworkGenerator

Point = tuple[float, float]
OnDragStep = Callable[[DragStep], object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Drag:
    """How to drag; lengths in pixels of the picture.

    Attributes:
        steps: at most.
        lr: of Adam, in units of w.
        layer: whose features lead, see ``NetworkGenerator.features``; None: the one in the middle.
        rows: how many rows of W+ move, from the first; None: all that the features depend on.
        radius: r1, of the patch round a handle that is pushed; None: 3 at 64 pixels, and in proportion.
        search: r2, how far round its last position a handle is looked for; None: 3 at 64 pixels, and in proportion.
        tolerance: a handle this near to its target has arrived.
        hold: lambda, the weight of what the mask keeps.
        patience: steps without coming nearer, after which it ends; 0: never.
    """

    steps: int = 120
    lr: float = 0.03
    layer: int | None = None
    rows: int | None = None
    radius: float | None = None
    search: float | None = None
    tolerance: float = 0.5
    hold: float = 20.0
    patience: int = 40

    def __post_init__(self) -> None:
        if self.steps < 1 or self.patience < 0:
            raise UsageError(f"steps is at least 1, patience at least 0, got {self.steps} and {self.patience}")
        for name in ("lr", "tolerance", "radius", "search"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageError(f"{name} is a number above 0, got {value!r}")
        if not (math.isfinite(self.hold) and self.hold >= 0):
            raise UsageError(f"hold is a number from 0 on, got {self.hold!r}")


def drag(
    G: NetworkGenerator,
    latent: Latent,
    points: Sequence[tuple[Point, Point]],
    *,
    mask: Tensor | None = None,
    options: Drag | None = None,
    on_step: OnDragStep | None = None,
) -> DragResult:
    """Moves what is at each handle to its target, by changing the first rows of W+.

    Args:
        latent: one sample, in w or w+.
        points: pairs (handle, target).
        mask: [R, R], true (or above 0.5) where the picture may change; everywhere by default. What is outside is held,
            not frozen: it changes less.
        options: ``Drag()`` by default.
        on_step: called with a ``DragStep`` after each; returning False ends it, as Ctrl-C does.

    Returns:
        The nearest that was found; ``reached`` says for each point whether that is near enough, ``stop`` why it ended.

    Raises:
        UsageError: no point, one outside the picture, a mask of another size, a layer or rows that are not there, or a
            generator without features.
        LatentError: not one sample in w or w+; GeneratorMismatchError: of another generator.
    """
    options = options or Drag()
    run = _Dragging(G, latent, points, mask, options)
    stop = DragStop.MAX_STEPS
    try:
        while run.index < options.steps:
            if run.arrived:
                break
            if not run.step():
                stop = DragStop.DIVERGED
                break
            if on_step is not None and on_step(run.told()) is False:
                stop = DragStop.CANCELLED
                break
            if options.patience and run.index - run.best_index >= options.patience:
                stop = DragStop.STALLED
                break
    except KeyboardInterrupt:
        stop = DragStop.CANCELLED
    if run.arrived:
        stop = DragStop.REACHED
    best = run.best.to("cpu")

    def picture() -> Tensor:
        with torch.no_grad():
            return G.synthesize(best).cpu()

    image, interrupted = finished(picture, interrupted=stop is DragStop.CANCELLED)
    return DragResult(
        latent=best,
        image=image,
        positions=torch.stack(run.positions).cpu(),
        targets=run.targets[0].cpu(),
        reached=tuple(bool(one) for one in run.best_distances <= options.tolerance),
        best_step=run.best_index,
        stop=DragStop.CANCELLED if interrupted else stop,
        steps=run.index,
    )


class _Dragging:
    """Variables and one step. ``handles`` and ``targets`` [1, P, 2]."""

    def __init__(
        self,
        G: NetworkGenerator,
        latent: Latent,
        points: Sequence[tuple[Point, Point]],
        mask: Tensor | None,
        options: Drag,
    ) -> None:
        self.G, self.options = G, options
        self.start = _checked(G, latent).to(G.device).detach()
        self.layer, rows = _depth(G, options)
        self.last = len(G.feature_rows) - 1
        pairs = _pairs(points, G.spec.resolution).to(G.device)  # [P, 2, 2]
        self.handles, self.targets = pairs[None, :, 0], pairs[None, :, 1]
        codes = self.start.tensor
        self.first = codes[:, :rows].clone().requires_grad_()
        self.rest = codes[:, rows:]
        self.optimizer = torch.optim.Adam([self.first], lr=options.lr)
        unit = G.spec.resolution / 64
        self.patch = _disc(options.radius or 3 * unit, unit).to(G.device)  # [K, 2]
        self.window = _disc(options.search or 3 * unit, unit / 2).to(G.device)  # [M, 2]
        self.mark = _disc(3 * unit, unit).to(G.device)  # [J, 2]
        with torch.no_grad():
            self.before = G.features(self.start, self.layer)
            self.wanted = self._marks(G.features(self.start, self.last), self.handles[:, :, None])  # [1, P, 1, J * C]
        self.held = _outside(mask, G.spec.resolution, self.before)
        self.index = self.best_index = 0
        self.positions = [self.handles[0]]
        self.best, self.best_distances = self.start, self.distances

    @property
    def distances(self) -> Tensor:
        """[P], of handles to their targets."""
        return (self.targets - self.handles)[0].norm(dim=1)

    @property
    def arrived(self) -> bool:
        """Whether every handle has."""
        return bool((self.distances <= self.options.tolerance).all())

    def told(self) -> DragStep:
        """The step just made."""
        return DragStep(
            index=self.index - 1,
            total=self.options.steps,
            latent=self._latent(),
            positions=self.positions[-1].cpu(),
            distance=float(self.distances.max()),
        )

    def step(self) -> bool:
        """Pushes, then looks where the handles are now; False where the loss is not finite."""
        current = self.G.features(self._latent(grad=True), self.layer)
        away = self.targets - self.handles  # [1, P, 2]
        length = away.norm(dim=2, keepdim=True)
        push = away / length.clamp(min=1e-6) * length.clamp(max=self.G.spec.resolution / 64)
        patch = self.handles[:, :, None] + self.patch  # [1, P, K, 2]
        there = current.at(patch + push[:, :, None])
        loss = (there - current.at(patch).detach()).abs().mean([2, 3]).sum()  # equation 1
        if self.held is not None:
            loss = loss + self.options.hold * ((current.values - self.before.values).abs() * self.held).mean()
        if not bool(torch.isfinite(loss)):
            return False
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.index += 1
        with torch.no_grad():
            self._track(self.G.features(self._latent(), self.last))
        self.positions.append(self.handles[0])
        if self.distances.max() < self.best_distances.max():
            self.best, self.best_distances, self.best_index = self._latent(), self.distances, self.index
        return True

    def _track(self, current: FeatureMap) -> None:
        """Equation 2: the place in the window whose features are nearest to the handle's first."""
        places = self.handles[:, :, None] + self.window  # [1, P, M, 2]
        apart = (self._marks(current, places) - self.wanted).abs().mean(3)  # [1, P, M]
        nearest = apart.argmin(2)[:, :, None, None].expand(-1, -1, 1, 2)
        self.handles = places.gather(2, nearest)[:, :, 0].clamp(0, self.G.spec.resolution)

    def _marks(self, current: FeatureMap, places: Tensor) -> Tensor:
        """[1, P, M, 2] to the features round each place, [1, P, M, J * C]."""
        return current.at(places[..., None, :] + self.mark).flatten(3)

    def _latent(self, *, grad: bool = False) -> Latent:
        first = self.first if grad else self.first.detach().clone()
        return replace(self.start, codes=torch.cat([first, self.rest], 1))


def _checked(G: NetworkGenerator, latent: Latent) -> Latent:
    if not hasattr(G, "features"):
        raise UsageError(f"{G.spec.name!r} does not give its features; load it with editkit.load_generator")
    latent = latent.require("w", "w+").check(G.spec).check_finite().as_w_plus()
    if len(latent) != 1:
        raise LatentError(f"one picture is dragged at a time, got {len(latent)} codes; choose one, as latent[0]")
    return latent


def _depth(G: NetworkGenerator, options: Drag) -> tuple[int, int]:
    """The layer, and how many rows move."""
    depths = G.feature_rows
    layer = options.layer
    if layer is None:  # about half of the layers that shape the picture: not the coarsest, nor those of colour alone
        layer = len(depths) // 2
    if not 0 <= layer < len(depths):
        raise UsageError(f"{G.spec.name!r} has features at layers 0 to {len(depths) - 1}, got {layer}")
    rows = depths[layer] if options.rows is None else options.rows
    if not 1 <= rows <= depths[layer]:
        raise UsageError(f"the features of layer {layer} depend on rows 1 to {depths[layer]} of W+, got rows={rows}")
    return layer, rows


def _pairs(points: Sequence[tuple[Point, Point]], resolution: int) -> Tensor:
    try:
        pairs = torch.tensor(points, dtype=torch.float32)
    except (TypeError, ValueError) as problem:
        raise UsageError(f"points are pairs ((x, y), (x, y)) of handle and target, got {points!r}") from problem
    if pairs.ndim != 3 or pairs.shape[1:] != (2, 2) or not len(pairs):
        raise UsageError(f"points are pairs ((x, y), (x, y)) of handle and target, one at least, got {points!r}")
    inside = (pairs >= 0) & (pairs <= resolution)  # false for NaN
    if not bool(inside.all()):
        x, y = pairs[~inside.all(2)][0].tolist()
        raise UsageError(
            f"the point ({x:g}, {y:g}) is outside the picture, which is 0 to {resolution} pixels both ways"
        )
    return pairs


def _outside(mask: Tensor | None, resolution: int, features: FeatureMap) -> Tensor | None:
    """[1, 1, H, W] on the map: 1 where it is held; beyond the picture as at its edge."""
    if mask is None:
        return None
    if mask.shape != (resolution, resolution):
        raise UsageError(f"the mask is [{resolution}, {resolution}] here, as the picture, got {list(mask.shape)}")
    keep = (mask <= 0.5) if mask.is_floating_point() else ~mask.bool()
    height, width = features.values.shape[2:]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    places = torch.stack([x - width / 2, y - height / 2], 2) / features.rate + 0.5  # image widths
    nearest = (places * resolution).floor().long().clamp(0, resolution - 1)
    return keep.float().cpu()[nearest[..., 1], nearest[..., 0]][None, None].to(features.values.device)


def _disc(radius: float, spacing: float) -> Tensor:
    """Offsets [K, 2] on a grid through (0, 0), within ``radius``."""
    reach = int(radius / spacing)
    line = torch.arange(-reach, reach + 1) * spacing
    y, x = torch.meshgrid(line, line, indexing="ij")
    offsets = torch.stack([x, y], 2).reshape(-1, 2)
    return offsets[offsets.norm(dim=1) <= radius + 1e-6]

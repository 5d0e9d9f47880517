"""``drag``: pull points of a generated picture to where they should be.

In the manner of Pan et al. 2023, "Drag Your GAN: Interactive Point-based Manipulation on the Generative Image
Manifold": handles are led in small moves on the features of the generator, and looked for there (its equation 2). What
leads them differs. DragGAN pushes what is at the handle's last place a step further (its equation 1), so that one
step's fault is carried on by the next: on the bundled generator 10 of 18 short moves arrived. Here the features round
the handle in the first picture are a pattern that every step wants at a place on the way, as Ling et al. 2023,
"FreeDrag: Feature Dragging for Reliable Point-based Image Editing", anchor theirs. The code is bound to where it was,
and so is the rest of the picture at low frequency, or all outside a mask.

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
from projector.drag_places import Point, blurred, disc, outside, pairs_of, surroundings
from projector.drag_result import DragResult, DragStep, DragStop
from projector.interruption import finished
from projector.statistics import sample_statistics

if TYPE_CHECKING:
    from editkit.feature_map import FeatureMap
    from editkit.latent import Latent
    from editkit.network_generator import NetworkGenerator

OnDragStep = Callable[[DragStep], object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Drag:
    """How to drag; lengths in pixels of the picture, None: so many at 64 pixels, and in proportion.

    Attributes:
        steps: at most.
        lr: of Adam, in standard deviations of W.
        layer: whose features lead, see ``NetworkGenerator.features``; None: the last.
        rows: how many rows of W+ move, from the first; None: all that the features depend on.
        radius: of the patch round a handle that is led; None: 5.
        search: how far round its last position a handle is looked for; None: 3.
        pace: how far the patch is led a step, unless the way is too long for half of the steps; None: 1/8.
        tolerance: a handle that is seen, and was led, this near to its target has arrived.
        near: weight of the code's distance to where it was; ten times as much where rows go different ways.
        hold: weight of what stays: outside the mask, or, without one, far from the handles' ways at low frequency;
            None: 10 with a mask, 1 without.
        patience: steps without coming nearer, after which it ends; 0: never.
    """

    steps: int = 120
    lr: float = 0.1
    layer: int | None = None
    rows: int | None = None
    radius: float | None = None
    search: float | None = None
    pace: float | None = None
    tolerance: float = 0.5
    near: float = 0.3
    hold: float | None = None
    patience: int = 40

    def __post_init__(self) -> None:
        if self.steps < 1 or self.patience < 0:
            raise UsageError(f"steps is at least 1, patience at least 0, got {self.steps} and {self.patience}")
        for name in ("lr", "tolerance", "radius", "search", "pace"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageError(f"{name} is a number above 0, got {value!r}")
        for name in ("near", "hold"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise UsageError(f"{name} is a number from 0 on, got {value!r}")


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
    """Variables and one step.

    ``handles``, where they are seen, ``anchors``, where they are led, and ``targets`` are [1, P, 2].
    """

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
        pairs = pairs_of(points, G.spec.resolution).to(G.device)  # [P, 2, 2]
        self.handles, self.targets = pairs[None, :, 0], pairs[None, :, 1]
        self.anchors = self.handles
        unit = G.spec.resolution / 64
        self.pace = max(options.pace or unit / 8, float(self.distances.max()) / math.ceil(options.steps / 2))
        self.axes = sample_statistics(G).axes
        self.offset = torch.zeros(1, rows, G.spec.w_dim, device=G.device, requires_grad=True)  # deviations of W
        self.optimizer = torch.optim.Adam([self.offset], lr=options.lr)
        self.patch = disc(options.radius or 5 * unit, unit).to(G.device)  # [K, 2]
        self.window = disc(options.search or 3 * unit, unit / 2).to(G.device)  # [M, 2]
        self.mark = disc(3 * unit, unit).to(G.device)  # [J, 2]
        found = G.features(self._latent(grad=True), self.layer)
        self.scale = found.values.detach().std([0, 2, 3], keepdim=True).clamp(min=1e-8)
        self.blur = 2 * unit * found.rate / G.spec.resolution  # sigma, in samples
        self.current = replace(found, values=found.values / self.scale)  # of where the search is, with its graph
        with torch.no_grad():
            views = self._views(self.current)
            self.patterns = [view.at(self.handles[:, :, None] + self.patch) for view in views]  # [1, P, K, C]
            self.wanted = self._marks(self.current, self.handles[:, :, None])  # [1, P, 1, J * C]
        self.hold = options.hold if options.hold is not None else 1.0 if mask is None else 10.0
        free = surroundings(pairs, G.spec.resolution) if mask is None else mask
        self.held, self.held_view = outside(free, G.spec.resolution, found), 1 if mask is None else 0
        self.before = views[self.held_view].values.detach()
        self.index = self.best_index = 0
        self.positions = [self.handles[0]]
        self.best, self.best_distances = self.start, self.distances

    @property
    def distances(self) -> Tensor:
        """[P], to the targets: from where a handle is seen, or from where it was led if that is farther.

        A tracker that is mistaken early does not make a handle arrive before it was led there.
        """
        return torch.maximum((self.targets - self.handles).norm(dim=2), (self.targets - self.anchors).norm(dim=2))[0]

    @property
    def arrived(self) -> bool:
        """Whether every handle has, in the best that was found."""
        return bool((self.best_distances <= self.options.tolerance).all())

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
        """Leads the patterns on, then looks where the handles are now; False where the loss is not finite."""
        away = self.targets - self.anchors
        length = away.norm(dim=2, keepdim=True)
        self.anchors = self.anchors + away / length.clamp(min=1e-6) * length.clamp(max=self.pace)
        views = self._views(self.current)
        places = self.anchors[:, :, None] + self.patch
        loss = self.offset.new_zeros(())
        for view, pattern in zip(views, self.patterns, strict=True):
            # In the pattern's own variance: a smooth cheek leads as firmly as an eye.
            spread = (pattern - pattern.mean(2, keepdim=True)).square().mean([2, 3]).clamp(min=1e-6)
            loss = loss + ((view.at(places) - pattern).square().mean([2, 3]) / spread).sum()
        shared = self.offset.mean(1, keepdim=True)
        near = shared.square().mean() + 10 * (self.offset - shared).square().mean()
        changed = (views[self.held_view].values - self.before).square() * self.held
        loss = loss + self.options.near * near + self.hold * changed.mean()
        if not bool(torch.isfinite(loss)):
            return False
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.index += 1
        found = self.G.features(self._latent(grad=True), self.layer)
        self.current = replace(found, values=found.values / self.scale)
        with torch.no_grad():
            self._track(self.current)
        self.positions.append(self.handles[0])
        if self.distances.max() < self.best_distances.max():
            self.best, self.best_distances, self.best_index = self._latent(), self.distances, self.index
        return True

    def _views(self, features: FeatureMap) -> list[FeatureMap]:
        """As they are, and blurred: wide slopes to lead along."""
        return [features, replace(features, values=blurred(features.values, self.blur))]

    def _track(self, current: FeatureMap) -> None:
        """DragGAN's equation 2: the place in the window whose features are nearest to the handle's first."""
        places = self.handles[:, :, None] + self.window  # [1, P, M, 2]
        apart = (self._marks(current, places) - self.wanted).abs().mean(3)  # [1, P, M]
        nearest = apart.argmin(2)[:, :, None, None].expand(-1, -1, 1, 2)
        self.handles = places.gather(2, nearest)[:, :, 0].clamp(0, self.G.spec.resolution)

    def _marks(self, current: FeatureMap, places: Tensor) -> Tensor:
        """[1, P, M, 2] to the features round each place, [1, P, M, J * C]."""
        return current.at(places[..., None, :] + self.mark).flatten(3)

    def _latent(self, *, grad: bool = False) -> Latent:
        offset = self.offset if grad else self.offset.detach()
        first, rest = self.start.tensor.tensor_split([offset.shape[1]], dim=1)
        return replace(self.start, codes=torch.cat([first + offset @ self.axes, rest], 1))


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
    if layer is None:
        layer = len(depths) - 1
    if not 0 <= layer < len(depths):
        raise UsageError(f"{G.spec.name!r} has features at layers 0 to {len(depths) - 1}, got {layer}")
    rows = depths[layer] if options.rows is None else options.rows
    if not 1 <= rows <= depths[layer]:
        raise UsageError(f"the features of layer {layer} depend on rows 1 to {depths[layer]} of W+, got rows={rows}")
    return layer, rows

"""GANSpace of a layer: principal components of its activations, carried back to w.

Härkönen et al. 2020 (see ``directions.ganspace``), section 3.2: activations y of a layer at random samples, their
principal components V; the coordinates x = V (y - mean) of each sample; and a linear regression U that carries them
back, minimising |U x - w|^2 over all samples. Column k of U is the edit that goes with component k.

Both passes run over the same seeds and keep sums only: a million samples take the memory of one batch and of the
components (``directions.incremental``, which the paper uses as well).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from directions.ganspace import RANGE
from directions.incremental import IncrementalComponents
from directions.methods import Progress
from editkit.direction import Direction
from editkit.errors import DirectionError, UsageError
from editkit.labels import Classes
from editkit.sampling import sample_w

if TYPE_CHECKING:
    from editkit.generator import Generator

_SPARE = 16  # components carried along beyond those wanted, so that cutting off does not touch these


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerGanSpace:
    """The method for ``directions.find``: components of a layer's activations.

    Attributes:
        layer: of ``Generator.features``: of StyleGAN3 a layer, of StyleGAN2 a block, from 0 on.
        count: how many directions.
        samples: of the seeds ``seed`` and up; up to this layer, each is rendered twice.
        layers: rows of W+ to which the directions are limited; None for all.
        classes: of a conditional generator, see ``editkit.labels``; drawn for each seed by default.
        batch: samples at once; the first must hold more than ``count``.
    """

    layer: int = 2
    count: int = 10
    samples: int = 20_000
    seed: int = 0
    layers: tuple[int, ...] | None = None
    classes: Classes | None = None
    batch: int = 32

    def __post_init__(self) -> None:
        if self.layers is not None:
            object.__setattr__(self, "layers", tuple(self.layers))
        if self.count < 1 or self.batch < 1 or self.samples <= self.count:
            raise DirectionError(
                f"count and batch are at least 1 and there are more samples than components, got {self.count}, "
                f"{self.batch} and {self.samples}"
            )

    def find(self, G: Generator, *, on_progress: Progress | None = None) -> tuple[Direction, ...]:
        """``layer<layer>-0``, ``layer<layer>-1`` ... Raises DirectionError."""
        found = IncrementalComponents(self.count + _SPARE)
        for done, (_, y) in enumerate(self._batches(G), start=1):
            found.update(y)
            if on_progress is not None:
                on_progress(min(done * self.batch, self.samples), 2 * self.samples)
        vectors, deviations = found.vectors[: self.count], found.deviations[: self.count]
        usable = int((deviations > 1e-5 * float(deviations[0])).sum()) if float(deviations[0]) > 0 else 0
        if usable < self.count:
            raise DirectionError(
                f"the activations of layer {self.layer} vary along {usable} components; ask for {usable} or less"
            )
        back, explained = self._regressed(G, found.mean.float(), vectors, on_progress)  # [K, w_dim]
        spare = self.samples - G.spec.w_dim - 1
        # Adjusted for the number of dimensions: with few samples to each, chance alone would explain a component.
        adjusted = 1 - (1 - explained) * (self.samples - 1) / max(1, spare)
        enough = spare > G.spec.w_dim
        linear = [{"in_w": float(value)} if enough else {} for value in adjusted.clamp(0, 1)]
        made = []
        for index in range(self.count):
            whole = Direction(
                name=f"layer{self.layer}-{index}",
                vector=(deviations[index] * back[index]).float(),
                space="w",
                generator=G.spec.id,
                strength=(-RANGE, RANGE),
                unit="one standard deviation along the component of the activations",
                method="ganspace of a layer",
                reference=f"PCA of layer {self.layer}, {self.samples} samples from seed {self.seed}; Härkönen et al. "
                "2020, section 3.2",
                scores={"explained": float(deviations[index].square() / found.total_variance), **linear[index]},
            )
            made.append(whole if self.layers is None else whole.on_layers(self.layers, num_ws=G.spec.num_ws))
        return tuple(made)

    def _batches(self, G: Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """w [B, w_dim] and activations [B, D], batch by batch."""
        read = getattr(G, "features", None)
        if read is None:
            raise DirectionError(f"{G.spec.name!r} does not show its activations; take components of w (GanSpace)")
        stop = self.seed + self.samples
        for start in range(self.seed, stop, self.batch):
            latents = sample_w(G, range(start, min(start + self.batch, stop)), classes=self.classes)
            try:
                with torch.no_grad():
                    values = read(latents, self.layer).values
            except UsageError as problem:
                raise DirectionError(str(problem)) from problem
            yield latents.tensor[:, 0].double().cpu(), values.flatten(1).float().cpu()

    def _regressed(
        self, G: Generator, mean: Tensor, vectors: Tensor, on_progress: Progress | None
    ) -> tuple[Tensor, Tensor]:
        """U^T [K, w_dim], and the share of each component's variance that w explains linearly."""
        width, count = G.spec.w_dim, len(vectors)
        centre = G.w_avg.detach().cpu().double()
        sums, done = torch.zeros(count + width, dtype=torch.float64), 0
        products = torch.zeros(count + width, count + width, dtype=torch.float64)
        for w, y in self._batches(G):
            joint = torch.cat([((y - mean) @ vectors.T).double(), w - centre], dim=1)  # [B, K + w_dim]
            sums += joint.sum(0)
            products += joint.T @ joint
            done += len(w)
            if on_progress is not None:
                on_progress(self.samples + done, 2 * self.samples)
        covariance = products / done - torch.outer(sums / done, sums / done)
        xx, xw, ww = covariance[:count, :count], covariance[:count, count:], covariance[count:, count:]
        back = torch.linalg.solve(xx, xw)  # U^T of section 3.2
        if not bool(torch.isfinite(back).all()) or not bool((back != 0).any(1).all()):
            raise DirectionError("w does not vary with these activations; take another layer")
        # What w says of x, the other way round: x is a function of w, and the share tells how linear it is.
        forward = torch.linalg.lstsq(ww, xw.T, driver="gelsd").solution  # [w_dim, K]
        return back, ((xw * forward.T).sum(1) / xx.diagonal()).clamp(0, 1)

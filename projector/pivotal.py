"""Pivotal tuning: the photo's code stays, the generator's weights move a little so that it renders the photo.

Source: Roich et al. 2021, "Pivotal Tuning for Latent-based Editing of Real Images", sections 3.1 (the pivot), 3.2 (the
tuning, equation 4) and 3.3 (locality regularisation, equations 5 to 7). Departures: the pivot may be in W+; the input
of StyleGAN3 is left as it is, as it only places the picture; the learning rate rises and falls; the best step is kept;
and what is returned is the difference of the weights, in half precision, never a changed generator.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from editkit.errors import UsageError
from editkit.labels import Classes, labels_for_seeds
from editkit.network_generator import NetworkGenerator
from editkit.perceptual import PerceptualDistance
from editkit.search_memory import check_search_fits
from editkit.seeds import normal
from editkit.weight_delta import WeightDelta
from projector.driving import Found, OnStep, drive, means, ramp
from projector.losses import PictureLoss, Weights
from projector.optimise import Optimise
from projector.result import Step, Stop
from projector.statistics import sample_statistics

if TYPE_CHECKING:
    from editkit.generator import Generator
    from editkit.latent import Latent
    from projector.methods import Method

log = logging.getLogger(__name__)

COPIES = 5
"""Of the tuned weights, beside the network: the copy, its gradient, two moments of Adam, and the best so far."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Locality:
    """Keeps the rest of the generator as it was (section 3.3): pictures near the pivot must stay the same.

    Attributes:
        weight: of the term, whose parts are weighted as those of the photo are.
        samples: random codes a step.
        distance: from the pivot to where the pictures are compared, in root mean square distances of W from its mean
            (alpha of equation 5).
    """

    weight: float = 0.1
    samples: int = 1
    distance: float = 1.0

    def __post_init__(self) -> None:
        if not (self.weight > 0 and self.distance > 0 and self.samples >= 1):
            raise UsageError(
                "locality needs a weight and a distance above 0 and at least 1 sample, got "
                f"{self.weight}, {self.distance} and {self.samples}; leave it out to do without"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Pivotal:
    """Settings of the tuning.

    Attributes:
        inner: the method that finds the pivot; W+ by default.
        steps: of the tuning, at most; those of ``inner`` come before.
        lr: peak learning rate of Adam.
        ramp_up, ramp_down: share of the tuning with a rising and a (cosine) falling rate.
        layers: names of the layers that are tuned, as StyleSpace has them; None for all of the synthesis but the input.
        locality: the regulariser, or None.
        weights: of the photo's terms; ``prior`` and ``spread`` are of the latent, which stays.
        budget: seconds for the tuning, or None; that of the pivot's search is in ``inner``.
        patience, tolerance: see ``Optimise``.
    """

    name: ClassVar[str] = "pivotal"

    inner: Method = field(default_factory=Optimise)
    steps: int = 120
    lr: float = 2e-3
    ramp_up: float = 0.1
    ramp_down: float = 0.3
    layers: tuple[str, ...] | None = None
    locality: Locality | None = None
    weights: Weights = field(default_factory=Weights)
    budget: float | None = None
    patience: int = 60
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        if isinstance(self.inner, Pivotal):
            raise UsageError(
                "the pivot is found by a search for a latent; pivotal tuning cannot be its own inner method"
            )
        if self.locality is not None and getattr(self.inner, "space", None) == "s":
            raise UsageError("locality compares codes in W; find the pivot in w or w+, or leave locality out")
        if self.steps < 1:
            raise UsageError(f"steps must be at least 1, got {self.steps}")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise UsageError(f"lr must be a positive number, got {self.lr}")
        if self.budget is not None and not self.budget > 0:
            raise UsageError(f"the budget must be a positive number of seconds, got {self.budget}")
        if self.layers is not None:
            object.__setattr__(self, "layers", (self.layers,) if isinstance(self.layers, str) else tuple(self.layers))

    def find(
        self,
        G: Generator,
        targets: Tensor,
        *,
        perceptual: PerceptualDistance,
        seed: int = 0,
        classes: Classes | None = None,
        on_step: OnStep | None = None,
    ) -> Found:
        """The pivot of ``targets`` [1, 3, R, R] and the weight delta; steps are numbered on from the search's.

        Where the search is cancelled there is no tuning. Raises as ``search`` does, and UsageError for
        several targets, a layer that there is not, or a generator of another making.
        """
        if len(targets) != 1:
            raise UsageError(
                f"weights are tuned for one photo at a time, got {len(targets)}; project_many takes several"
            )
        _network(G).trainable_copy(self.layers)  # refuse unknown layers before the search, not after it

        def tell(step: Step) -> object:
            return None if on_step is None else on_step(during_search(step, more=self.steps))

        pivot = self.inner.find(G, targets, perceptual=perceptual, seed=seed, classes=classes, on_step=tell)
        if pivot.stop is Stop.CANCELLED:
            return pivot
        return self.tune(G, targets, pivot, perceptual=perceptual, seed=seed, classes=classes, on_step=on_step)

    def tune(
        self,
        G: Generator,
        targets: Tensor,
        pivot: Found,
        *,
        perceptual: PerceptualDistance,
        seed: int = 0,
        classes: Classes | None = None,
        on_step: OnStep | None = None,
    ) -> Found:
        """The second half of ``find``, from a pivot that was found before."""
        run = _Tuning(_network(G), targets.to(G.device), pivot, self, perceptual, seed, classes)
        before = len(pivot.history)

        def tell(step: Step) -> object:
            return None if on_step is None else on_step(_during_tuning(step, before=before))

        found = drive(run, steps=self.steps, budget=self.budget, on_step=tell)
        history = [during_search(step, more=self.steps) for step in pivot.history]
        history += [_during_tuning(step, before=before) for step in found.history]
        return replace(
            found,
            latent=pivot.latent,
            transform=pivot.transform,
            tuning=run.delta(),
            history=tuple(history),
            seconds=pivot.seconds + found.seconds,
        )


class _Tuning:
    """The copy that is trained, and one step."""

    GIVE_UP_AFTER = 5  # restarts from the best after a loss that is not finite

    def __init__(
        self,
        G: NetworkGenerator,
        targets: Tensor,
        pivot: Found,
        method: Pivotal,
        perceptual: PerceptualDistance,
        seed: int,
        classes: Classes | None,
    ) -> None:
        self.G, self.method, self.perceptual, self.seed, self.classes = G, method, perceptual, seed, classes
        self.pivot, self.transform = pivot.latent.to(G.device), pivot.transform
        self.copy, self.weights = G.trainable_copy(method.layers)
        around = 0 if method.locality is None else method.locality.samples
        check_search_fits(
            G,
            batch=1 + around,
            perceptual=perceptual.name if method.weights.perceptual else None,
            extra=COPIES * sum(weight.numel() * 4 for weight in self.weights.values()),
        )
        self.loss = PictureLoss(targets, perceptual, method.weights)
        self.spread = 0.0 if method.locality is None else sample_statistics(G, classes=classes).std
        self.index, self.restarts, self.lr_scale = 0, 0, 1.0
        self.best, self.last_gain, self.lowest = math.inf, 0, math.inf
        self.start = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self.best_weights = {name: weight.clone() for name, weight in self.start.items()}
        self._reset_optimizer()

    def _reset_optimizer(self) -> None:
        self.optimizer = torch.optim.Adam(self.weights.values(), betas=(0.9, 0.99))

    def latent(self) -> Latent:
        """The pivot, on the CPU."""
        return self.pivot.to("cpu")

    def delta(self) -> WeightDelta:
        """The best weights, less those of the generator that was given."""
        tensors = {name: (best - self.start[name]).cpu() for name, best in self.best_weights.items()}
        return WeightDelta(tensors=tensors, generator=self.G.spec.id, parent=self.G.spec.parent_id).halved()

    def step(self, progress: float) -> dict[str, float] | None:
        """One update; the losses, or None once the tuning has diverged for good."""
        m = self.method
        for group in self.optimizer.param_groups:
            group["lr"] = m.lr * self.lr_scale * ramp(progress, m.ramp_up, m.ramp_down)
        with torch.enable_grad():
            terms = self.loss(self.copy.synthesize(self.pivot, transform=self.transform))
            if m.locality is not None:
                terms["locality"] = m.locality.weight * self._change_nearby(m.locality)
            total = torch.stack(list(terms.values())).sum(0)  # [1]
            self.index += 1
            if not bool(torch.isfinite(total).all()):
                return self._restart(terms, total)
            self._keep_best(float(total.detach()))
            self.optimizer.zero_grad(set_to_none=True)
            total.sum().backward()
        self.optimizer.step()
        return means(terms, total)

    def _change_nearby(self, locality: Locality) -> Tensor:
        """How far pictures of codes near the pivot are from those of the given generator, [1] (equations 5 to 7)."""
        z = normal((self.seed * 100_003 + self.index) % 2**31, (locality.samples, self.G.spec.z_dim))
        label = labels_for_seeds(self.G.spec, range(locality.samples), self.classes)
        with torch.no_grad():
            w_z = self.G.map(z.to(self.G.device), label=label).tensor
            way = w_z - self.pivot.tensor  # [samples, num_ws, w_dim]
            way = way / way.square().mean([1, 2], keepdim=True).sqrt().clamp(min=1e-8)
            nearby = replace(self.pivot, space="w+", codes=self.pivot.tensor + locality.distance * self.spread * way)
            kept = self.G.synthesize(nearby)
        changed = PictureLoss(kept, self.perceptual, self.method.weights)(self.copy.synthesize(nearby))
        return torch.stack(list(changed.values())).sum(0).mean(0, keepdim=True)

    def _keep_best(self, total: float) -> None:
        if total < self.best:
            self.best = total
            for name, weight in self.weights.items():
                self.best_weights[name].copy_(weight.detach())

    def _restart(self, terms: dict[str, Tensor], total: Tensor) -> dict[str, float] | None:
        self.restarts += 1
        log.warning("the loss is not finite at step %d: back to the best, at half the learning rate", self.index)
        if self.restarts > self.GIVE_UP_AFTER:
            return None
        self.lr_scale *= 0.5
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(self.best_weights[name])
        self._reset_optimizer()
        return means(terms, total)

    def converged(self, progress: float) -> bool:
        """Whether nothing has improved for ``patience`` steps."""
        if self.best < self.lowest * (1 - self.method.tolerance):
            self.last_gain, self.lowest = self.index, self.best
        return self.method.patience > 0 and self.index - self.last_gain >= self.method.patience


def tuned(G: Generator, delta: WeightDelta) -> NetworkGenerator:
    """A new generator with ``delta`` added to its weights; ``G`` stays as it is. See ``WeightDelta.added_to``."""
    return delta.added_to(G)


def _network(G: Generator) -> NetworkGenerator:
    if not isinstance(G, NetworkGenerator):
        raise UsageError(
            f"{G.spec.name!r} is not a network of editkit; its weights cannot be tuned, take another method"
        )
    return G


def during_search(step: Step, *, more: int) -> Step:
    """A step of the pivot's search, ``more`` steps of tuning being to come: the first half of the way."""
    return replace(step, total=step.total + more, progress=step.progress / 2)


def _during_tuning(step: Step, *, before: int) -> Step:
    """A step of the tuning, after ``before`` of the search: the second half."""
    return replace(step, index=step.index + before, total=step.total + before, progress=0.5 + step.progress / 2)

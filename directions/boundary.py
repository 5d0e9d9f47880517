"""Linear boundaries: a support-vector machine between samples with much and with little of something.

Shen et al. 2020, "Interpreting the Latent Space of GANs for Semantic Face Editing" (InterFaceGAN), section 2.2: the
normal of the hyperplane that separates the extremes of a score is the direction along which it changes. In W, in some
rows of W+, and in StyleSpace. Departures: features are standardised before the fit, and the machine is so strongly
regularised that with fewer samples than dimensions it becomes the difference of the two means.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from directions import attributes
from directions.accuracy import balanced, separability, wilson
from directions.attributes import Scorer
from directions.bank import labelled, usual_samples
from directions.calibration import calibrated, known_baseline, reachable
from directions.labels import Labelled
from directions.methods import Progress
from directions.spaces import Space, Where, assembled, features
from editkit.direction import Direction
from editkit.errors import DirectionError
from editkit.labels import Classes

if TYPE_CHECKING:
    from editkit.generator import Generator

log = logging.getLogger(__name__)

LEAST = 8
"""Samples a side that a boundary needs."""
REFERENCE = "Shen et al. 2020, section 2.2"


@dataclass(frozen=True, kw_only=True, slots=True)
class LinearSVM:
    """The method for ``directions.find``: one direction for one scorer, or for labels of your own.

    Attributes:
        scorer: what to look for, or the name of a built-in scorer; or
        labels: latents with numbers from anywhere, see ``directions.labels.Labelled``. With a scorer as well, units are
            calibrated by it; else a unit is one standard deviation of the boundary's own score.
        name: of the direction; the scorer's or the labels' by default.
        space, layers: where, see ``directions.spaces.Where``.
        samples: to label where there are no labels, with a bank that is kept (``directions.bank``); by default those of
            the bank that comes with the package, or 10,000. seed: of the first.
        share: of the samples at each end that are used; the middle says little about the direction.
        margin: instead of ``share``: samples at least this many standard deviations from the mean.
        validation: share of those that is held out for the accuracy.
        regularisation: C of the support-vector machine over standardised features.
        pattern: edit along what changes with the score among samples (covariance times the normal; Haufe et al. 2014,
            equation 6) instead of along the normal.
        classes: of a conditional generator, see ``editkit.labels``.
    """

    scorer: Scorer | str | None = None
    labels: Labelled | None = None
    name: str | None = None
    space: Space = "w"
    layers: tuple[int, ...] | tuple[str, ...] | None = None
    samples: int | None = None
    seed: int = 0
    share: float = 0.1
    margin: float | None = None
    validation: float = 0.3
    regularisation: float = 1e-3
    pattern: bool = False
    classes: Classes | None = None

    def __post_init__(self) -> None:
        if self.scorer is None and self.labels is None:
            raise DirectionError("LinearSVM needs a scorer, or labels")
        if isinstance(self.scorer, str):
            object.__setattr__(self, "scorer", attributes.scorer(self.scorer))
        Where(space=self.space, layers=self.layers)
        if not 0 < self.share <= 0.5:
            raise DirectionError(f"share is above 0 and at most 0.5, got {self.share}")
        if self.margin is not None and not (self.margin > 0 and math.isfinite(self.margin)):
            raise DirectionError(f"margin is a positive number of standard deviations, got {self.margin}")
        if not 0 < self.validation < 1:
            raise DirectionError(f"validation is between 0 and 1, got {self.validation}")
        if not (self.regularisation > 0 and math.isfinite(self.regularisation)):
            raise DirectionError(f"regularisation is a positive number, got {self.regularisation}")

    def find(self, G: Generator, *, on_progress: Progress | None = None) -> tuple[Direction, ...]:
        """One direction; its ``scores`` have held-out accuracy with its 95 % interval, and the balance of classes.

        Raises:
            DirectionError: too few samples at an end, only one side, NaN, or nothing that tells the sides apart.
            GeneratorMismatchError: labels of another generator's latents.
        """
        where = Where(space=self.space, layers=self.layers)
        labels = self.labels or self._labelled(G, on_progress)
        fitted = fit(features(G, labels.latents, where), labels, self, warns=True)
        direction = assembled(
            G,
            fitted.vector,
            where,
            name=self.name or labels.name,
            unit=f"one standard deviation of the boundary's score for {labels.name}",
            method="linear svm",
            reference=f"{labels.source}; {REFERENCE}",
            scores=fitted.scores,
        )
        if not isinstance(self.scorer, Scorer):
            high = reachable(G, direction, classes=self.classes)
            return (replace(direction, strength=(-high, high)),)
        count = min(self._samples(G, self.scorer), 512)
        against = known_baseline(G, [self.scorer], samples=count, seed=self.seed, classes=self.classes)
        return (calibrated(G, direction, self.scorer, against=against, classes=self.classes),)

    def _labelled(self, G: Generator, on_progress: Progress | None) -> Labelled:
        assert isinstance(self.scorer, Scorer)
        bank = labelled(
            G,
            [self.scorer],
            samples=self._samples(G, self.scorer),
            seed=self.seed,
            classes=self.classes,
            on_progress=on_progress,
        )
        return Labelled.from_bank(G, bank, self.scorer.name, classes=self.classes)

    def _samples(self, G: Generator, scorer: Scorer) -> int:
        return usual_samples(G, [scorer], seed=self.seed) if self.samples is None else self.samples


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Boundary:
    """A fitted hyperplane.

    Attributes:
        vector: [D], the edit of one standard deviation of the boundary's score, towards more.
        normal: [D], and offset: the side of x is the sign of normal . x + offset.
        scores: ``accuracy`` on ``held_out`` samples and ``balanced_accuracy`` (mean over the two sides), each with its
            95 % interval (``_low``, ``_high``), ``positive_share`` of the samples used, and ``separability`` (all of
            ``directions.accuracy``).
    """

    vector: Tensor
    normal: Tensor
    offset: float
    scores: dict[str, float]


def fit(x: Tensor, labels: Labelled, options: LinearSVM, *, warns: bool = False) -> Boundary:
    """The hyperplane between the ends of ``labels`` in features ``x`` [N, D], float64. Raises DirectionError.

    ``warns``: of samples that are fewer than dimensions.
    """
    from sklearn.svm import LinearSVC

    chosen, sides = ends(labels, share=options.share, margin=options.margin)
    train, held = _parts(sides, options.validation)
    if warns and len(train) < x.shape[1]:
        log.warning("%s: %d samples to learn from in %d dimensions; label more for a better direction",
                    labels.name, len(train), x.shape[1])  # fmt: skip
    mean, spread = x[chosen][train].mean(0), x[chosen][train].std(0)
    scale = 1 / spread.clamp(min=max(1e-6 * float(spread.max()), 1e-30))
    known = (x - mean) * scale
    machine = LinearSVC(C=options.regularisation, dual=len(train) < x.shape[1], class_weight="balanced", tol=1e-5)
    machine.set_params(max_iter=20_000, random_state=0)
    machine.fit(known[chosen][train].numpy(), sides[train].numpy())
    weights, bias = torch.from_numpy(machine.coef_[0]).double(), float(machine.intercept_[0])
    right = (known[chosen][held] @ weights + bias > 0) == (sides[held] > 0)
    low, high = wilson(int(right.sum()), len(right))
    shares = balanced(*((int(right[sides[held] == s].sum()), int((sides[held] == s).sum())) for s in (1, -1)))
    reach = (known @ weights).std()
    if not float(reach) > 0:
        raise DirectionError(
            f"the boundary for {labels.name!r} is flat: nothing in these latents tells its sides apart"
        )
    normal = scale * weights
    along = (x - mean).T @ ((known @ weights) - (known @ weights).mean()) / (len(x) - 1) if options.pattern else normal
    vector = along * (reach / (along @ normal))  # moves the boundary's score by one standard deviation
    scores = {
        "accuracy": round(float(right.double().mean()), 4),
        "accuracy_low": round(low, 4),
        "accuracy_high": round(high, 4),
        "balanced_accuracy": round(shares[0], 4),
        "balanced_accuracy_low": round(shares[1], 4),
        "balanced_accuracy_high": round(shares[2], 4),
        "separability": round(separability(sides[held], right), 4),
        "held_out": float(len(right)),
        "positive_share": round(float((sides > 0).double().mean()), 4),
    }
    return Boundary(vector=vector, normal=normal, offset=bias - float(mean @ normal), scores=scores)


def ends(labels: Labelled, *, share: float, margin: float | None = None) -> tuple[Tensor, Tensor]:
    """Indices of the samples at both ends, and their sides (+1, -1). Two classes are taken whole.

    Raises DirectionError: fewer than eight on a side.
    """
    values = labels.scores
    if labels.binary:
        above = values == values.max()
        below = ~above
    elif margin is not None:
        away = (values - values.mean()) / values.std()
        above, below = away >= margin, away <= -margin
    else:
        count = max(1, round(len(values) * share))
        order = values.argsort(stable=True)
        above, below = torch.zeros(len(values), dtype=torch.bool), torch.zeros(len(values), dtype=torch.bool)
        above[order[-count:]], below[order[:count]] = True, True
        if values[order[-count]] <= values[order[count - 1]]:  # equal values on both sides belong to neither
            above &= values > values[order[count - 1]]
            below &= values < values[order[-count]]
    few = min(int(above.sum()), int(below.sum()))
    if few < LEAST:
        raise DirectionError(
            f"{int(above.sum())} samples with much {labels.name} and {int(below.sum())} with little were found among "
            f"{len(values)}; at least {LEAST} of each are needed: label more, or take a larger share"
        )
    if few * 10 < max(int(above.sum()), int(below.sum())):
        log.warning("%s: %d samples on one side and %d on the other; the smaller side counts as much as the larger",
                    labels.name, int(above.sum()), int(below.sum()))  # fmt: skip
    chosen = torch.cat([above.nonzero()[:, 0], below.nonzero()[:, 0]])
    sides = torch.cat([torch.ones(int(above.sum())), -torch.ones(int(below.sum()))])
    return chosen, sides


def _parts(sides: Tensor, validation: float) -> tuple[Tensor, Tensor]:
    """Indices to fit on and to hold out, both with both sides in their proportion; the same every time."""
    stream = torch.Generator().manual_seed(0)
    train, held = [], []
    for side in (1.0, -1.0):
        members = (sides == side).nonzero()[:, 0]
        members = members[torch.randperm(len(members), generator=stream)]
        count = max(1, round(len(members) * validation))
        held.append(members[:count])
        train.append(members[count:])
    return torch.cat(train), torch.cat(held)

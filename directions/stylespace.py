"""StyleSpace: single channels of s, and small groups of them, that a score follows.

Wu et al., "StyleSpace Analysis: Disentangled Controls for StyleGAN Image Generation" (CVPR 2021): the channels of s are
the most disentangled of the spaces (section 3), and single ones control single attributes (section 5). Alaluf et al.,
"Third Time's the Charm?" (2022), section 4, find the same of StyleGAN3, whose W and W+ are more entangled.

Here channels are found by correlation with a score over samples. As channels vary together, the best correlated ones
are then moved, and ranked by what that does to the score. Departure: the paper ranks by the mean over the deviation of
some positive examples; a correlation uses all samples. ``directions.style_gradient`` needs no samples with labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from directions import score
from directions.attributes import Scorer
from directions.bank import labelled, usual_samples
from directions.calibration import known_baseline
from directions.channels import Channels, check_counts, grouped, in_units, places, ranged
from directions.labels import Labelled
from directions.methods import Progress
from directions.spaces import Where, features
from editkit.direction import Direction
from editkit.errors import DirectionError
from editkit.labels import Classes

if TYPE_CHECKING:
    from editkit.generator import Generator


@dataclass(frozen=True, kw_only=True, slots=True)
class StyleCorrelation:
    """The method for ``directions.find``: channels of s that go with a score.

    Attributes:
        scorer: what to look for, which also gives the unit; or
        labels: latents with numbers from anywhere, see ``directions.labels.Labelled``.
        channels: in one direction; 1 is a single channel, the most disentangled.
        count: how many directions, of different channels, the best first.
        layers: names of layers of s; None for all but the placement.
        samples: to label where there are no labels, with a bank that is kept; None: those of the shipped bank, or
            10,000; ``seed``: of the first.
        tried: best correlated channels to move, if there is a scorer; at least count x channels are.
        classes: of a conditional generator, see ``editkit.labels``.
    """

    scorer: Scorer | None = None
    labels: Labelled | None = None
    channels: int = 1
    count: int = 1
    layers: tuple[str, ...] | None = None
    samples: int | None = None
    seed: int = 0
    tried: int = 24
    classes: Classes | None = None

    def __post_init__(self) -> None:
        if self.scorer is None and self.labels is None:
            raise DirectionError("StyleCorrelation needs a scorer, or labels")
        check_counts(self.channels, self.count)

    def find(self, G: Generator, *, on_progress: Progress | None = None) -> tuple[Direction, ...]:
        """Single channels are named ``<score>.<layer>.<channel>``, groups for the score. Raises DirectionError."""
        where = Where(space="s", layers=self.layers)
        labels = self.labels or self._labelled(G, on_progress)
        found, deviations = correlated(G, labels, where)
        ranked = _ranked(found, deviations, places(G, self.layers))
        wanted = self.channels * self.count
        if self.scorer is None:
            groups = grouped(G, ranked[:wanted], labels.name, self.channels, "style correlation")
            return tuple(ranged(G, one, self.classes) for one in groups)
        against = known_baseline(G, [self.scorer], classes=self.classes)
        moved = _moved(G, ranked[: max(self.tried, wanted)], self.scorer, against, self.classes)
        groups = grouped(G, moved[:wanted], self.scorer.name, self.channels, "style correlation")
        return in_units(G, groups, self.scorer, against=against, classes=self.classes)

    def _labelled(self, G: Generator, on_progress: Progress | None) -> Labelled:
        assert self.scorer is not None
        samples = usual_samples(G, [self.scorer], seed=self.seed) if self.samples is None else self.samples
        options = {"samples": samples, "seed": self.seed}
        bank = labelled(G, [self.scorer], classes=self.classes, on_progress=on_progress, **options)  # type: ignore[arg-type]
        return Labelled.from_bank(G, bank, self.scorer.name, classes=self.classes)


def correlated(G: Generator, labels: Labelled, where: Where, *, batch: int = 1000) -> tuple[Tensor, Tensor]:
    """Correlation of every channel of s with the labels [D], and its standard deviation [D], float64.

    Styles come and go batch by batch: those of the largest networks have 9,000 channels a sample.
    """
    y = labels.scores.double() - labels.scores.double().mean()
    centre = total = squares = products = torch.zeros(0)
    for start in range(0, len(y), batch):
        x = features(G, labels.latents[start : start + batch], where)
        if not start:
            centre = x.mean(0)  # near the mean, so that sums of squares lose nothing
            total, squares, products = torch.zeros_like(centre), torch.zeros_like(centre), torch.zeros_like(centre)
        x = x - centre
        total, squares = total + x.sum(0), squares + x.square().sum(0)
        products = products + y[start : start + batch] @ x
    lengths = (squares - total.square() / len(y)).clamp(min=0).sqrt()
    still = lengths <= 1e-9 * lengths.max()
    found = torch.where(still, 0.0, products / (lengths * y.norm()).clamp(min=1e-300))
    return found, lengths / max(1, len(y) - 1) ** 0.5


def correlations(x: Tensor, scores: Tensor) -> Tensor:
    """Pearson's correlation of each column of x [N, D] with scores [N]; 0 for a column that does not vary."""
    x, y = x - x.mean(0), (scores - scores.mean()).double()
    lengths = x.norm(dim=0)
    return torch.where(lengths > 1e-9 * lengths.max(), (y @ x) / (lengths * y.norm()).clamp(min=1e-300), 0.0)


def _ranked(weights: Tensor, deviations: Tensor, where: Sequence[tuple[str, int]]) -> Channels:
    order = [i for i in weights.abs().argsort(descending=True, stable=True).tolist() if float(weights[i]) != 0]
    if not order:
        raise DirectionError("no channel of s goes with this score; look in w, or label more samples")
    return Channels(places=tuple(where[i] for i in order), weights=weights[order], deviations=deviations[order])


def _moved(
    G: Generator, ranked: Channels, scorer: Scorer, against: score.Baseline, classes: Classes | None
) -> Channels:
    """Ranked anew by measured effect, which is also the weight: that of 5 standard deviations to either side."""
    effects = []
    for index in range(len(ranked)):
        part = ranked[index : index + 1]
        one = Channels(places=part.places, weights=torch.ones(1, dtype=torch.float64), deviations=part.deviations)
        direction = grouped(G, one, scorer.name, 1, "")[0]
        options = {"against": against, "samples": 8, "seed": 200_000, "strengths": (-5.0, 5.0), "classes": classes}
        effects.append(score.measure(G, direction, [scorer], **options).means[scorer.name])  # type: ignore[arg-type]
    return _ranked(torch.tensor(effects, dtype=torch.float64), ranked.deviations, ranked.places)

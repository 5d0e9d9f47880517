"""Encode, then a short search: ``Refine`` from the encoder's code, with the curvature that its file keeps."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from torch import Tensor

from editkit.labels import Classes
from editkit.perceptual import PerceptualDistance
from projector.driving import Found, OnStep
from projector.encoder import Encode, load_encoder
from projector.losses import Weights
from projector.refine import Refine, RefineSearch
from projector.result import Stop

if TYPE_CHECKING:
    from editkit.generator import Generator
    from editkit.latent import Latent


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodeThenOptimise:
    """Settings of both.

    Attributes:
        steps: of the search, at most.
        iterations: looks of the encoder beforehand; they take no gradient.
        space: "w+" reconstructs best, "w" edits best.
        encoder: file of ``editkit train encoder``; None takes the bundled one that fits the generator.
        weights: of the search's loss.
        budget: seconds for the search, or None.
        mixed_precision: of the search, see ``Refine``.
    """

    name: ClassVar[str] = "encode+optimise"

    steps: int = 60
    iterations: int = 5
    space: Literal["w", "w+"] = "w+"
    encoder: str | None = None
    weights: Weights = field(default_factory=Weights)
    budget: float | None = None
    mixed_precision: bool = False

    def __post_init__(self) -> None:
        if self.encoder is not None:
            object.__setattr__(self, "encoder", os.fspath(self.encoder))
        self._parts()

    def _parts(self) -> tuple[Encode, Refine]:
        """Both methods. Raises UsageError where one of them refuses its settings."""
        encode = Encode(iterations=self.iterations, space=self.space, encoder=self.encoder)
        options = {"budget": self.budget, "mixed_precision": self.mixed_precision}
        return encode, Refine(steps=self.steps, space=self.space, weights=self.weights, **options)  # type: ignore[arg-type]

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
        """Codes for ``targets`` [N, 3, R, R]; the history is the search's. As ``Encode.find`` and ``Refine.find``."""
        encode, refine = self._parts()
        start = encode.find(G, targets, perceptual=perceptual, classes=classes)
        if start.stop is Stop.CANCELLED:
            return start
        _, curvature = load_encoder(G, self.encoder)
        found = refine.find(G, targets, perceptual=perceptual, on_step=on_step, start=start.latent, curvature=curvature)
        return replace(found, seconds=start.seconds + found.seconds)

    def lanes(
        self, G: Generator, *, perceptual: PerceptualDistance, seed: int = 0, classes: Classes | None = None
    ) -> RefineSearch:
        """The same search, for photos that come and go (``projector.project_many``); each is encoded as it enters."""
        encode, refine = self._parts()
        encode.check(G, classes)
        _, curvature = load_encoder(G, self.encoder)
        lanes = refine.lanes(G, perceptual=perceptual, curvature=curvature)

        def start(targets: Tensor) -> Latent:
            found = encode.find(G, targets, perceptual=perceptual)
            if found.stop is Stop.CANCELLED:
                raise KeyboardInterrupt
            return found.latent

        lanes.starting = start
        return lanes

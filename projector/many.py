"""``project_many``: any number of photos through one device, as many at a time as its memory holds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from editkit.errors import EditkitError, UsageError
from editkit.labels import Classes
from editkit.search_memory import check_search_fits, fitting_batch
from projector.auto import Auto, decided
from projector.driving import Found
from projector.encoder import Encode
from projector.lanes import OnLaneStep, work_through
from projector.methods import Method
from projector.pivotal import Pivotal, during_search
from projector.result import ProjectionResult, Step, Stop
from projector.search import check_rgb, judged, target_of

if TYPE_CHECKING:
    from editkit.alignment import AlignedPhoto
    from editkit.generator import Generator
    from editkit.perceptual import PerceptualDistance
    from editkit.photo import Photo

log = logging.getLogger(__name__)

Batch = int | Literal["auto"]
MOST = {"cuda": 64}
"""Photos at a time of ``batch="auto"``, at most, by device; beyond it more memory buys no speed."""
MOST_ELSEWHERE = 8


def project_many(
    G: Generator,
    photos: Iterable[AlignedPhoto | Photo | str | Path],
    method: Method | None = None,
    *,
    batch: Batch = "auto",
    seed: int = 0,
    classes: Classes | None = None,
    perceptual: PerceptualDistance | None = None,
    on_step: OnLaneStep | None = None,
    on_error: Callable[[int, EditkitError], object] | None = None,
) -> Iterator[tuple[int, ProjectionResult]]:
    """Yields (number, result) for each of ``photos``, numbered from 0, as they are done.

    Every photo has its own steps, noise, convergence and budget, and its result is that of ``project`` but for rounding
    (a time budget aside, which a batch spends otherwise). One that is done leaves the batch and the next takes its
    place; ``photos`` is read only as places become free, so that it may be a generator over a large folder.

    Args:
        method: as for ``project``. Of ``Pivotal`` the pivots are found in a batch and tuned one by one. A method of
            another making is run photo by photo.
        batch: photos at a time; "auto" takes as many as fit into 80 % of the free memory, at most 64 on a GPU and 8
            elsewhere.
        seed: as for ``project``.
        classes: as for ``project``.
        perceptual: as for ``project``.
        on_step: called with a photo's number and its ``Step``; returning False ends everything, as Ctrl-C does: those
            under way are yielded with the best so far and ``Stop.CANCELLED``, and no more begin.
        on_error: called with the number and the error of a photo that cannot be read or aligned, which is then left
            out; by default it is raised.

    Raises:
        MemoryBudgetError: ``batch`` photos would not fit; before anything is taken.
        UsageError: as for ``project``, or ``batch`` below 1.
    """
    from editkit.perceptual import best_available

    check_rgb(G)
    perceptual = perceptual or best_available(G.device)
    method, why = decided(method or Auto(), G, perceptual=perceptual, classes=classes)
    size = batch_size(G, method, perceptual, batch)
    run = _Many(G, method, perceptual, seed, classes, on_step, on_error, why)
    return run.results(iter(photos), size)


def batch_size(G: Generator, method: Method, perceptual: PerceptualDistance, batch: Batch) -> int:
    """``batch`` as a number. Raises MemoryBudgetError, UsageError."""
    weights = getattr(getattr(method, "inner", method), "weights", None)
    named = None if weights is not None and not weights.perceptual else perceptual.name
    if batch == "auto":
        size = fitting_batch(G, perceptual=named, most=MOST.get(G.device.type, MOST_ELSEWHERE))
        log.info("%d photos at a time", size)
        return size
    if batch < 1:
        raise UsageError(f"a batch has at least 1 photo, got {batch}")
    check_search_fits(G, batch=batch, perceptual=named)
    return batch


class _Many:
    """One call of ``project_many``."""

    def __init__(
        self,
        G: Generator,
        method: Method,
        perceptual: PerceptualDistance,
        seed: int,
        classes: Classes | None,
        on_step: OnLaneStep | None,
        on_error: Callable[[int, EditkitError], object] | None,
        why: str | None,
    ) -> None:
        self.G, self.method, self.perceptual, self.seed, self.classes = G, method, perceptual, seed, classes
        self.on_step, self.on_error, self.why = on_step, on_error, why
        self.targets: dict[int, Tensor] = {}  # of those under way
        self.cancelled = False

    def results(
        self, photos: Iterator[AlignedPhoto | Photo | str | Path], size: int
    ) -> Iterator[tuple[int, ProjectionResult]]:
        """Everything, in the order in which it is done."""
        for number, found in self._found(self._targets(photos), size):
            target = self.targets.pop(number)
            options: dict[str, Any] = {"perceptual": self.perceptual, "seed": self.seed, "classes": self.classes}
            if isinstance(self.method, Pivotal) and found.stop is not Stop.CANCELLED and found.tuning is None:
                found = self.method.tune(self.G, target, found, on_step=self._told(number), **options)
            self.cancelled |= found.stop is Stop.CANCELLED
            yield number, judged(self.G, self.method, found, target, why=self.why, **options)

    def _targets(self, photos: Iterator[AlignedPhoto | Photo | str | Path]) -> Iterator[tuple[int, Tensor]]:
        for number, photo in enumerate(photos):
            if self.cancelled:
                return
            try:
                target = target_of(self.G, photo).to(self.G.device)
            except EditkitError as error:
                if self.on_error is None:
                    raise
                self.on_error(number, error)
                continue
            self.targets[number] = target
            yield number, target

    def _found(self, targets: Iterator[tuple[int, Tensor]], size: int) -> Iterator[tuple[int, Found]]:
        G, options = self.G, {"perceptual": self.perceptual, "seed": self.seed, "classes": self.classes}
        inner: Any = self.method.inner if isinstance(self.method, Pivotal) else self.method
        if hasattr(inner, "lanes"):
            search = inner.lanes(G, **options)
            tell = None if self.on_step is None else self._tell
            yield from work_through(search, targets, batch=size, steps=inner.steps, budget=inner.budget, on_step=tell)
        elif isinstance(inner, Encode):
            yield from self._encoded(inner, targets, size)
        else:
            for number, target in targets:
                yield number, self.method.find(G, target, on_step=self._told(number), **options)  # type: ignore[arg-type]

    def _encoded(self, method: Encode, targets: Iterator[tuple[int, Tensor]], size: int) -> Iterator[tuple[int, Found]]:
        while group := list(islice(targets, size)):
            found = method.find(
                self.G, torch.cat([target for _, target in group]), perceptual=self.perceptual, classes=self.classes
            )
            for place, (number, _) in enumerate(group):
                yield number, replace(found, latent=found.latent[place], seconds=found.seconds / len(group))

    def _tell(self, number: int, step: Step) -> object:
        if self.on_step is None:
            return None
        return self.on_step(
            number, during_search(step, more=self.method.steps) if isinstance(self.method, Pivotal) else step
        )

    def _told(self, number: int) -> Callable[[Step], object] | None:
        tell = self.on_step
        return None if tell is None else lambda step: tell(number, step)

"""Many photos through one search: those that are done leave the batch, others take their place.

Source of the idea: continuous batching of language models (Yu et al. 2022, "Orca", section 3.2). A batch that is
always full costs less a photo on a GPU, and nobody waits for the slowest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from editkit.latent import Latent
from projector.driving import Found, means
from projector.result import Step, Stop

if TYPE_CHECKING:
    from editkit.transform import Transform

OnLaneStep = Callable[[int, Step], object]


class Lanes(Protocol):
    """A search of several photos that do not interact."""

    index: list[int]
    """Steps that each has taken."""

    def enter(self, targets: Tensor) -> None:
        """Lanes for [K, 3, R, R], after those there are."""
        ...

    def leave(self, lanes: Sequence[int]) -> None:
        """Drop these lanes."""
        ...

    def advance(self, progress: Sequence[float]) -> dict[str, Tensor]:
        """One step of every lane at its progress from 0 to 1; weighted terms and their sum "loss", [N]."""
        ...

    def given_up(self) -> list[bool]:
        """Which have diverged for good."""
        ...

    def settled(self, progress: Sequence[float]) -> list[bool]:
        """Which would change little from here on."""
        ...

    def latent(self) -> Latent:
        """The best of every lane, on the CPU."""
        ...

    def transform(self) -> Transform | None:
        """The best placements, where they are sought."""
        ...


class Together:
    """Lanes that begin and end as one, for ``projector.driving.drive``."""

    def __init__(self, lanes: Lanes, targets: Tensor) -> None:
        self.lanes = lanes
        lanes.enter(targets)

    @property
    def index(self) -> int:
        """Steps taken."""
        return self.lanes.index[0]

    def latent(self) -> Latent:
        """The best so far, on the CPU."""
        return self.lanes.latent()

    def step(self, progress: float) -> dict[str, float] | None:
        """One step of all; mean losses, or None once one of them has diverged for good."""
        terms = self.lanes.advance([progress] * len(self.lanes.index))
        return None if any(self.lanes.given_up()) else means(terms, terms["loss"])

    def converged(self, progress: float) -> bool:
        """Whether every lane has come to rest."""
        return all(self.lanes.settled([progress] * len(self.lanes.index)))


@dataclass(kw_only=True, slots=True)
class _Lane:
    number: int
    history: list[Step] = field(default_factory=list)
    spent: float = 0.0
    first: float = 0.0
    """Seconds in all, and of those the first step, which a budget does not count."""
    stop: Stop | None = None

    def progress(self, steps: int, budget: float | None) -> float:
        taken = len(self.history) / steps
        return taken if budget is None else max(taken, (self.spent - self.first) / budget)


def work_through(
    search: Lanes,
    targets: Iterator[tuple[int, Tensor]],
    *,
    batch: int,
    steps: int,
    budget: float | None,
    on_step: OnLaneStep | None = None,
) -> Iterator[tuple[int, Found]]:
    """Each photo's result as it is done: (number, found), in the order in which they end.

    Args:
        targets: numbers and [1, 3, R, R]; taken from as lanes become free.
        batch: lanes.
        steps: of a photo, at most.
        budget: seconds for a photo, from the end of its first step. A step's time is shared among those in the batch.
        on_step: called with number and step, in which losses are those of the photo; returning False ends everything,
            as Ctrl-C does: those under way come out as the best so far, with ``Stop.CANCELLED``, and no more begin.
    """
    lanes: list[_Lane] = []
    more = True
    while True:
        entering: list[tuple[int, Tensor]] = []
        while more and len(lanes) + len(entering) < batch:
            following = next(targets, None)
            if following is None:
                more = False
            else:
                entering.append(following)
        started = time.monotonic()
        try:
            if entering:
                search.enter(torch.cat([target for _, target in entering]))
                lanes += [_Lane(number=number) for number, _ in entering]
            if not lanes:
                return
            _advance(search, lanes, steps, budget, started, on_step)
        except KeyboardInterrupt:
            more = False
            lanes = lanes[: len(search.index)]  # those that had not entered have not begun
            for lane in lanes:
                lane.stop = Stop.CANCELLED
        done = [place for place, lane in enumerate(lanes) if lane.stop is not None]
        if done:
            latent, transform = search.latent(), search.transform()
            ended = [(place, lanes[place]) for place in done]
            search.leave(done)
            lanes = [lane for lane in lanes if lane.stop is None]
            for place, lane in ended:
                yield (
                    lane.number,
                    Found(
                        latent=latent[place],
                        history=tuple(lane.history),
                        stop=lane.stop or Stop.MAX_STEPS,
                        seconds=lane.spent,
                        transform=None if transform is None else transform[place],
                    ),
                )
        if not more and not lanes:
            return


def _advance(
    search: Lanes, lanes: list[_Lane], steps: int, budget: float | None, started: float, on_step: OnLaneStep | None
) -> None:
    """One step of all; sets ``stop`` of those that end."""
    progress = [min(lane.progress(steps, budget), 1.0) for lane in lanes]
    terms = search.advance(progress)
    names = list(terms)
    columns = torch.stack([terms[name] for name in names]).tolist()
    share = (time.monotonic() - started) / len(lanes)
    given_up, settled = search.given_up(), search.settled(progress)
    shown = None if on_step is None else search.latent()
    cancelled = False
    for place, lane in enumerate(lanes):
        lane.spent += share
        if given_up[place]:
            lane.stop = Stop.DIVERGED
            continue
        losses = {name: columns[row][place] for row, name in enumerate(names)}
        step = Step(index=len(lane.history), total=steps, losses=losses, progress=progress[place])
        lane.history.append(step)
        if len(lane.history) == 1:
            lane.first = lane.spent
        if on_step is not None and shown is not None:
            cancelled |= on_step(lane.number, replace(step, latent=shown[place])) is False
        if settled[place]:
            lane.stop = Stop.CONVERGED
        elif len(lane.history) >= steps:
            lane.stop = Stop.MAX_STEPS
        elif budget is not None and lane.spent - lane.first >= budget:
            lane.stop = Stop.BUDGET
    if cancelled:
        raise KeyboardInterrupt

"""The loop around ``StarterTraining``: log, measure, save, go back after a divergence, stop in time."""

import copy
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from train.starter import StarterTraining
from train.training import DivergedError

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """How good the averaged generator is, taken every ``seconds``: lower is better.

    Attributes:
        name: of the figure; figure: takes it.
        best: called whenever the figure is the lowest so far; journal: JSON lines, one a figure.
    """

    name: str
    figure: Callable[[StarterTraining], float]
    best: Callable[[StarterTraining], None]
    journal: Path
    seconds: float = 600.0

    def lowest(self) -> float:
        """Of the journal; infinite where there is none."""
        if not self.journal.is_file():
            return float("inf")
        rows = [json.loads(line) for line in self.journal.read_text().splitlines()]
        return min((row[self.name] for row in rows), default=float("inf"))

    def take(self, training: StarterTraining) -> None:
        """One figure, into the journal."""
        try:
            lowest, value = self.lowest(), self.figure(training)
        except DivergedError as error:  # the next step finds it too, and goes back
            log.warning("%s: not measured", error)
            return
        log.info("%d images: %s %.2f", training.seen, self.name, value)
        with self.journal.open("a") as journal:
            journal.write(json.dumps({"images": training.seen, self.name: round(value, 3)}) + "\n")
        if value < lowest:
            self.best(training)


def run(
    training: StarterTraining,
    *,
    until_images: int,
    save: Callable[[StarterTraining], None],
    save_every: float = 180.0,
    report_every: int = 50,
    deadline: float | None = None,
    measure: Measure | None = None,
) -> None:
    """Steps until ``until_images`` photographs were shown, or ``deadline`` (``time.monotonic``) has passed.

    ``save`` is called every ``save_every`` seconds and at the end, also on Ctrl-C. A divergence goes back to the last
    saved state, see ``StarterTraining.go_back``. On a GPU losses are looked at every
    ``report_every`` steps, so that the launches do not wait.
    """
    good = copy.deepcopy(training.state_dict())
    started, first = time.monotonic(), training.seen
    last_save = last_measure = started
    sums: dict[str, list[float]] = {}
    waiting: list[dict[str, Tensor]] = []
    look_every = 1 if training.device.type == "cpu" else report_every
    steps = 0
    try:
        while training.seen < until_images and (deadline is None or time.monotonic() < deadline):
            try:
                waiting.append(training.step())
                steps += 1
                if steps % look_every:
                    continue
                for values in map(training.check, waiting):
                    for name, value in values.items():
                        sums.setdefault(name, []).append(value)
                waiting = []
            except DivergedError as error:
                log.warning("%s: back to the last saved state", error)
                waiting = []
                training.go_back(good)
                continue
            now = time.monotonic()
            if steps % report_every == 0:
                rate = (training.seen - first) / (now - started)
                text = " ".join(f"{name} {sum(v) / len(v):.3f}" for name, v in sums.items())
                log.info("%d images, %.1f images/s: %s", training.seen, rate, text)
                sums = {}
            if measure and now - last_measure > measure.seconds:
                measure.take(training)
                last_measure = time.monotonic()
            if now - last_save > save_every:
                save(training)
                good, last_save = copy.deepcopy(training.state_dict()), time.monotonic()
        if measure:
            measure.take(training)
    finally:
        try:
            for report in waiting:
                training.check(report)
        except DivergedError as error:
            log.warning("%s: the last saved state is kept", error)
            training.load_state_dict(good)
        save(training)

"""The loop around ``Training``: data, steps, snapshots, logs; back after a divergence, and a stop in good order."""

from __future__ import annotations

import copy
import logging
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from editkit.errors import TrainingDataError, UsageError
from train.dataset import ImageDataset
from train.dataset_loader import load_batches
from train.label_prior import label_prior
from train.snapshot_metric import METRICS, Metric, kept_best, picture_facts, snapshot_metric, thumbnails
from train.snapshots import Folder, video, write_generator
from train.training import DivergedError, Training

log = logging.getLogger(__name__)

__all__ = ["METRICS", "Ended", "RunOptions", "run", "thumbnails"]
GIVE_UP_AFTER = 5  # rollbacks without a snapshot between them
SAY_EVERY = 30.0  # seconds between lines of progress, where steps are slow


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """How long and how often; none of it changes what a step does.

    Attributes:
        images: to see in all; minutes: of this call, or None.
        snapshot_images: between snapshots, also at the end; snapshot_minutes: or after this long.
        report_steps: between lines of the log; of a run that ends before, one at its end.
        metric: one of ``METRICS``, see ``train.snapshot_metric``; metric_samples: pictures on each side.
        workers: processes that decode, see ``load_batches``.
        video: at the end of each snapshot, where PyAV is installed.
        facts: name, domain, alignment, class_names of the generator, for its file; what the data set tells of domain
            and alignment goes before.
    """

    images: int = 25_000_000
    minutes: float | None = None
    snapshot_images: int = 200_000
    snapshot_minutes: float = 15.0
    report_steps: int = 50
    metric: str = "auto"
    metric_samples: int = 1000
    workers: int | None = None
    video: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise UsageError(f"no metric is called {self.metric!r}; there are {', '.join(METRICS)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """Why a run ended: "done", "time" or "interrupted"; and what was measured last and best, by which metric."""

    why: str
    seen: int
    metric: float | None
    best: float | None
    metric_name: str = "none"


def run(
    training: Training,
    dataset: ImageDataset,
    folder: Folder | None,
    options: RunOptions,
    *,
    say: Callable[[str], object] = log.info,
) -> Ended:
    """Trains until ``options`` end it. ``folder`` is of the leading process; others have None.

    Ctrl-C and SIGTERM end the current step, write a snapshot and return.

    Raises:
        DivergedError: it went wrong again and again from the same snapshot.
        OutputError: a snapshot cannot be written; the one before is as it was.
        TrainingDataError: a picture cannot be read; a snapshot is written first.
    """
    world, c = training.world, training.config
    training.labels = label_prior(dataset, c_dim=c.c_dim)
    facts = dict(options.facts) | picture_facts(dataset)
    metric, measure = "none", None
    if folder is not None:
        metric, measure = snapshot_metric(
            dataset, options.metric, count=options.metric_samples, domain=facts.get("domain"), device=world.device
        )
        facts["best"] = kept_best(facts, folder.best_header(), metric)
    good, failures = copy.deepcopy(training.state_dict()), 0
    started, first = time.monotonic(), training.seen
    deadline = None if options.minutes is None else started + 60 * options.minutes
    last_time, last_seen = started, training.seen
    value: float | None = None
    sums: dict[str, list[float]] = {}
    said, told = started, training.seen

    def progress(*, note: bool) -> None:
        """A line for people, and with ``note`` one of the log, of all steps since the one before."""
        nonlocal sums, said, told
        if folder is None or not sums:  # another process leads, or nothing is new
            return
        means = {name: sum(numbers) / len(numbers) for name, numbers in sums.items()}
        rate = (training.seen - first) / max(time.monotonic() - started, 1e-9)
        if note:
            folder.note({"images": training.seen, "images_per_second": round(rate, 3), **means})
            sums = {}
        if training.seen != told:
            say(_line(training, options, rate, means, deadline))
        said, told = time.monotonic(), training.seen

    def snapshot() -> None:
        nonlocal value, good, last_time, last_seen, failures
        if folder is not None:
            value = _measured(training, metric, measure, folder, facts)
            folder.save(training, facts)
            if options.video:
                video(training, folder.samples / "walk.mp4")
        good, failures = copy.deepcopy(training.state_dict()), 0
        last_time, last_seen = time.monotonic(), training.seen
        world.wait()

    with _signals() as stopped, ExitStack() as decoding:
        batches = decoding.enter_context(_batches(training, dataset, options))
        why = "done"
        while training.seen < options.images:
            if world.any(stopped.is_set()):
                why = "interrupted"
                break
            if world.any(deadline is not None and time.monotonic() >= deadline):
                why = "time"
                break
            pictures, broken = _next(batches)
            if world.any(pictures is None):  # in whichever process: all of them keep what was learnt, and end
                progress(note=True)
                if training.seen != last_seen:
                    snapshot()
                raise broken or TrainingDataError("another process came upon a picture that cannot be read")
            try:
                report = training.step(pictures)
            except DivergedError as error:
                failures += 1
                if failures > GIVE_UP_AFTER:
                    raise DivergedError(
                        f"{error}, {failures} times from the same snapshot; lower the learning rate or raise gamma"
                    ) from error
                log.warning("%s: back to %d images, with other noise", error, good["seen"])
                rollbacks = training.rollbacks + 1
                training.load_state_dict(copy.deepcopy(good))
                training.rollbacks = rollbacks
                sums = {}
                if folder is not None:
                    folder.forget_after(training.seen)
                decoding.close()
                batches = decoding.enter_context(_batches(training, dataset, options))
                continue
            for name, number in report.items() if folder is not None else ():
                sums.setdefault(name, []).append(number)
            noted = (training.seen // c.batch) % options.report_steps == 0
            if noted or time.monotonic() - said >= SAY_EVERY:
                progress(note=noted)
            due = training.seen - last_seen >= options.snapshot_images
            if world.any(due or time.monotonic() - last_time >= 60 * options.snapshot_minutes):
                snapshot()
        progress(note=True)
        if training.seen != last_seen or first == training.seen:
            snapshot()
    return Ended(why=why, seen=training.seen, metric=value, best=facts.get("best"), metric_name=metric)


def _next(batches: Iterator[Any]) -> tuple[Any, TrainingDataError | None]:
    """The next pictures, or why there are none."""
    try:
        return next(batches), None
    except TrainingDataError as error:
        text = str(error).strip().splitlines()[-1]  # a process that decodes sends its whole traceback
        return None, TrainingDataError(text.removeprefix(f"{TrainingDataError.__module__}.TrainingDataError: "))


def _batches(training: Training, dataset: ImageDataset, options: RunOptions) -> closing[Generator[Any, None, None]]:
    batches = load_batches(
        dataset,
        batch=training.config.batch,
        seed=training.config.seed,
        start=training.seen,
        rank=training.world.rank,
        world=training.world.size,
        workers=options.workers,
    )
    return closing(batches)


def _measured(
    training: Training, name: str, measure: Metric | None, folder: Folder, facts: dict[str, Any]
) -> float | None:
    if measure is None:
        return None
    value = measure(training)
    folder.note({"images": training.seen, "metric": value, "metric_name": name})
    if facts.get("best") is None or value < facts["best"]:
        facts["best"] = value
        write_generator(folder.path / "best.safetensors", training, facts | {"metric": value, "metric_name": name})
    return value


def _line(
    training: Training, options: RunOptions, rate: float, means: Mapping[str, float], deadline: float | None
) -> str:
    left = (options.images - training.seen) / max(rate, 1e-9)
    if deadline is not None:
        left = min(left, deadline - time.monotonic())
    now = {**means, "augment/strength": training.strength.strength}  # the mean of what adapts lags behind it
    shown = [name for name in ("loss/G", "loss/D", "penalty/r1", "augment/strength") if name in means]
    numbers = ", ".join(f"{name} {now[name]:.3g}" for name in shown)
    return f"{training.seen:,} images, {rate:.1f} a second, {duration(left)} left: {numbers}"


def duration(seconds: float) -> str:
    """``7 min``, ``3 h 05 min``, ``12 days``."""
    minutes = max(0, round(seconds / 60))
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes < 48 * 60 else f"{minutes // 1440} days"


@contextmanager
def _signals() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets; a second Ctrl-C ends at once. Outside the main thread: none."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return

    def note(number: int, frame: object) -> None:
        if stopped.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stopped.set()
        log.warning("stopping after this step; the snapshot is written first")

    kept = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)

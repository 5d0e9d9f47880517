"""One photo of a folder: whose it is, what is done with it, and its row in the manifest.

Convention: an entry is what ``folder.Summary.photos`` holds; None stands for a photo that another process works on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from editkit.errors import EditkitError, OutputError, PhotoError
from editkit.photo import Photo
from projector.interruption import finished
from projector.job import Job, Outcome, work, write
from projector.manifest import LeaseLostError, Manifest, Record
from projector.photo_folder import adopted, new_folder
from projector.result import Step, Stop
from projector.sources import Source

log = logging.getLogger(__name__)


class Watch(Protocol):
    """Who looks on: a progress display, or nobody."""

    def begin(self, source: Source, index: int, total: int) -> None:
        """A photo is taken up."""
        ...

    def step(self, step: Step) -> object:
        """A step of its search; returning False stops the run."""
        ...

    def end(self, source: Source, entry: dict[str, Any]) -> None:
        """It is done, failed, or was done before: see ``Summary.photos``."""
        ...


class Again:
    """Which photos that have been worked on are worked on again: as things stood when the run began, so that processes
    that share a folder do not do so one after the other."""

    def __init__(self, manifest: Manifest, *, force: bool, failed: bool) -> None:
        self._attempts = {record.path: record.attempts for record in manifest.records()}
        self._force, self._failed = force, failed

    def attempts(self, path: str) -> int:
        """How often the photo had been taken up."""
        return self._attempts.get(path, 0)

    def wanted(self, known: Record) -> bool:
        """Whether a photo that is done or failed is to be done once more, unchanged as it is."""
        return known.attempts == self.attempts(known.path) and (
            self._force or (self._failed and known.status == "failed")
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """What the photos of a run share.

    Attributes:
        out, manifest: where results go. again: which are done anew. watch: who looks on.
        alone: see ``folder.run``. total: how many photos there are.
    """

    out: Path
    manifest: Manifest
    again: Again
    watch: Watch
    alone: bool
    total: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A photo that is ours to work on: the job with its own face, and when it was taken up."""

    job: Job
    index: int
    source: Source
    record: Record
    fingerprint: str
    started: float


def one(job: Job, index: int, source: Source, place: Place) -> dict[str, Any] | None:
    """The entry of a photo; None while another process works on it."""
    claim = claimed(job, index, source, place)
    return claim if claim is None or isinstance(claim, dict) else worked(claim, place)


def claimed(
    job: Job, index: int, source: Source, place: Place, *, quiet: bool = False
) -> Claim | dict[str, Any] | None:
    """The claim on a photo, its entry where nothing is left to do, or None while another process works on it.

    quiet: the watch is not told that the photo is taken up; whoever ends it does.
    """
    job = job if source.face is None else replace(job, face=source.face)
    settings, fingerprint = job.settings(), source.fingerprint
    known = place.manifest.find(source.key)
    if (
        known is not None
        and not place.again.wanted(known)
        and _is_up_to_date(known, place.out, settings, fingerprint, job.files)
    ):
        place.watch.begin(source, index, place.total)
        return entry_of(known, place.out) | {"skipped": True}
    record = place.manifest.begin(
        source.key,
        name=source.name,
        stem=source.stem,
        settings=settings,
        fingerprint=fingerprint,
        was=(known.attempts, known.status) if known else (0, None),
    )
    if record is None:
        return None
    if not quiet:
        place.watch.begin(source, index, place.total)
    claim = Claim(job=job, index=index, source=source, record=record, fingerprint=fingerprint, started=time.monotonic())
    if known is not None and known.status == "pending":
        found = adopted(place.out, record)
        if found is not None:  # its process was killed between the last file and the row
            if quiet:
                place.watch.begin(source, index, place.total)
            return guarded(claim, place, lambda: entry_of(place.manifest.finish(record, **found), place.out))
    return claim


def worked(claim: Claim, place: Place) -> dict[str, Any] | None:
    """The entry of a claimed photo, worked on from beginning to end; None: another process has taken it over."""

    def whole() -> dict[str, Any]:
        outcome = work(claim.job, read(claim), on_step=place.watch.step)
        return written(claim, outcome, place)

    return guarded(claim, place, whole)


def guarded(claim: Claim, place: Place, task: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    """``task()``, or the entry of a failure. Raises OutputError, and what failed of a photo that is alone."""
    try:
        return task()
    except LeaseLostError as lost:
        log.warning("%s", lost)
        return None
    except OutputError:
        raise
    except (
        Exception
    ) as error:  # one bad photo must not end a run of a thousand: its reason is kept, the next one follows
        message = str(error) if isinstance(error, EditkitError) else f"{type(error).__name__}: {error}"
        failed = place.manifest.fail(claim.record, message, seconds=time.monotonic() - claim.started)
        if place.alone:
            raise
        log.debug("%s", claim.source.name, exc_info=error)
        return entry_of(failed, place.out)


def read(claim: Claim) -> Photo:
    """The photo, if its file stays as it is while it is read. Raises PhotoError."""
    photo = claim.source.read()
    if claim.source.fingerprint != claim.fingerprint:
        raise PhotoError(
            f"{claim.source.name} changed while it was read; run the same command again when it is complete"
        )
    return photo


def written(claim: Claim, outcome: Outcome, place: Place) -> dict[str, Any]:
    """Files, row and entry of a photo that is done. Of one that is alone, a first Ctrl-C only says so in them.

    Raises KeyboardInterrupt for one of a folder whose search was cancelled, OutputError, LeaseLostError.
    """
    job, record = claim.job, claim.record
    if outcome.found.stop is Stop.CANCELLED and not place.alone:
        raise KeyboardInterrupt

    def attempt(outcome: Outcome) -> dict[str, Any]:
        with new_folder(place.out, record) as (folder, publish):
            key = (record.settings, record.fingerprint)
            faces = None if claim.source.face is None else claim.source.faces
            report = write(job, outcome, folder, name=record.name, key=key, faces=faces)
            done = place.manifest.finish(
                record,
                seconds=outcome.seconds,
                metrics=report["metrics"],
                stop=outcome.found.stop.value,
                edits=job.edits(),
                publish=publish,
            )
        told = {"metrics": report["metrics"], "advice": report["advice"], "chosen": report["method"].get("chosen")}
        return entry_of(done, place.out) | told

    tries = iter((outcome, replace(outcome, found=replace(outcome.found, stop=Stop.CANCELLED))))
    last = not place.alone or outcome.found.stop is Stop.CANCELLED
    return finished(lambda: attempt(next(tries)), interrupted=last)[0]


def _is_up_to_date(record: Record, out: Path, settings: str, fingerprint: str, files: Sequence[str]) -> bool:
    """Whether nothing would come out otherwise: done and there, or failed."""
    if (record.settings, record.fingerprint) != (settings, fingerprint):
        return False
    if record.status == "failed":
        return True
    there = all((out / record.folder / file).is_file() for file in files)
    return record.status == "done" and record.stop != Stop.CANCELLED.value and there


def entry_of(record: Record, out: Path) -> dict[str, Any]:
    """What ``Summary.photos`` holds of a photo that is done or has failed."""
    entry: dict[str, Any] = {"photo": record.name, "status": record.status, "skipped": False}
    if record.status == "failed":
        return entry | {"error": record.error}
    metrics = {"psnr": record.psnr, "ssim": record.ssim, "perceptual": record.perceptual}
    return entry | {
        "folder": out / record.folder,
        "metrics": metrics,
        "stop": record.stop,
        "seconds": record.seconds,
        "edits": record.edits,
    }

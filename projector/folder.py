"""A photo or a folder of photos into an output folder: what is there to do, what is done, and going on after a stop.

Photos are worked on one after the other; each is one call of ``job.work`` and one of ``job.write``, which share nothing
but the job, so that an engine that spreads them over machines can take the place of the loop in ``run``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from editkit.errors import EditkitError, OutputError, PhotoError
from editkit.files import ensure_folder
from editkit.photo import Photo
from projector.crowd import each_face, write_all_faces
from projector.interruption import finished
from projector.job import Job, Outcome, work, write
from projector.manifest import LeaseLostError, Manifest, Record
from projector.photo_folder import adopted, new_folder
from projector.report import write_page
from projector.result import Step, Stop
from projector.sources import Source

log = logging.getLogger(__name__)

POLL = 0.5
"""Seconds between two looks at what another process is doing."""
PAGE_EVERY = 15.0
"""Seconds, at least, between two writings of the page while the run goes on."""


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


@dataclass(kw_only=True, slots=True)
class Summary:
    """How a run went.

    Attributes:
        photos: an entry a photo: {photo, status, folder, skipped, metrics, stop, seconds, error}, as far as known.
        interrupted: whether Ctrl-C, or the watcher, ended it.
        page: the report page.
    """

    photos: list[dict[str, Any]] = field(default_factory=list)
    interrupted: bool = False
    page: Path | None = None

    @property
    def failed(self) -> int:
        """How many failed."""
        return sum(entry["status"] == "failed" for entry in self.photos)


def run(
    job: Job,
    sources: Sequence[Source],
    out: Path,
    *,
    watch: Watch,
    alone: bool = False,
    force: bool = False,
    retry_failed: bool = False,
    again: Again | None = None,
    page: bool = True,
) -> Summary:
    """Work on every source that is not yet done, and write the manifest and the page.

    Args:
        watch: is told what happens.
        alone: the sources are one photo that the user named, not what was found in a folder: its failure is raised,
            and what Ctrl-C leaves of its search is written, as the best so far, also if it comes after the search.
        force: work also on what is done.
        retry_failed: work also on what failed before with these settings and has not changed since; ``alone`` does.
        again: takes the place of the two, for a part of a run that has begun elsewhere.
        page: write the page.

    Photos that another process works on in the same output folder are waited for: they end up done, failed, or, where
    that process is gone, are done here.

    Raises:
        OutputError: nothing can be written; the run ends, since no other photo could be.
        EditkitError: ``alone`` and the photo failed.
    """
    summary = Summary()
    ensure_folder(out)
    with Manifest(out) as manifest:
        again = again or Again(manifest, force=force, failed=retry_failed or alone)
        shown = time.monotonic()
        try:
            waiting = list(enumerate(sources))
            while waiting:
                held, worked = [], False
                for index, source in each_face(job, waiting):
                    entry = _one(
                        job, source, out, manifest, again, watch=watch, alone=alone, place=(index, len(sources))
                    )
                    if entry is None:
                        held.append((index, source))
                        continue
                    summary.photos.append(entry)
                    watch.end(source, entry)
                    worked = True
                    write_all_faces(job, source, out, manifest, fresh=not entry["skipped"])
                    if (
                        page and time.monotonic() - shown >= PAGE_EVERY
                    ):  # a long run can be looked at, also when it is killed
                        write_page(out, manifest.records())
                        shown = time.monotonic()
                    if entry.get("stop") == Stop.CANCELLED.value and not entry["skipped"]:
                        raise KeyboardInterrupt
                if held and not worked:
                    log.debug("%d photos are worked on by another process", len(held))
                    time.sleep(POLL)
                waiting = held
        except KeyboardInterrupt:
            summary.interrupted = True
        except OutputError:  # the page could not be written either
            raise
        except Exception:
            if page:
                write_page(out, manifest.records())  # it shows the failure
            raise
        summary.page = write_page(out, manifest.records()) if page else None
    return summary


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


def _one(
    job: Job,
    source: Source,
    out: Path,
    manifest: Manifest,
    again: Again,
    *,
    watch: Watch,
    alone: bool,
    place: tuple[int, int],
) -> dict[str, Any] | None:
    """The entry of a photo; None while another process works on it."""
    job = job if source.face is None else replace(job, face=source.face)
    settings, fingerprint = job.settings(), source.fingerprint
    known = manifest.find(source.key)
    if known is not None and not again.wanted(known) and _is_up_to_date(known, out, settings, fingerprint, job.files):
        watch.begin(source, *place)
        return entry_of(known, out) | {"skipped": True}
    record = manifest.begin(
        source.key,
        name=source.name,
        stem=source.stem,
        settings=settings,
        fingerprint=fingerprint,
        was=(known.attempts, known.status) if known else (0, None),
    )
    if record is None:
        return None
    watch.begin(source, *place)
    started = time.monotonic()
    try:
        found = adopted(out, record) if known is not None and known.status == "pending" else None
        if found is not None:  # its process was killed between the last file and the row
            return entry_of(manifest.finish(record, **found), out)
        outcome = work(job, _read(source, fingerprint), on_step=watch.step)
        if outcome.found.stop is Stop.CANCELLED and not alone:
            raise KeyboardInterrupt
        return _written(job, outcome, out, manifest, record, started=started, alone=alone)
    except LeaseLostError as lost:
        log.warning("%s", lost)
        return None
    except OutputError:
        raise
    except (
        Exception
    ) as error:  # one bad photo must not end a run of a thousand: its reason is kept, the next one follows
        message = str(error) if isinstance(error, EditkitError) else f"{type(error).__name__}: {error}"
        failed = manifest.fail(record, message, seconds=time.monotonic() - started)
        if alone:
            raise
        log.debug("%s", source.name, exc_info=error)
        return entry_of(failed, out)


def _read(source: Source, fingerprint: str) -> Photo:
    """The photo, if its file stays as it is while it is read. Raises PhotoError."""
    photo = source.read()
    if source.fingerprint != fingerprint:
        raise PhotoError(f"{source.name} changed while it was read; run the same command again when it is complete")
    return photo


def _written(
    job: Job, outcome: Outcome, out: Path, manifest: Manifest, record: Record, *, started: float, alone: bool
) -> dict[str, Any]:
    """Files, row and entry of a photo that is done. Of one that is ``alone``, a first Ctrl-C only says so in them."""

    def attempt(outcome: Outcome) -> dict[str, Any]:
        with new_folder(out, record) as (place, publish):
            report = write(job, outcome, place, name=record.name, key=(record.settings, record.fingerprint))
            done = manifest.finish(
                record,
                seconds=time.monotonic() - started,
                metrics=report["metrics"],
                stop=outcome.found.stop.value,
                edits=job.edits(),
                publish=publish,
            )
        return entry_of(done, out) | {"metrics": report["metrics"], "advice": report["advice"]}

    tries = iter((outcome, replace(outcome, found=replace(outcome.found, stop=Stop.CANCELLED))))
    last = not alone or outcome.found.stop is Stop.CANCELLED
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

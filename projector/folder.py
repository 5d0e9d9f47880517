"""A photo or a folder of photos into an output folder: what is there to do, what is done, and going on after a stop.

Photos are worked on one after the other; each is one call of ``job.work`` and one of ``job.write``, which share nothing
but the job, so that an engine that spreads them over machines can take the place of the loop in ``run``.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from editkit.alignment_cli import PHOTO_SUFFIXES
from editkit.decoding import is_folder, unreadable
from editkit.errors import EditkitError, OutputError, PhotoError, UsageError
from editkit.files import ensure_folder
from editkit.photo import Photo, read_photo, sample_photo
from projector import manifest as manifests
from projector.interruption import finished
from projector.job import FILES, Job, Outcome, work, write
from projector.manifest import Manifest, Record
from projector.report import write_page
from projector.result import Step, Stop

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A photo to be worked on.

    Attributes:
        path: its file; None is the sample photo.
        name: as people know it: the file's name, or its path within the folder that was given.
    """

    path: Path | None
    name: str

    @property
    def key(self) -> str:
        """What the manifest knows it by."""
        return f"sample:{self.name}" if self.path is None else _printable(self.path.resolve(), "backslashreplace")

    @property
    def stem(self) -> str:
        """The name of its folder, unless that is taken."""
        return Path(self.name).stem

    @property
    def fingerprint(self) -> str:
        """Changes with the file: size and time. Empty where there is none."""
        if self.path is None:
            return "sample"
        try:
            facts = self.path.stat()
        except OSError:  # reading it will say why
            return ""
        return f"{facts.st_size}-{facts.st_mtime_ns}"

    def read(self) -> Photo:
        """Decode it. Raises PhotoError."""
        return sample_photo() if self.path is None else read_photo(self.path)


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


def sources_of(path: Path | None, *, out: Path) -> list[Source]:
    """The sample photo (None), one photo, or every photo in a folder and its sub-folders.

    Raises:
        PhotoError: nothing is there, or nobody may look.
        UsageError: a folder is its own output folder.
    """
    if path is None:
        return [Source(path=None, name="astronaut")]
    if not is_folder(path):
        return [Source(path=path, name=_printable(path.name))]
    if path.resolve() == out.resolve():
        raise UsageError(f"--out {out} is the folder of the photos; choose another, so that they do not mix")
    return [
        Source(path=photo, name=_printable(photo.relative_to(path).as_posix())) for photo in photos_in(path, skip=out)
    ]


def photos_in(folder: Path, *, skip: Path | None = None) -> list[Path]:
    """The pictures in ``folder`` and below it, by suffix, sorted.

    Hidden files, links to folders, ``skip`` and output folders of editkit are left out. Raises PhotoError where there
    is no picture, or the folder cannot be looked into; of one below it a warning says so.
    """
    skipped, found = None if skip is None else skip.resolve(), []

    def closed(error: OSError) -> None:
        if Path(os.fsdecode(error.filename)) == folder:
            raise unreadable(folder, error) from error
        log.warning("%s cannot be looked into: %s", error.filename, error.strerror)

    for place, folders, files in os.walk(folder, onerror=closed):
        here = Path(place)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and (here / name).resolve() != skipped)
        if manifests.NAME in files:
            log.info("%s is an output folder of editkit and is left out", here)
            folders.clear()
            continue
        found += [
            here / name for name in files if not name.startswith(".") and Path(name).suffix.lower() in PHOTO_SUFFIXES
        ]
    if not found:
        raise PhotoError(f"{folder} holds no pictures ({', '.join(sorted(PHOTO_SUFFIXES))})")
    return sorted(found)


def run(
    job: Job, sources: Sequence[Source], out: Path, *, watch: Watch, alone: bool = False, force: bool = False
) -> Summary:
    """Work on every source that is not yet done, and write the manifest and the page.

    Args:
        watch: is told what happens.
        alone: the sources are one photo that the user named, not what was found in a folder: its failure is raised,
            and what Ctrl-C leaves of its search is written, as the best so far, also if it comes after the search.
        force: work also on what is done.

    Raises:
        OutputError: nothing can be written; the run ends, since no other photo could be.
        EditkitError: ``alone`` and the photo failed.
    """
    summary = Summary()
    ensure_folder(out)
    with Manifest(out) as manifest:
        try:
            for index, source in enumerate(sources):
                watch.begin(source, index, len(sources))
                entry = _one(job, source, out, manifest, watch=watch, alone=alone, force=force)
                summary.photos.append(entry)
                watch.end(source, entry)
                summary.interrupted = entry.get("stop") == Stop.CANCELLED.value
        except KeyboardInterrupt:
            summary.interrupted = True
        except OutputError:  # the page could not be written either
            raise
        except Exception:
            write_page(out, manifest.records())  # it shows the failure
            raise
        summary.page = write_page(out, manifest.records())
    return summary


def _one(
    job: Job, source: Source, out: Path, manifest: Manifest, *, watch: Watch, alone: bool, force: bool
) -> dict[str, Any]:
    settings, fingerprint = job.settings(), source.fingerprint
    known = manifest.find(source.key)
    if known is not None and not force and _is_up_to_date(known, out, settings, fingerprint):
        return _entry(known, out) | {"skipped": True}
    record = manifest.begin(source.key, name=source.name, stem=source.stem, settings=settings, fingerprint=fingerprint)
    started = time.monotonic()
    try:
        outcome = work(job, source.read(), on_step=watch.step)
        if outcome.found.stop is Stop.CANCELLED and not alone:
            raise KeyboardInterrupt
        return _written(job, outcome, out, manifest, record, started=started, alone=alone)
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
        return _entry(failed, out)


def _written(
    job: Job, outcome: Outcome, out: Path, manifest: Manifest, record: Record, *, started: float, alone: bool
) -> dict[str, Any]:
    """Files, row and entry of a photo that is done. Of one that is ``alone``, a first Ctrl-C only says so in them."""

    def attempt(outcome: Outcome) -> dict[str, Any]:
        report = write(job, outcome, out / record.folder, name=record.name)
        done = manifest.finish(
            record,
            seconds=time.monotonic() - started,
            metrics=report["metrics"],
            stop=outcome.found.stop.value,
            edits=job.edits(),
        )
        return _entry(done, out) | {"metrics": report["metrics"], "advice": report["advice"]}

    tries = iter((outcome, replace(outcome, found=replace(outcome.found, stop=Stop.CANCELLED))))
    last = not alone or outcome.found.stop is Stop.CANCELLED
    return finished(lambda: attempt(next(tries)), interrupted=last)[0]


def _is_up_to_date(record: Record, out: Path, settings: str, fingerprint: str) -> bool:
    return (
        record.status == "done"
        and record.stop != Stop.CANCELLED.value
        and (record.settings, record.fingerprint) == (settings, fingerprint)
        and all((out / record.folder / file).is_file() for file in FILES)
    )


def _printable(path: str | Path, errors: str = "replace") -> str:
    """A name as valid text: on some file systems it may hold bytes that are none."""
    return os.fsencode(path).decode("utf-8", errors)


def _entry(record: Record, out: Path) -> dict[str, Any]:
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

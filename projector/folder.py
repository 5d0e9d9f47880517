"""A photo or a folder of photos into an output folder: what is there to do, what is done, and going on after a stop.

Photos are worked on one after the other (``folder_entry.one``) or in a batch (``folder_batch``); an engine that spreads
them over machines can take the place of the loop in ``run``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editkit.errors import OutputError
from editkit.files import ensure_folder
from projector.crowd import each_face, write_all_faces
from projector.folder_batch import batched
from projector.folder_entry import Again, Place, Watch, one
from projector.job import Job
from projector.manifest import Manifest
from projector.report import write_page
from projector.result import Stop
from projector.sources import Source

if TYPE_CHECKING:
    from projector.many import Batch

log = logging.getLogger(__name__)

POLL = 0.5
"""Seconds between two looks at what another process is doing."""
PAGE_EVERY = 15.0
"""Seconds, at least, between two writings of the page while the run goes on."""


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
    batch: Batch = 1,
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
        batch: photos at a time, or "auto", see ``projector.project_many``; the results are those of one at a time.
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
                place = Place(out=out, manifest=manifest, again=again, watch=watch, alone=alone, total=len(sources))
                if batch == 1:
                    ended: Iterable[tuple[int, Source, dict[str, Any] | None]] = (
                        (index, source, one(job, index, source, place))
                        for index, source in each_face(job, waiting, out, manifest)
                    )
                else:
                    ended = batched(job, waiting, place, batch=batch)
                for index, source, entry in ended:
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

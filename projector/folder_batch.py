"""Photos of a folder, several at a time on one device: ``project_many`` between the claims and the files.

Each photo keeps its row, its lease, its folder and its failure. What comes out is what one at a time would give.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from editkit.alignment import AlignedPhoto
from editkit.errors import OutputError
from projector.crowd import each_face
from projector.folder_entry import Claim, Place, claimed, guarded, read, worked, written
from projector.job import Job, aligned, edited
from projector.many import Batch, project_many
from projector.result import ProjectionResult
from projector.sources import Source

log = logging.getLogger(__name__)

Ended = tuple[int, Source, dict[str, Any] | None]


def batched(job: Job, waiting: Iterable[tuple[int, Source]], place: Place, *, batch: Batch) -> Iterator[Ended]:
    """Yields (index, source, entry) as photos end; the entry is None while another process works on the photo.

    Where a batch breaks, for memory that was free before or a fault of a driver, its photos and those after them are
    worked on one at a time. Raises MemoryBudgetError, UsageError: as ``project_many``, before the first photo.
    """
    sources = iter(each_face(job, waiting, place.out, place.manifest))
    ended: deque[Ended] = deque()
    under_way: dict[int, tuple[Claim, AlignedPhoto]] = {}

    def faces() -> Iterator[AlignedPhoto]:
        number = 0
        for index, source in sources:
            claim = claimed(job, index, source, place, quiet=True)
            if claim is None or isinstance(claim, dict):
                ended.append((index, source, claim))
                continue
            face = _aligned(claim, place, ended)
            if face is not None:
                under_way[number] = (claim, face)
                number += 1
                yield face

    options = {"seed": job.seed, "classes": job.classes, "perceptual": job.perceptual}
    results = project_many(
        job.generator,
        faces(),
        job.method,
        batch=batch,
        on_step=lambda number, step: place.watch.step(step),
        **options,  # type: ignore[arg-type]
    )
    while True:
        try:
            number, found = next(results)
        except StopIteration:
            break
        except OutputError:  # no other photo could be written either
            raise
        except Exception as error:
            log.warning("the batch broke (%s: %s): going on one photo at a time", type(error).__name__, error)
            yield from ended
            ended.clear()
            yield from _one_by_one(job, [claim for claim, _ in under_way.values()], sources, place)
            return
        yield from ended
        ended.clear()
        claim, face = under_way.pop(number)
        place.watch.begin(claim.source, claim.index, place.total)
        yield claim.index, claim.source, _finished(claim, face, found, place)
    yield from ended


def _aligned(claim: Claim, place: Place, ended: deque[Ended]) -> AlignedPhoto | None:
    """The crop, or None where the photo has failed, which is then in ``ended``."""
    made: list[AlignedPhoto] = []

    def task() -> dict[str, Any]:
        made.append(aligned(claim.job, read(claim)))
        return {}

    entry = guarded(claim, place, task)
    if made:
        return made[0]
    place.watch.begin(claim.source, claim.index, place.total)
    ended.append((claim.index, claim.source, entry))
    return None


def _finished(claim: Claim, face: AlignedPhoto, found: ProjectionResult, place: Place) -> dict[str, Any] | None:
    return guarded(claim, place, lambda: written(claim, edited(claim.job, face, found, before=found.seconds), place))


def _one_by_one(job: Job, claims: list[Claim], sources: Iterator[tuple[int, Source]], place: Place) -> Iterator[Ended]:
    for claim in claims:
        place.watch.begin(claim.source, claim.index, place.total)
        yield claim.index, claim.source, worked(claim, place)
    for index, source in sources:
        own = claimed(job, index, source, place)
        yield index, source, own if own is None or isinstance(own, dict) else worked(own, place)

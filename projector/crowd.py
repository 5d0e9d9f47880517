"""Photos of several people: every face is an entry of its own, and one picture holds all of them, edited.

Convention: face 0, the largest, has the photo's own row and folder; the others have the key ``PHOTO#face2`` and so on
and the folder ``NAME-face2``. ``pasted_all.png`` lies in the folder of face 0. It is made of the 8-bit pictures of the
faces' folders, so that it does not matter which process, or which run, did each of them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from editkit.alignment import Alignment
from editkit.edited_picture import write_edited
from editkit.errors import EditkitError, OutputError
from editkit.faces import find_faces
from editkit.latent_file import NAME, read_latent
from editkit.photo import read_photo
from editkit.several_faces import paste_faces
from projector.manifest import ALL_FACES, Manifest

if TYPE_CHECKING:
    from projector.job import Job
    from projector.sources import Source

log = logging.getLogger(__name__)


def each_face(
    job: Job, waiting: Iterable[tuple[int, Source]], out: Path, manifest: Manifest
) -> Iterator[tuple[int, Source]]:
    """Sources with their index, where the job wants every face one for each of them; a photo is looked at when it is
    reached, unless its faces were counted before. One that cannot be read, or shows no face, is passed on as it is:
    working on it says why."""
    for index, source in waiting:
        if job.face != "all" or source.face is not None:
            yield index, source
            continue
        try:
            count = _counted_before(source, out, manifest) or max(1, len(find_faces(source.read().image)))
        except EditkitError as error:
            log.debug("%s: %s", source.name, error)
            count = 1
        for face in range(count):
            yield index, source.of_face(face, count)


def _counted_before(source: Source, out: Path, manifest: Manifest) -> int | None:
    """How many faces of this very file were found when the first was done: its report says so. None: look again."""
    row = manifest.find(source.key)
    if row is None or row.status != "done" or row.fingerprint != source.fingerprint:
        return None
    try:
        report = json.loads((out / row.folder / "report.json").read_text("utf-8"))
        return int(report["faces"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_all_faces(job: Job, source: Source, out: Path, manifest: Manifest, *, fresh: bool) -> Path | None:
    """Write ``pasted_all.png`` once no face of the photo is left to do; None: not yet, not needed, or one face only.

    fresh: the face that ``source`` stands for was just done, so that an older picture does not count.
    Raises OutputError.
    """
    if source.faces < 2:
        return None
    rows = [manifest.find(source.of_face(face, source.faces).key) for face in range(source.faces)]
    if rows[0] is None or any(row is None or row.status == "pending" for row in rows):
        return None
    target = out / rows[0].folder / ALL_FACES
    folders = [out / row.folder for row in rows if row is not None and row.status == "done"]
    if not folders or (target.is_file() and not fresh):
        return None
    target.parent.mkdir(exist_ok=True)  # face 0 may have failed
    try:
        _write(job, source, folders, target)
    except OutputError:
        raise
    except EditkitError as error:  # the photo changed or went away; its faces are done all the same
        log.warning("%s could not be written: %s", target, error)
        return None
    return target


def _write(job: Job, source: Source, folders: Sequence[Path], target: Path) -> None:
    photo = source.read()
    faces = [Alignment.from_dict(read_latent(folder / NAME).alignment or {}).crop(photo) for folder in folders]
    edited, inverted = (
        [read_photo(folder / f"{name}.png").image for folder in folders] for name in ("edited", "inverted")
    )
    whole = paste_faces(faces, edited, inverted=inverted if job.paste_way == "difference" else None)
    write_edited(target, whole, job.recipe, metadata=job.metadata, photo=photo)

"""Which photos there are to work on: the sample, one file, or a folder and what lies below it."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path

from editkit.alignment_cli import PHOTO_SUFFIXES
from editkit.decoding import is_folder, unreadable
from editkit.errors import PhotoError, UsageError
from editkit.files import is_special
from editkit.photo import Photo, read_photo, sample_photo
from projector import manifest as manifests

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A photo to be worked on.

    Attributes:
        path: its file; None is the sample photo.
        name: as people know it: the file's name, or its path within the folder that was given.
        face, faces: which face of it, of how many, where every one is worked on; see ``projector.crowd``.
    """

    path: Path | None
    name: str
    face: int | None = None
    faces: int = 1

    def of_face(self, face: int, faces: int) -> Source:
        """One face of it, 0 being the largest, of so many."""
        name = self.photo + (f", face {face + 1}" if face else "")
        return replace(self, name=name, face=face, faces=faces)

    @property
    def photo(self) -> str:
        """The name of the photo, whichever face of it is meant."""
        return self.name.removesuffix(f", face {self.face + 1}") if self.face else self.name

    @property
    def key(self) -> str:
        """What the manifest knows it by."""
        own = f"sample:{self.photo}" if self.path is None else _printable(self.path.resolve(), "backslashreplace")
        return f"{own}#face{self.face + 1}" if self.face else own

    @property
    def stem(self) -> str:
        """The name of its folder, unless that is taken."""
        own = Path(self.photo).stem
        return f"{own}-face{self.face + 1}" if self.face else own

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

    Hidden files, links to folders, ``skip`` and output folders of editkit are left out, and so are named pipes and
    devices. Raises PhotoError where there is no picture, or the folder cannot be looked into; of one below it a
    warning says so.
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
            here / name
            for name in files
            if not name.startswith(".")
            and Path(name).suffix.lower() in PHOTO_SUFFIXES
            and not _is_passed_over(here / name)
        ]
    if not found:
        raise PhotoError(f"{folder} holds no pictures ({', '.join(sorted(PHOTO_SUFFIXES))})")
    return sorted(found)


def _is_passed_over(path: Path) -> bool:
    if not is_special(path):
        return False
    log.warning("%s is a named pipe or a device, not a file, and is left out", path)
    return True


def _printable(path: str | Path, errors: str = "replace") -> str:
    """A name as valid text: on some file systems it may hold bytes that are none."""
    return os.fsencode(path).decode("utf-8", errors)

"""A visitor's library: what was found is kept, in the layout that a folder projection writes, and opens at once.

Convention: ``library`` in the user's folder, below it a folder a user who signs in; in it manifest.sqlite, and for each
photo the files of ``projector.job`` beside the photo itself, without its EXIF (photo.png). The manifest's key is
``page:<hash of the file>:<face>``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from editkit import latent_file, weight_delta
from editkit.alignment import Alignment
from editkit.errors import EditkitError, OutputError, PhotoError
from editkit.files import ensure_folder, user_folder
from editkit.page.desk import Piece
from editkit.photo import Photo, read_photo, write_image
from editkit.weight_delta import WeightDelta
from projector.job import Job, Outcome, write
from projector.manifest import Manifest, Record
from projector.photo_folder import new_folder
from projector.result import Stop

PHOTO = "photo.png"
STOPPED = "stopped early"


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """One entry: its key, what it is called, its folder, and how near it came."""

    key: str
    name: str
    folder: Path
    psnr: float | None
    when: str
    generator: str
    stopped: bool = False  # the visitor ended its search

    @property
    def title(self) -> str:
        """What stands below its picture."""
        return f"{self.name} ({STOPPED})" if self.stopped else self.name

    @property
    def thumbnail(self) -> str:
        """A picture of it."""
        return str(self.folder / "aligned.png")


class Library:
    """Entries in one folder. Every call opens the manifest for itself, so that threads do not share a connection."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()

    @classmethod
    def of(cls, user: str | None) -> Library:
        """The library of this machine's user (None), or of one who signs in."""
        root = user_folder() / "library"
        if user is None:
            return cls(root / "own")
        return cls(root / hashlib.sha256(user.encode()).hexdigest()[:24])

    @staticmethod
    def key(photo_hash: str, face: int) -> str:
        """What an inversion of a photo's face is known by."""
        return f"page:{photo_hash}:{face}"

    def find(self, key: str, generator: str) -> Kept | None:
        """The entry of a key that was found with this generator, or None."""
        return next((one for one in self.entries(generator=generator) if one.key == f"{key}:{generator[:12]}"), None)

    def entries(self, *, search: str = "", generator: str | None = None) -> list[Kept]:
        """What is there, the latest first; of those whose name holds ``search``."""
        if not (self.folder / "manifest.sqlite").is_file():
            return []
        with self._lock, Manifest(self.folder) as manifest:
            records = manifest.records()
        words = search.casefold().split()
        found = [
            self._kept(record)
            for record in records
            if record.status == "done"
            and all(word in record.name.casefold() for word in words)
            and (generator is None or record.settings == generator)
            and (self.folder / record.folder / latent_file.NAME).is_file()
        ]
        return sorted(found, key=lambda one: one.when, reverse=True)

    def keep(self, key: str, name: str, job: Job, outcome: Outcome) -> Kept:
        """Write an inversion and its photo. Raises OutputError."""
        ensure_folder(self.folder)
        with suppress(OSError):
            self.folder.chmod(0o700)
        generator = job.generator.spec.id
        full = f"{key}:{generator[:12]}"
        with self._lock, Manifest(self.folder) as manifest:
            record = manifest.begin(full, name=name, stem=hashlib.sha256(full.encode()).hexdigest()[:16],
                                    settings=generator, fingerprint=key)  # fmt: skip
            if record is None:
                raise EditkitError("another window is just keeping this photo")
            with new_folder(self.folder, record) as (place, publish):
                report = write(job, outcome, place, name=name, key=(record.settings, record.fingerprint))
                write_image(place / PHOTO, outcome.face.photo.image, note=False, alpha=outcome.face.photo.alpha)

                def all_of_it() -> None:
                    if (self.folder / record.folder).exists():
                        os.replace(place / PHOTO, self.folder / record.folder / PHOTO)
                    publish()

                done = manifest.finish(
                    record,
                    seconds=outcome.seconds,
                    metrics=report["metrics"],
                    stop=outcome.found.stop.value,
                    edits=job.edits(),
                    publish=all_of_it,
                )
        return self._kept(done)

    def open(self, kept: Kept) -> Piece:
        """The piece of an entry, its photo with it. Raises EditkitError where its files are gone or damaged."""
        held = latent_file.read_latent(kept.folder / latent_file.NAME)
        picture = read_photo(kept.folder / "inverted.png").image
        face = None
        if held.alignment is not None:
            with suppress(PhotoError):
                face = Alignment.from_dict(held.alignment).crop(self.photo(kept))
        tuning = kept.folder / weight_delta.NAME
        near = [] if kept.psnr is None else [f"{kept.psnr:.1f} dB"]
        told = ", ".join([*near, *([STOPPED] if kept.stopped else []), "from your library"])
        return Piece(
            name=kept.name, latent=held.latent, transform=held.transform, picture=picture, face=face,
            alignment=held.alignment, told=told, tuning=WeightDelta.load(tuning) if tuning.is_file() else None,
        )  # fmt: skip

    @staticmethod
    def photo(kept: Kept) -> Photo:
        """The photo as it was dropped, without its EXIF."""
        return read_photo(kept.folder / PHOTO)

    def delete(self, key: str) -> bool:
        """Remove an entry's files and its row, and say whether there was one.

        Raises OutputError where its folder is still there; the row then stays too.
        """
        with self._lock, Manifest(self.folder) as manifest:
            record = manifest.find(key)
            if record is None:
                return False
            folder = self.folder / record.folder
            shutil.rmtree(folder, ignore_errors=True)
            if folder.exists():
                raise OutputError(
                    f"“{record.name}” could not be deleted whole: {record.folder} is still in the library's folder; "
                    "close what else has its files open, see that you may write there, and delete it again"
                )
            manifest.forget(key)
        return True

    def _kept(self, record: Record) -> Kept:
        return Kept(key=record.path, name=record.name, folder=self.folder / record.folder, psnr=record.psnr,
                    when=record.updated, generator=record.settings,
                    stopped=record.stop == Stop.CANCELLED.value)  # fmt: skip

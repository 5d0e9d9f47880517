"""Where pictures come from: a folder or a zip, listed in a fixed order and read by name. Nothing is ever extracted.

Convention: a name is the path below the folder, or inside the zip, with "/" between its parts; names are sorted.
"""

import os
import stat
import threading
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from editkit.errors import TrainingDataError
from editkit.files import is_special

SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".tif",
        ".tiff",
        ".bmp",
        ".gif",
        ".heic",
        ".heif",
        ".avif",
        ".jp2",
        ".tga",
        ".pgm",
        ".ppm",
        ".pbm",
        ".pnm",
    ]
)
"""What counts as a picture."""
MAX_FILE = 2**30  # bytes of one file, unpacked
# A stored picture hardly shrinks in a zip; DEFLATE reaches 1032 : 1 on nothing but zeros.
MAX_RATIO, RATIO_FROM = 100, 2**26
_UNREADABLE = (OSError, EOFError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error)


class Source:
    """A folder or a zip of pictures. Picklable: another process opens the zip again. ``special``: what is called like
    a picture in a folder and is a named pipe, a socket or a device; it is never opened.

    Raises TrainingDataError: missing, neither folder nor zip, damaged, no pictures in it, or a zip with names that
    lead outside of it, links, passwords or files that unpack to absurd sizes.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.is_zip = not self.path.is_dir()
        self._local: _Opened | None = None
        listed = self._zip_names() if self.is_zip else _folder_names(self.path)
        special = frozenset(() if self.is_zip else (name for name in listed if is_special(self.path / name)))
        names = [name for name in listed if name not in special]
        self.names = tuple(sorted(name for name in set(names) if PurePosixPath(name).suffix.lower() in SUFFIXES))
        self.others = frozenset(names) - frozenset(self.names)
        self.special = tuple(sorted(name for name in special if PurePosixPath(name).suffix.lower() in SUFFIXES))
        if not self.names:
            raise TrainingDataError(
                f"{self.path} holds no pictures ({len(names)} other files); "
                "give a folder or zip of JPEG, PNG, WebP, ..."
            )

    def read(self, name: str) -> bytes:
        """The content of one file. Raises TrainingDataError: missing, unreadable, damaged, or over 1 GiB."""
        try:
            if self.is_zip:
                return self._archive().read(name)
            file = self.path / name
            if file.stat().st_size > MAX_FILE:
                raise TrainingDataError(f"{file} is over {MAX_FILE >> 30} GiB; that is no picture of a data set")
            return file.read_bytes()
        except _UNREADABLE as error:
            raise TrainingDataError(f"cannot read {name} of {self.path}: {error}; copy or download it again") from error

    def head(self, name: str, count: int) -> bytes:
        """The first ``count`` bytes of a file. Raises TrainingDataError as ``read`` does."""
        try:
            if self.is_zip:
                with self._archive().open(name) as stream:
                    return stream.read(count)
            with (self.path / name).open("rb") as stream:
                return stream.read(count)
        except _UNREADABLE as error:
            raise TrainingDataError(f"cannot read {name} of {self.path}: {error}; copy or download it again") from error

    def stamp(self, name: str) -> tuple[int, int]:
        """Size and CRC-32 of a file's content; of a zip they are known without reading it."""
        if self.is_zip:
            entry = self._archive().getinfo(name)
            return entry.file_size, entry.CRC
        data = self.read(name)
        return len(data), zlib.crc32(data)

    def _archive(self) -> zipfile.ZipFile:
        """The open zip of this process: a handle that came through a fork would share its place in the file."""
        opened = self._local
        if opened is None or opened.process != os.getpid():
            opened = self._local = _Opened(self.path)
        return opened.get()

    def _zip_names(self) -> list[str]:
        if not self.path.exists():
            raise TrainingDataError(f"there is no {self.path}; give a folder or zip of pictures")
        if self.path.suffix.lower() in SUFFIXES:
            raise TrainingDataError(f"{self.path} is one picture; give a folder or zip of pictures")
        if is_special(self.path):
            raise TrainingDataError(f"{self.path} is a named pipe or a device; give a folder or zip of pictures")
        entries = [entry for entry in self._archive().infolist() if not entry.is_dir()]
        for entry in entries:
            _check_entry(entry, self.path)
        return [entry.filename for entry in entries if not _is_hidden(PurePosixPath(entry.filename))]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_local": None}


class _Opened:
    """A zip that is opened on first use, by one thread."""

    def __init__(self, path: Path) -> None:
        self.path, self.process = path, os.getpid()
        self._lock = threading.Lock()
        self._zip: zipfile.ZipFile | None = None

    def get(self) -> zipfile.ZipFile:
        with self._lock:
            if self._zip is None:
                try:
                    self._zip = zipfile.ZipFile(self.path)
                except (OSError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
                    raise TrainingDataError(
                        f"{self.path} is no readable zip ({error}); give a folder or zip of pictures"
                    ) from error
            return self._zip


def _check_entry(entry: zipfile.ZipInfo, path: Path) -> None:
    """``orig_filename`` too: zipfile itself cuts names at a zero byte and turns backslashes round on Windows."""
    for name in (entry.filename, entry.orig_filename.replace("\\", "/")):
        parts = name.split("/")
        if name.startswith("/") or ".." in parts or "\0" in name or (len(parts[0]) > 1 and parts[0][1] == ":"):
            raise TrainingDataError(
                f"{path} is refused: the name {entry.orig_filename!r:.80} leads outside of the zip; pack it again"
            )
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise TrainingDataError(f"{path} is refused: {entry.filename!r:.80} is a link; pack the file itself")
    if entry.flag_bits & 1:
        raise TrainingDataError(f"{path} is locked with a password; unpack it and give the folder")
    is_bomb = entry.file_size > RATIO_FROM and entry.file_size > MAX_RATIO * max(entry.compress_size, 1)
    if entry.file_size > MAX_FILE or is_bomb:
        raise TrainingDataError(
            f"{path} is refused: {entry.filename!r:.80} would unpack from {entry.compress_size:,} to "
            f"{entry.file_size:,} bytes; that is no picture"
        )


def _is_hidden(name: PurePosixPath) -> bool:
    """Of the system, not of the data: .DS_Store, ._photo.jpg, __MACOSX."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.parts)


def _folder_names(folder: Path) -> list[str]:
    """Every file below ``folder``; linked folders are followed, each place once."""
    found, seen = [], {os.path.realpath(folder)}

    def refuse(error: OSError) -> None:
        raise TrainingDataError(f"cannot list {error.filename}: {error.strerror}; check its permissions") from error

    for root, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        kept = []
        for name in sorted(folders):
            place = os.path.realpath(os.path.join(root, name))
            if place not in seen and not _is_hidden(PurePosixPath(name)):
                seen.add(place)
                kept.append(name)
        folders[:] = kept
        base = Path(root).relative_to(folder)
        found += [(base / name).as_posix() for name in files if not _is_hidden(PurePosixPath(name))]
    return found

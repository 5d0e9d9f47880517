"""Decoded pictures kept at hand: in memory, or in a file that workers, ranks and later runs share."""

import errno
import os
import zlib
from pathlib import Path

import numpy as np

from editkit.errors import OutputError
from editkit.files import atomic_path, ensure_folder
from editkit.locks import locked

_BLOCK = 2**24
_NOT_SUPPORTED = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}


class PixelCache:
    """uint8 [N, R, R, C], filled picture by picture as they are asked for.

    Each picture is kept with its CRC-32, and one that does not agree (a crash in the middle of writing, a damaged file)
    counts as not there. Two that write the same picture at once do no harm: they write the same bytes.
    """

    def __init__(self, shape: tuple[int, int, int, int], *, file: Path | None = None) -> None:
        """file: where to keep them; None: memory. Raises OutputError: no space for the file, or no permission."""
        self.shape, self.file = shape, file
        self._open()

    def _open(self) -> None:
        count, size = self.shape[0], int(np.prod(self.shape))
        if self.file is None:
            self.marks, self.pixels = np.zeros(count, np.uint32), np.zeros(self.shape, np.uint8)
            return
        ensure_folder(self.file.parent)
        with locked(self.file.with_suffix(".lock")):
            if not self.file.is_file() or self.file.stat().st_size != 4 * count + size:
                _allocate(self.file, 4 * count + size)
        self.marks = np.memmap(self.file, np.uint32, "r+", shape=(count,))
        self.pixels = np.memmap(self.file, np.uint8, "r+", offset=4 * count, shape=self.shape)

    def get(self, index: int) -> np.ndarray | None:
        """The picture [R, R, C], not to be written to; None where it has not been put here."""
        if self.marks[index] == 0:
            return None
        pixels = self.pixels[index]
        return pixels if self.file is None or _mark(pixels) == self.marks[index] else None

    def put(self, index: int, pixels: np.ndarray) -> None:
        """Keep a picture uint8 [R, R, C]."""
        self.pixels[index] = pixels
        self.marks[index] = _mark(pixels)

    @property
    def filled(self) -> int:
        """Pictures that are here."""
        return int(np.count_nonzero(self.marks))

    def __getstate__(self) -> dict[str, object]:
        """Another process maps the file again; what is in memory it decodes anew."""
        return {"shape": self.shape, "file": self.file}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._open()


def _mark(pixels: np.ndarray) -> int:
    return max(1, zlib.crc32(pixels.tobytes()))


def _allocate(file: Path, size: int) -> None:
    """A file of zeros whose blocks exist: writing to a mapped file on a full disk would end the process."""
    with atomic_path(file) as temporary, temporary.open("wb") as stream:
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(stream.fileno(), 0, size)
                return
            except OSError as error:
                if error.errno not in _NOT_SUPPORTED:
                    raise OutputError(
                        f"cannot keep {size / 1e9:.1f} GB of decoded pictures in {file}: {error}"
                    ) from error
        for start in range(0, size, _BLOCK):
            stream.write(bytes(min(_BLOCK, size - start)))

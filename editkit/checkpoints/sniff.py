"""Says what a file is by its first bytes, so that a wrong file gets a message that names it."""

from __future__ import annotations

import os
from pathlib import Path

from editkit.errors import CheckpointError

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"PK\x03\x04", "a zip archive (a newer torch.save file, or a data set)"),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"\x89HDF", "an HDF5 file"),
    (b"version https://git-lfs", "a Git LFS pointer: fetch the file itself with 'git lfs pull'"),
    (b"%PDF", "a PDF"),
)


def file_size(path: Path) -> int:
    """Bytes of a weights file that can be opened.

    Raises:
        CheckpointError: missing, a folder, unreadable or empty; one line that says which.
    """
    try:
        if path.is_dir():
            raise CheckpointError(f"{path} is a folder; give a weights file")
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist; check the name") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    if size == 0:
        raise CheckpointError(f"{path} is empty; get it again from its source")
    return size


def is_pickle(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is a binary pickle (protocol 2 to 5)."""
    return len(head) >= 2 and head[0] == 0x80 and 2 <= head[1] <= 5


def is_safetensors(head: bytes, size: int) -> bool:
    """Whether a file of ``size`` bytes that begins with ``head`` looks like safetensors: a header length, then JSON."""
    return len(head) >= 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8


def describe(head: bytes, size: int) -> str:
    """A few words on what a file of ``size`` bytes that begins with ``head`` is."""
    for magic, words in _MAGIC:
        if head.startswith(magic):
            return words
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, not the file behind the link (an error, a login or a quota notice)"
    if is_safetensors(head, size):
        return "a safetensors file"
    if is_pickle(head):
        return "a pickle"
    if head and all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in head):
        return "plain text"
    return f"a file of another kind (it begins with {head[:4].hex(' ')})"


def read_head(path: Path) -> bytes:
    """The first 64 bytes of ``path``. Raises CheckpointError."""
    try:
        with path.open("rb") as stream:
            return stream.read(64)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error

"""Writing files so that a failure never leaves half a file, or harms the one that was there.

Convention: every output is written under a temporary name in the folder of its target and renamed when complete.
An ``OSError`` on the way becomes an ``OutputError`` that says what to do (free space, permission, a file in the way).
"""

import errno
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from editkit.errors import OutputError, UsageError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_PERMISSION = {errno.EACCES, errno.EPERM, errno.EROFS}
# Libraries written in Rust (safetensors) report a failed write as their own error with the number in its text.
_OS_ERROR_TEXT = re.compile(r"\(os error (\d+)\)")


def is_special(path: str | os.PathLike[str]) -> bool:
    """Whether a named pipe, a socket or a device is there: reading it may wait, or go on, for ever."""
    try:
        mode = os.stat(path).st_mode
    except OSError:  # a broken link, or closed to us: reading it will say why
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary sibling of ``path`` to write to; it becomes ``path`` when the block ends well.

    The temporary name keeps the suffix, so writers that choose a format by suffix work. On any error (Ctrl-C
    included) it is removed and an existing ``path`` stays as it was. A device such as ``/dev/stdout`` is written
    directly, and a symbolic link keeps pointing where it does.

    Raises:
        OutputError: no space, no permission, no such folder, a folder in the way, or nothing was written.
    """
    target = Path(path)
    with _as_output_error(target, target):
        if target.is_dir():
            raise OutputError(f"cannot write {target}: it is a folder; give a file name")
        if target.exists() and not target.is_file():  # a device or a pipe cannot be renamed over
            yield target
            return
    if target.is_symlink():
        target = target.resolve()
    token = secrets.token_hex(4)
    # 255 bytes is the longest name on the usual file systems; a long stem is cut, the suffix is kept.
    temporary = target.with_name(f".{target.stem[:48]}.{token}.part{target.suffix[:16]}")
    try:
        with _as_output_error(target, temporary):
            _check_parent(target)
            yield temporary
            if not temporary.exists():
                raise OutputError(f"cannot write {target}: nothing was written to its temporary file")
            temporary.chmod(_mode(target))  # some writers make private files
            os.replace(temporary, target)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to ``path`` through ``atomic_path``. Raises OutputError."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` as UTF-8, line ends as given, through ``atomic_path``. Raises OutputError."""
    write_bytes(path, text.encode("utf-8"))


def write_between(path: str | os.PathLike[str], begin: str, end: str, text: str) -> None:
    """Puts ``text``, on lines of its own, between two marks of a text file. Raises UsageError where it has no marks, or
    OutputError."""
    old = Path(path).read_text(encoding="utf-8")
    if not 0 <= old.find(begin) < old.find(end):
        raise UsageError(f"{path} has no lines {begin!r} and {end!r}; put them where the text goes")
    write_text(path, f"{old[: old.index(begin)]}{begin}\n{text}\n{old[old.index(end) :]}")


def ensure_folder(path: str | os.PathLike[str]) -> Path:
    """Make the folder ``path`` and its parents where missing, and check that it can be written to.

    Raises:
        OutputError: a file is in the way, or the folder (or the disk) is read-only or full.
    """
    folder = Path(path)
    with _as_output_error(folder, folder):
        blocker = next((p for p in (folder, *folder.parents) if p.exists() and not p.is_dir()), None)
        if blocker is not None:
            raise OutputError(f"cannot make the folder {folder}: {blocker} is a file; move it or choose another folder")
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "not writable", str(folder))
    return folder


def user_folder() -> Path:
    """The folder for what a user keeps between runs: $EDITKIT_HOME, else the platform's place for user data.

    The folder is named, not made.
    """
    if home := os.environ.get("EDITKIT_HOME"):
        return Path(home).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "editkit"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "editkit"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "editkit"


def _mode(target: Path) -> int:
    """Permissions of the file that is replaced, or those that a new file gets here."""
    if target.exists():
        return target.stat().st_mode & 0o7777
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def _check_parent(target: Path) -> None:
    parent = target.parent
    blocker = next((p for p in (parent, *parent.parents) if p.exists() and not p.is_dir()), None)
    if blocker is not None:
        raise OutputError(f"cannot write {target}: {blocker} is a file, not a folder; choose another folder")
    if not parent.exists():
        raise OutputError(f"cannot write {target}: the folder {parent} does not exist; make it first")


@contextmanager
def _as_output_error(target: Path, written: Path) -> Iterator[None]:
    """Turn what a failed write to ``written`` raises into an OutputError about ``target``."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        # An error that names some other file (say, an input read inside the block) is not ours to explain.
        if error.filename is not None and Path(os.fsdecode(error.filename)) not in (written, target, *target.parents):
            raise
        raise _explain(target, error.errno, error) from error
    except Exception as error:
        found = _OS_ERROR_TEXT.search(str(error))
        if found is None:
            raise
        raise _explain(target, int(found.group(1)), error) from error


def _explain(target: Path, number: int | None, error: Exception) -> OutputError:
    if number in _NO_SPACE:
        space = _free_space(target)
        return OutputError(f"cannot write {target}: no space left{space}; free some or choose another disk")
    if number in _NO_PERMISSION:
        return OutputError(f"cannot write {target}: no permission, or a read-only disk; choose another folder")
    if number == errno.ENAMETOOLONG:
        return OutputError(f"cannot write {target.name[:40]}...: the name is too long; choose a shorter one")
    return OutputError(f"cannot write {target}: {getattr(error, 'strerror', None) or error}")


def _free_space(target: Path) -> str:
    try:
        folder = next(p for p in target.absolute().parents if p.is_dir())
        return f" ({shutil.disk_usage(folder).free / 1e6:,.1f} MB free)"
    except (OSError, StopIteration):
        return ""

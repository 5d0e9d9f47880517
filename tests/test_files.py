"""Outputs are whole or absent, and every failure to write says what to do."""

import errno
import io
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from editkit.errors import OutputError
from editkit.files import atomic_path, ensure_folder, user_folder, write_bytes, write_text


class FullDisk(io.BytesIO):
    """A stream on a full disk: fails on write, or only when its buffer is flushed on close."""

    def __init__(self, late: bool) -> None:
        super().__init__()
        self.late = late

    def write(self, data) -> int:
        if not self.late:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return len(data)

    def close(self) -> None:
        if self.late and not self.closed:
            super().close()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().close()


def left_behind(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_writes_and_replaces(tmp_path):
    target = tmp_path / "a.txt"
    write_text(target, "one")
    write_text(target, "two\n")
    assert target.read_bytes() == b"two\n"
    assert left_behind(tmp_path) == ["a.txt"]


def test_temporary_name_is_a_sibling_with_the_same_suffix(tmp_path):
    with atomic_path(tmp_path / "picture.webp") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".webp"
        assert temporary.name != "picture.webp"
        temporary.write_bytes(b"x")
        assert not (tmp_path / "picture.webp").exists()
    assert (tmp_path / "picture.webp").read_bytes() == b"x"


@pytest.mark.parametrize("error", [ValueError("boom"), KeyboardInterrupt()])
def test_error_in_the_block_keeps_the_old_file(tmp_path, error):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    with pytest.raises(type(error)), atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert target.read_bytes() == b"old"
    assert left_behind(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("late", [False, True])
def test_full_disk_keeps_the_old_file(tmp_path, monkeypatch, late):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    monkeypatch.setattr(Path, "open", lambda self, *a, **k: FullDisk(late))
    with pytest.raises(OutputError, match=r"a\.bin.*no space left.*MB free"):
        write_bytes(target, b"new")
    monkeypatch.undo()
    assert target.read_bytes() == b"old"
    assert left_behind(tmp_path) == ["a.bin"]


def test_full_disk_told_by_another_library(tmp_path):
    with pytest.raises(OutputError, match="no space left"), atomic_path(tmp_path / "a"):
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")


def test_a_full_device_where_there_is_one():
    # Elsewhere the same path is simply one that cannot be written: an OutputError either way.
    with pytest.raises(OutputError):
        write_bytes("/dev/full", b"x" * 100_000)


def test_unrelated_errors_pass(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a"):
        (tmp_path / "input").read_bytes()
    with pytest.raises(RuntimeError, match="other"), atomic_path(tmp_path / "a"):
        raise RuntimeError("other")


def test_target_is_a_folder(tmp_path):
    with pytest.raises(OutputError, match="is a folder"), atomic_path(tmp_path):
        pass


def test_path_under_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"keep")
    with pytest.raises(OutputError, match="file is a file"):
        write_bytes(tmp_path / "file" / "a.bin", b"x")
    with pytest.raises(OutputError, match="file is a file"):
        ensure_folder(tmp_path / "file" / "sub" / "sub")
    with pytest.raises(OutputError, match="file is a file"):
        ensure_folder(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"keep"


def test_missing_folder(tmp_path):
    with pytest.raises(OutputError, match="does not exist; make it first"):
        write_bytes(tmp_path / "no" / "a.bin", b"x")


def test_nothing_written(tmp_path):
    with pytest.raises(OutputError, match="nothing was written"), atomic_path(tmp_path / "a"):
        pass


def test_read_only_folder(tmp_path, monkeypatch):
    # root may write anywhere, so the refusal of the system is played.
    monkeypatch.setattr(os, "access", lambda *a, **k: False)
    with pytest.raises(OutputError, match="no permission"):
        ensure_folder(tmp_path / "sub")
    monkeypatch.undo()

    def refuse(self, *a, **k):
        raise PermissionError(errno.EROFS, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(OutputError, match="read-only"):
        write_bytes(tmp_path / "a", b"x")


def test_name_too_long(tmp_path):
    with pytest.raises(OutputError, match="too long"):
        write_bytes(tmp_path / ("n" * 400), b"x")


def test_link_keeps_pointing(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_ensure_folder_makes_parents(tmp_path):
    assert ensure_folder(str(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
    assert ensure_folder(tmp_path / "a" / "b").is_dir()


def test_user_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("EDITKIT_HOME", str(tmp_path / "mine"))
    assert user_folder() == tmp_path / "mine"
    assert not user_folder().exists()
    monkeypatch.delenv("EDITKIT_HOME")
    monkeypatch.setattr("editkit.files.sys", SimpleNamespace(platform="linux"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert user_folder() == tmp_path / "editkit"


def test_permissions_are_those_of_any_new_file_or_of_the_old_one(tmp_path):
    plain, target = tmp_path / "plain", tmp_path / "a.bin"
    plain.touch()
    with atomic_path(target) as temporary:
        temporary.touch(mode=0o600)
    assert target.stat().st_mode == plain.stat().st_mode
    target.chmod(0o640)
    write_bytes(target, b"new")
    assert target.stat().st_mode & 0o777 == 0o640

"""Videos after Ctrl-C and on a full disk; what is refused leaves nothing half."""

import math
import os
import signal
import sys
import threading
import time

import numpy as np
import pytest
import torch
from video_frames import COUNT, FILES, FRAMES, pixels_of, read

from editkit.errors import OutputError, UsageError
from editkit.video import FramesKept, hold_interrupt, write_video

# Ctrl-C


def interrupted_after(count: int):
    yield from FRAMES[:count]
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", FILES)
def test_ctrl_c_leaves_what_there_is(tmp_path, name):
    with pytest.raises(FramesKept, match="holds the first 3 frames"):
        write_video(tmp_path / name, interrupted_after(3))
    found = read(tmp_path / name)
    assert len(found) == 3 and np.abs(found[2] - pixels_of(FRAMES[2])).mean() < 12
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", FILES[:3])
def test_ctrl_c_before_the_first_frame_keeps_the_old_file(tmp_path, name):
    (tmp_path / name).write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / name, interrupted_after(0))
    assert (tmp_path / name).read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


@pytest.fixture
def _python_handles_ctrl_c():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits "ignore"
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
@pytest.mark.usefixtures("_python_handles_ctrl_c")
def test_ctrl_c_while_a_frame_or_the_end_is_written(tmp_path, monkeypatch):
    from editkit import video_writers

    for moment in ("add", "finish"):
        original = getattr(video_writers.Mp4, moment)

        def pressed(self, *arguments, original=original):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0)  # Python looks for signals between two steps
            return original(self, *arguments)

        with monkeypatch.context() as patch, pytest.raises(FramesKept):
            patch.setattr(video_writers.Mp4, moment, pressed)
            write_video(tmp_path / f"{moment}.mp4", FRAMES)
        assert len(read(tmp_path / f"{moment}.mp4")) == (1 if moment == "add" else COUNT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_holding_back_works_outside_the_main_thread():
    ran = []

    def work() -> None:
        with hold_interrupt():
            ran.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ran == [True]


# What is refused


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("a.avi", {}, OutputError, r"unknown kind '\.avi'; use \.mp4, \.gif, \.webp, or no suffix"),
        ("no/a.mp4", {}, OutputError, "does not exist"),
        ("a.mp4", {"fps": 0}, UsageError, "fps is 1 to 120"),
        ("a.mp4", {"fps": math.nan}, UsageError, "fps"),
        ("a.gif", {"fps": 60}, UsageError, "fps is 1 to 50 in a GIF"),
        ("a.mp4", {"size": 4}, UsageError, "size is 16 to"),
        ("a.webp", {"quality": 0}, UsageError, "quality is 1 to 100"),
    ],
)
def test_bad_options(tmp_path, name, options, error, message):
    with pytest.raises(error, match=message):
        write_video(tmp_path / name, FRAMES, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", FILES[:3])
@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "at least one frame"),
        ([torch.zeros(1, 8, 8)], r"frame 0 is \[1, 8, 8\]"),
        ([torch.zeros(2, 3, 8, 8)], "one at a time"),
        ([torch.zeros(3, 8, 8), torch.zeros(3, 8, 9)], r"frame 1 is \[8, 9\], those before \[8, 8\]"),
        ([torch.zeros(3, 8, 8), torch.full((3, 8, 8), math.nan)], "not numbers"),
    ],
)
def test_bad_frames_leave_nothing(tmp_path, name, frames, message):
    with pytest.raises(UsageError, match=message):
        write_video(tmp_path / name, frames)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_frames_is_left_alone(tmp_path):
    write_video(tmp_path / "folder", FRAMES)
    with pytest.raises(OutputError, match="already holds some"):
        write_video(tmp_path / "folder", FRAMES[:1])
    assert len(read(tmp_path / "folder")) == COUNT


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file size are POSIX")
@pytest.mark.parametrize("name", FILES)
def test_a_full_disk(tmp_path, name):
    """A limit on file size stands in for a full disk: the same error, from the system itself."""
    import resource

    old = tmp_path / name
    if name != "folder":
        old.write_bytes(b"old")
    frames = [torch.rand(3, 64, 64) * 2 - 1 for _ in range(4)]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
        with pytest.raises(OutputError, match="no space left"):
            write_video(old, frames)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert not list(old.iterdir()) if name == "folder" else old.read_bytes() == b"old"

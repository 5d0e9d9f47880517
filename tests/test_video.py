"""Videos are read back as they were written, also after Ctrl-C; a failure leaves nothing half."""

import json
import math
import os
import signal
import sys
import threading
import time
from fractions import Fraction

import numpy as np
import pytest
import torch
from linear_generator import LinearGenerator
from PIL import Image
from torch.nn.functional import interpolate

from editkit.errors import OutputError, UsageError
from editkit.rendered_path import render_path
from editkit.sampling import sample_w
from editkit.seeds import normal
from editkit.video import FramesKept, frame_durations, hold_interrupt, write_video

FILES = ("a.mp4", "a.gif", "a.webp", "folder")
COUNT = 7


def ramp(index: int, *, height: int = 40, width: int = 48) -> torch.Tensor:
    """[3, H, W]: smooth colours that change from frame to frame, strong ones, so that a wrong matrix shows."""
    x = torch.linspace(-1, 1, width).expand(height, width)
    y = torch.linspace(-1, 1, height)[:, None].expand(height, width)
    return torch.stack([x, y, torch.full_like(x, 1 - 2 * index / (COUNT - 1))])


FRAMES = [ramp(index) for index in range(COUNT)]


def pixels_of(frame: torch.Tensor) -> np.ndarray:
    return ((frame.permute(1, 2, 0) + 1) * 127.5).round().numpy()


def read(path) -> list[np.ndarray]:
    """Every frame as RGB [H, W, 3], by another library than Pillow for mp4."""
    if path.suffix == ".mp4":
        import av

        with av.open(str(path)) as container:
            options = {"format": "rgb24", "src_colorspace": "ITU709", "src_color_range": "MPEG"}
            return [frame.reformat(**options).to_ndarray() for frame in container.decode(video=0)]
    if path.is_dir():
        return [np.asarray(Image.open(file)) for file in sorted(path.glob("frame_*.png"))]
    with Image.open(path) as picture:
        found = []
        for index in range(picture.n_frames):
            picture.seek(index)
            found.append(np.asarray(picture.convert("RGB")))
        return found


@pytest.mark.parametrize("name", FILES)
def test_frames_come_back(tmp_path, name):
    steps = []
    done = write_video(tmp_path / name, FRAMES, fps=12, on_progress=lambda *step: steps.append(step))
    assert (done.frames, done.fps, done.width, done.height) == (COUNT, 12, 48, 40)
    assert done.seconds == pytest.approx(COUNT / 12) and steps == [(i + 1, COUNT) for i in range(COUNT)]
    found = read(tmp_path / name)
    assert len(found) == COUNT
    limit = {"a.mp4": 4.0, "a.gif": 12.0, "a.webp": 4.0, "folder": 0.0}[name]
    for seen, frame in zip(found, FRAMES, strict=True):
        assert seen.shape == (40, 48, 3)
        assert np.abs(seen - pixels_of(frame)).mean() <= limit
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_mp4_says_what_it_is(tmp_path):
    import av

    write_video(tmp_path / "a.mp4", FRAMES, fps=24000 / 1001)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt, stream.frames) == ("h264", "yuv420p", COUNT)
        assert stream.average_rate == Fraction(24000, 1001)
        assert float(stream.duration * stream.time_base) == pytest.approx(COUNT * 1001 / 24000, rel=1e-3)
        # H.273: primaries BT.709 (1), transfer sRGB (13), matrix BT.709 (1); limited range.
        assert (context.color_primaries, context.color_trc, context.colorspace) == (1, 13, 1)
        assert context.color_range == 1
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # plays while it loads


def test_odd_sizes_repeat_the_last_row_and_column(tmp_path):
    frames = [ramp(index, height=21, width=31) for index in range(COUNT)]
    done = write_video(tmp_path / "a.mp4", frames)
    seen = read(tmp_path / "a.mp4")[0]
    assert (done.width, done.height) == (32, 22) and seen.shape == (22, 32, 3)
    assert np.abs(seen[:21, :31] - pixels_of(frames[0])).mean() < 4
    assert np.abs(seen[-1].astype(float) - seen[-2]).mean() < 4
    assert write_video(tmp_path / "a.gif", frames).width == 31


@pytest.mark.parametrize("name", ["a.mp4", "folder"])
def test_larger(tmp_path, name):
    done = write_video(tmp_path / name, FRAMES[:2], size=80)
    assert (done.width, done.height) == (96, 80) and read(tmp_path / name)[0].shape == (80, 96, 3)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("note", [True, False])
def test_metadata(tmp_path, name, note):
    import av

    write_video(tmp_path / name, FRAMES[:2], metadata={"recipe": '{"é": 1}'} if note else None, note=note)
    path = tmp_path / name
    if name == "a.mp4":
        with av.open(str(path)) as container:
            told = {key: container.metadata.get(key) for key in ("comment", "description")}
    elif name == "a.gif":
        texts = json.loads(Image.open(path).info.get("comment", b"{}"))
        told = {"comment": texts.pop("editkit", None), "description": json.dumps(texts) if texts else None}
    elif name == "a.webp":
        exif = Image.open(path).getexif()
        assert 0x8825 not in exif  # GPS
        told = {"comment": exif.get(0x0131), "description": exif.get(0x010E)}
    else:
        texts = dict(Image.open(path / "frame_00000.png").text)
        told = {"comment": texts.pop("editkit", None), "description": json.dumps(texts) if texts else None}
    if note:
        assert told["comment"].startswith("This video was edited with editkit")
        assert json.loads(told["description"]) == {"recipe": '{"é": 1}'}
    else:
        assert told == {"comment": None, "description": None}
        data = (path if path.is_file() else path / "frame_00000.png").read_bytes()
        assert b"editkit" not in data


@pytest.mark.parametrize(("fps", "unit"), [(24, 0.01), (30, 0.01), (12, 0.001), (50, 0.01)])
def test_rounded_times_do_not_add_up_to_an_error(fps, unit):
    durations = frame_durations(100, fps, unit)
    assert len(durations) == 100 and abs(sum(durations) * unit - 100 / fps) <= unit / 2
    assert max(durations) - min(durations) <= 1


@pytest.mark.parametrize(("name", "loops"), [("a.gif", 0), ("a.webp", 0)])
def test_animations_repeat_and_keep_time(tmp_path, name, loops):
    write_video(tmp_path / name, FRAMES, fps=24)
    with Image.open(tmp_path / name) as picture:
        assert picture.info["loop"] == loops
        times = []
        for index in range(picture.n_frames):
            picture.seek(index)
            picture.load()
            times.append(picture.info["duration"])
    assert sum(times) == pytest.approx(1000 * COUNT / 24, abs=5.1)


def test_one_palette_for_all_frames_of_a_gif(tmp_path):
    """A still part does not flicker: its pixels are the same in every frame."""
    still = [torch.cat([ramp(0), ramp(index)], 2) for index in range(COUNT)]
    write_video(tmp_path / "a.gif", still)
    found = read(tmp_path / "a.gif")
    assert all(np.array_equal(found[0][:, :40], frame[:, :40]) for frame in found[1:])


def test_a_loop_goes_on_where_it_ends(tmp_path):
    """From the last frame to the first is a step like any other, in the frames and in the file."""
    G = LinearGenerator(resolution=32)
    coarse = 0.3 * normal(5, (4, 3, 4, 4))  # smooth pictures, as photos are: noise would show the codec, not the path
    G.paint = interpolate(coarse, size=(32, 32), mode="bicubic").flatten(1).T
    path = render_path(G, sample_w(G, [0, 1, 2]), frames=24, loop=True)
    frames = torch.stack(list(path))
    write_video(tmp_path / "a.mp4", path, size=128)
    for found in (frames, torch.from_numpy(np.stack(read(tmp_path / "a.mp4"))).double()):
        steps = (found.roll(-1, 0) - found).flatten(1).norm(dim=1)
        assert 0 < float(steps[-1]) < 1.3 * float(steps[:-1].max())
    once = torch.stack(list(render_path(G, sample_w(G, [0, 1, 2]), frames=24)))
    jump = (once[0] - once[-1]).norm()
    assert float(jump) > 3 * float((frames.roll(-1, 0) - frames).flatten(1).norm(dim=1).max())  # what would be seen


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

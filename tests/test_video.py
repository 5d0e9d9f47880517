"""Videos are read back as they were written."""

import json
from fractions import Fraction

import numpy as np
import pytest
import torch
from linear_generator import LinearGenerator
from PIL import Image
from torch.nn.functional import interpolate
from video_frames import COUNT, FILES, FRAMES, pixels_of, ramp, read

from editkit.rendered_path import render_path
from editkit.sampling import sample_w
from editkit.seeds import normal
from editkit.video import frame_durations, write_video


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


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("frames", [FRAMES[:1], FRAMES[:1] * 3])
def test_one_frame_and_frames_that_do_not_change(tmp_path, name, frames):
    assert write_video(tmp_path / name, frames).frames == len(frames)
    assert np.abs(read(tmp_path / name)[-1] - pixels_of(FRAMES[0])).mean() < 12

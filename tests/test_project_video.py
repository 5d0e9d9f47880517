"""`editkit project-video`: calmer than frame by frame, gone on with after a stop, sound and rate kept."""

from __future__ import annotations

import json
import math
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from project_fixtures import ROOT, G, checkpoint, one_line, photo, warmth

from editkit import cli, faces
from editkit.edits import Edit, Recipe
from editkit.errors import NoFaceError, OutputError, PhotoError, UsageError
from editkit.faces import Face
from editkit.photo import Photo
from editkit.video import write_video
from editkit.video_reader import add_sound, read_frames, video_facts
from projector import FrameByFrame, Optimise, clip, project_video
from projector.job import Job
from projector.losses import Weights
from projector.track import filled, flicker, smoothed

sys.path.insert(0, str(ROOT))

from benchmarks import video_flicker

FRAMES, SIDE = 7, 96
FACE = torch.tensor([[38, 40], [58, 40], [48, 48], [42, 58], [54, 58]], dtype=torch.float64)
QUICK = FrameByFrame(base_steps=30, steps=8, keyframes=3, weights=Weights(perceptual=0.0))
LEAST = FrameByFrame(base_steps=3, steps=2, keyframes=2, weights=Weights(perceptual=0.0))
ALONE = Optimise(steps=20, weights=QUICK.weights)


class Pixels:
    """A perceptual distance that needs no network."""

    name, unit = "mse", "squared"

    def distance(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return (first - second).square().mean((1, 2, 3))


@pytest.fixture
def moved(G, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Photo, list[torch.Tensor]]:
    """A sample of the generator moved by known amounts, and a landmark network that trembles by half a pixel."""
    with torch.no_grad():
        sample = G.synthesize(G.map(torch.randn(1, G.spec.z_dim, generator=torch.Generator().manual_seed(1))))
    picture = torch.nn.functional.interpolate(sample.clamp(-1, 1), size=(SIDE, SIDE), mode="bicubic").clamp(-1, 1)
    where = video_flicker.motions(FRAMES, (SIDE, SIDE))
    shake = torch.randn(FRAMES, 5, 2, generator=torch.Generator().manual_seed(0)).double() * 0.5
    seen = [FACE @ matrix[:2, :2].T + matrix[:2, 2] + one for matrix, one in zip(where, shake, strict=True)]
    answers = iter([FACE, *seen])  # of the photo, then of each frame in turn
    monkeypatch.setattr(faces, "find_faces", lambda picture: [Face(points=next(answers), confidence=0.9)])
    monkeypatch.setattr(clip, "follow", lambda frames, face: [points for points, _ in zip(seen, frames, strict=True)])
    return Photo(image=picture), where


def job_of(G, recipe: Recipe | None = None) -> Job:
    recipe = recipe or Recipe(name="none", edits=())
    return Job(generator=G, method=Optimise(), perceptual=Pixels(), recipe=recipe, paste="replace")  # type: ignore[arg-type]


def test_it_flickers_less_than_frame_by_frame(G, moved, tmp_path: Path) -> None:
    photo, _ = moved
    found = video_flicker.compare(job_of(G), photo, tmp_path / "out", frames=FRAMES, method=QUICK, alone=ALONE)
    assert found["ours"] < 0.6 * found["frame_by_frame"], found
    assert found["psnr_ours"] > 15, found  # it is not calm by showing nothing


@pytest.fixture
def film(moved, tmp_path: Path) -> Path:
    photo, where = moved
    write_video(tmp_path / "film.mp4", video_flicker.moving(photo.image, where), fps=30000 / 1001)
    return tmp_path / "film.mp4"


def latents(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (out / "latents").iterdir()}


def test_a_stopped_run_goes_on_and_a_done_one_is_left(G, film: Path, warmth, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "searching" and done == 3:
            raise KeyboardInterrupt

    job = job_of(G, Recipe(name="warm", edits=(Edit(warmth, 2.0),)))
    with pytest.raises(KeyboardInterrupt):
        project_video(job, film, out, method=LEAST, on_progress=stop)
    before = latents(out)
    assert len(before) == 3 and not (out / "report.json").exists()
    report = project_video(job, film, out, method=LEAST)
    after = latents(out)
    assert len(after) == FRAMES and all(after[name] == stamp for name, stamp in before.items())
    assert report["frames"] == FRAMES and report["fps"] == pytest.approx(30000 / 1001) and not report["skipped"]
    whole = project_video(job, film, tmp_path / "other", method=LEAST)
    assert whole["metrics"]["psnr_mean"] == pytest.approx(report["metrics"]["psnr_mean"], abs=0.5)
    assert project_video(job, film, out, method=LEAST)["skipped"]
    again = project_video(job, film, out, method=FrameByFrame(**{**vars_of(LEAST), "steps": 1}))
    assert not again["skipped"] and all(stamp != after[name] for name, stamp in latents(out).items())
    frames, edited = list(read_frames(film)), list(read_frames(out / "edited.mp4"))
    assert len(edited) == FRAMES and video_facts(out / "edited.mp4").rate == Fraction(30000, 1001)
    assert all((one - other).abs().max() > 0.1 for one, other in zip(frames, edited, strict=True))


def vars_of(method: FrameByFrame) -> dict:
    return {name: getattr(method, name) for name in method.__slots__}


def sounding(path: Path, frames: int = 5) -> Path:
    import av

    tone = (0.2 * np.sin(2 * math.pi * 440 * np.arange(44100) / 44100)).astype(np.float32)[None]
    with av.open(str(path), "w") as target:
        pictures, sound = target.add_stream("libx264", rate=25), target.add_stream("aac", rate=44100)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        for index in range(frames):
            pixels = np.full((48, 64, 3), 40 * index % 256, np.uint8)
            target.mux(pictures.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        for start in range(0, 8 * 1024, 1024):
            part = av.AudioFrame.from_ndarray(np.ascontiguousarray(tone[:, start : start + 1024]), "fltp", "mono")
            part.sample_rate, part.pts = 44100, start
            target.mux(sound.encode(part))
        target.mux(pictures.encode(None))
        target.mux(sound.encode(None))
    return path


def packets(path: Path) -> list[bytes]:
    import av

    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def test_the_command_keeps_the_sound(checkpoint: Path, warmth, tmp_path: Path, capsys) -> None:
    film, out = sounding(tmp_path / "a.mp4"), tmp_path / "out"
    command = ["project-video", film, "--out", out, "--generator", checkpoint, "--device", "cpu", "--align", "centre"]
    words = [str(word) for word in [*command, "--steps", 1, "--base-steps", 2, "--edit", "warmth=1", "--json"]]
    assert cli.main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["sound"] is True and told["frames"] == 5 and told["edits"] == "warmth +1"
    assert packets(out / "edited.mp4") == packets(film)
    assert [frame.shape for frame in read_frames(out / "edited.mp4")] == [(1, 3, 48, 64)] * 5
    assert not (out / "report.json").read_text().count(str(tmp_path))  # no path of this machine


def test_sound_that_mp4_cannot_hold_is_left_out(tmp_path: Path, caplog) -> None:
    film = sounding(tmp_path / "a.mp4")
    before = film.read_bytes()
    (tmp_path / "b.mp4").write_bytes(b"no video")
    assert add_sound(film, tmp_path / "b.mp4") is False and "it has none" in caplog.text
    assert film.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "content", "hint"),
    [("a.mp4", b"<html>", "not a video"), ("a.txt", b"", "not a video"), ("missing.mp4", None, "no file or folder")],
)
def test_what_is_no_video_is_one_line(checkpoint: Path, tmp_path: Path, name: str, content, hint: str, capsys) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert cli.main(["project-video", str(tmp_path / name), "--out", str(tmp_path / "out")]) == 1
    assert hint in one_line(capsys) and not (tmp_path / "out").exists()


def test_a_video_cut_short_gives_the_frames_there_are(tmp_path: Path) -> None:
    film = sounding(tmp_path / "a.mp4", frames=40)
    assert len(list(read_frames(film))) == 40
    with pytest.raises(PhotoError):
        list(read_frames(tmp_path))
    with pytest.raises(PhotoError):
        film.write_bytes(film.read_bytes()[:200])
        list(read_frames(film))


def test_no_face_in_any_frame(G, film: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(clip, "follow", lambda frames, face: [None for _ in frames])
    with pytest.raises(NoFaceError, match="no frame shows the face"):
        project_video(job_of(G), film, tmp_path / "out", method=LEAST)


@pytest.mark.parametrize("name", ["report.json", "latents/mine.txt"])
def test_files_of_others_are_left_alone(G, film: Path, tmp_path: Path, name: str) -> None:
    other = tmp_path / "out" / name
    other.parent.mkdir(parents=True)
    other.write_text("mine")
    with pytest.raises(OutputError, match="choose another --out"):
        project_video(job_of(G), film, tmp_path / "out", method=LEAST)
    assert other.read_text() == "mine"


def test_settings_are_checked() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        FrameByFrame(steps=0)
    with pytest.raises(UsageError, match="sigma"):
        FrameByFrame(sigma=-1.0)


def test_gaps_are_filled_and_steady_motion_stays() -> None:
    line = torch.arange(20, dtype=torch.float64)[:, None, None] * torch.ones(5, 2) + FACE
    track = [None if index in (0, 7, 8, 19) else line[index] for index in range(20)]
    whole = filled(track)
    assert (
        torch.allclose(whole[1:19], line[1:19]) and torch.equal(whole[0], line[1]) and torch.equal(whole[19], line[18])
    )
    assert torch.allclose(smoothed(line, sigma=2.0), line, atol=1e-9)
    noise = torch.randn(200, 5, 2, generator=torch.Generator().manual_seed(0)).double()
    assert smoothed(noise, sigma=2.0)[10:-10].std() < 0.5 * noise.std()
    assert torch.equal(smoothed(noise, sigma=0.0), noise)


def test_flicker_is_zero_for_steady_change_and_counts_levels() -> None:
    ramp = [torch.full((1, 3, 4, 4), 0.1 * index) for index in range(4)]
    assert flicker(ramp) == pytest.approx(0.0, abs=1e-4) and flicker(ramp[:2]) == 0.0
    blink = [torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 2 / 255), torch.zeros(1, 3, 4, 4)]
    assert flicker(blink) == pytest.approx(2.0)

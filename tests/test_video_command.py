"""`editkit video`: keyframes from seeds and files, and a real Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from editkit import cli
from editkit.generator import NetworkGenerator, load_generator, random_generator, save_generator
from editkit.labels import labels_for_seeds
from editkit.latent import Latent
from editkit.photo import image_to_uint8
from editkit.rendering import render
from editkit.sampling import sample_w, sample_z
from editkit.transform import Transform

ROOT = Path(__file__).resolve().parents[1]
SIDE = 32


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("generator") / "small.safetensors"
    save_generator(random_generator(resolution=SIDE, output_scale=0.8), path)
    return path


@pytest.fixture
def G(checkpoint: Path) -> NetworkGenerator:
    return load_generator(checkpoint, device="cpu")


@pytest.fixture
def video(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[np.ndarray]]:
    """``video(*options)``: the frames of a folder of PNGs, with the small generator."""
    count = iter(range(100))

    def run(*options: str | Path, source: Path = checkpoint) -> list[np.ndarray]:
        out = tmp_path / f"out{next(count)}"
        fixed = ["--out", out, "--generator", source, "--device", "cpu", "--quiet"]
        assert cli.main([str(word) for word in ["video", *fixed, *options]]) == 0, capsys.readouterr().err
        return [np.asarray(Image.open(path)).astype(int) for path in sorted(out.glob("frame_*.png"))]

    return run


def pictures(G: NetworkGenerator, latent: Latent, **options) -> list[np.ndarray]:
    return list(image_to_uint8(render(G, latent, **options)).numpy().astype(int))


def close(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and int(np.abs(a - b).max()) <= 1


def test_seeds_are_keyframes(video, G) -> None:
    frames = video("--seeds", "0,5,2", "--frames", "7", "--psi", "0.7")
    keyframes = pictures(G, sample_w(G, [0, 5, 2], truncation_psi=0.7))
    assert len(frames) == 7 and all(close(frames[3 * i], keyframes[i]) for i in range(3))
    assert not close(frames[1], frames[0]) and not close(frames[1], frames[3])


def test_through_z(video, G) -> None:
    frames = video("--seeds", "0,1", "--frames", "3", "--space", "z")
    z = sample_z(G, [0, 1])
    assert close(frames[1], pictures(G, G.map(z[0].slerp(z[1], 0.5).tensor))[0])


def test_files_are_keyframes_with_their_placement(video, G, tmp_path: Path) -> None:
    w = sample_w(G, [0, 1])
    w[0].save(tmp_path / "a.safetensors", transform=Transform.rotate(90))
    w[1].as_w_plus().save(tmp_path / "b.safetensors")
    frames = video(tmp_path / "a.safetensors", tmp_path / "b.safetensors", "--frames", "3")
    middle = pictures(G, w[0].lerp(w[1], 0.5), transform=Transform.rotate(45))[0]
    assert close(frames[0], pictures(G, w[0], transform=Transform.rotate(90))[0]) and close(frames[1], middle)


def test_loops_motion_and_easing(video, G) -> None:
    w = sample_w(G, [3])
    frames = video("--seeds", "3", "--frames", "4", "--loop", "--move", "circle=0.125", "--turn", "-360")
    placed = [
        Transform.translate(x, y) @ Transform.rotate(angle)
        for x, y, angle in ((0.125, 0, 0), (0, -0.125, -90), (-0.125, 0, -180), (0, 0.125, -270))
    ]
    assert all(close(frame, pictures(G, w, transform=one)[0]) for frame, one in zip(frames, placed, strict=True))
    frames = video("--seeds", "3", "--frames", "3", "--move", "-0.2,0.1", "--zoom", "2", "--ease", "in")
    t = 0.125  # 0.5 cubed
    placed = [Transform.translate(-0.2 * s, 0.1 * s) @ Transform.scale(2**s) for s in (0, t, 1)]
    assert all(close(frame, pictures(G, w, transform=one)[0]) for frame, one in zip(frames, placed, strict=True))


def test_classes(video, tmp_path: Path) -> None:
    source = tmp_path / "classes.safetensors"
    G = random_generator(resolution=16, output_scale=0.8, c_dim=3)
    save_generator(G, source)
    for options, classes in (((), None), (("--class", "2,1"), [2, 1])):
        w, z = sample_w(G, [0, 1], classes=classes), sample_z(G, [0, 1])
        assert close(video("--seeds", "0,1", "--frames", "2", *options, source=source)[1], pictures(G, w)[1])
        label = labels_for_seeds(G.spec, [0, 1], classes)
        through_z = video("--seeds", "0,1", "--frames", "2", "--space", "z", *options, source=source)
        assert close(through_z[1], pictures(G, G.map(z.tensor, label=label))[1])


def test_codes_in_z_draw_their_classes(video, tmp_path: Path) -> None:
    """Of a conditional generator, from a file: a class each, never the label of zeros that no training shows."""
    source = tmp_path / "classes.safetensors"
    save_generator(random_generator(resolution=SIDE, c_dim=3, output_scale=0.8), source)
    G = load_generator(source, device="cpu")
    z = sample_z(G, [7, 8])
    z.save(tmp_path / "z.safetensors")
    frames = video(tmp_path / "z.safetensors", "--frames", 2, source=source)
    expected = pictures(G, G.map(z.tensor, label=labels_for_seeds(G.spec, [0, 1])))
    assert close(frames[0], expected[0]) and close(frames[1], expected[1])
    assert not close(frames[0], pictures(G, G.map(z.tensor))[0])
    chosen = video(tmp_path / "z.safetensors", "--frames", 2, "--class", "2", source=source)
    assert close(chosen[0], pictures(G, G.map(z.tensor, label=labels_for_seeds(G.spec, [0, 1], 2)))[0])


def test_an_mp4(checkpoint: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "new" / "folder" / "a.mp4"
    options = ["--seeds", "0-2", "--seconds", "1.5", "--fps", "10", "--spline", "--loop", "--size", "64", "--json"]
    assert cli.main(["video", "--out", str(out), "--generator", str(checkpoint), "--device", "cpu", *options]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["frames"], said["width"], said["height"], said["seconds"]) == (15, 64, 64, 1.5)
    with av.open(str(out)) as container:
        assert len(list(container.decode(video=0))) == 15
        told = json.loads(json.loads(container.metadata["description"])["path"])
    assert told["seeds"] == [0, 1, 2] and told["loop"] is True and len(told["generator"]) == 64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give latents, or --seeds"),
        (["--seeds", "0,1", "w.safetensors"], "and not both"),
        (["--seeds", "0"], "no length"),
        (["--seeds", "0-9", "--frames", "4"], "4 frames are too few for 10 keyframes"),
        (["--seeds", "0,1", "--class", "0"], "has no classes"),
        (["--seeds", "0,1", "--cutoff", "99"], "truncation_cutoff is 0 to"),
        (["--seeds", "0,1", "--cutoff", "99", "--space", "z"], "truncation_cutoff is 0 to"),
        (["w.safetensors", "w.safetensors", "--psi", "0.5"], "are of seeds"),
        (["w.safetensors", "w.safetensors", "--space", "z"], "leave --space z out"),
        (["none.safetensors"], "none.safetensors"),
        (["other.safetensors", "--zoom", "2"], "cannot be used with"),
        (["--seeds", "0", "--loop", "--turn", "90"], "multiple of 360"),
        (["--seeds", "0,1", "--fps", "500"], "fps is 1 to 120"),
        (["--seeds", "0,1", "--out", "a.avi"], "unknown kind '.avi'"),
        (["--seeds", "0,1", "--move", "square=1"], "circle=R"),
    ],
)
def test_wrong_use(G, checkpoint: Path, tmp_path: Path, monkeypatch, capsys, options, message) -> None:
    monkeypatch.chdir(tmp_path)
    w = sample_w(G, [0])
    w.save("w.safetensors")
    Latent(space="w", codes=w.tensor, generator="another").save("other.safetensors")
    fixed = ["video", "--out", "a.mp4", "--generator", str(checkpoint), "--device", "cpu"]
    assert cli.main([*fixed, *options]) in (1, 2)
    assert message in capsys.readouterr().err
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".safetensors"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_a_real_ctrl_c_leaves_a_video_that_plays(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "long.mp4"
    command = [sys.executable, "-m", "editkit", "video", "--seeds", "0-9", "--frames", "1000000", "--out", str(out)]
    with subprocess.Popen(
        [*command, "--generator", str(checkpoint), "--device", "cpu", "--batch", "2", "--size", "256"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background inherits "ignore"
    ) as process:
        end = time.monotonic() + 100
        while time.monotonic() < end and not any(tmp_path.glob(".long*.mp4")):  # it is there with the first frame
            time.sleep(0.05)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=100)[1]
    assert process.returncode == 130, told
    assert "Traceback" not in told and "long.mp4 holds the first" in told
    assert [path.name for path in tmp_path.iterdir()] == ["long.mp4"]
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        frames = [torch.from_numpy(frame.to_ndarray(format="rgb24")).float() for frame in container.decode(video=0)]
    assert 1 <= len(frames) == stream.frames < 1_000_000
    assert all(frame.shape == (256, 256, 3) and float(frame.std()) > 1 for frame in frames)

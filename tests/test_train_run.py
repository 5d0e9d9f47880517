"""``editkit train --data`` as people run it: it learns, says how it does, and refuses what it cannot learn from."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from training_runs import COMMON, ROOT

from editkit.checkpoints.native import read_header
from editkit.cli import main
from train.config import TrainConfig
from train.dataset import open_dataset
from train.metrics.frechet import frechet_distance, statistics
from train.run import thumbnails
from train.snapshots import Folder, samples
from train.state_file import load_state
from train.training import Training


def test_it_learns_and_the_distance_halves(toys: Path, trained: Path) -> None:
    data = open_dataset(toys)
    real = statistics(thumbnails(data.__getitems__(range(256)).images.permute(0, 3, 1, 2) / 127.5 - 1))
    state = load_state(trained / "state.safetensors")
    fresh = Training(TrainConfig.from_json(state["config"]))
    before = frechet_distance(real, statistics(thumbnails(samples(fresh, 256))))
    fresh.load_state_dict(state)
    after = frechet_distance(real, statistics(thumbnails(samples(fresh, 256))))
    assert after < before / 2
    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert any("metric" in line for line in lines) and any("loss/D" in line for line in lines)
    assert len(list((trained / "samples").glob("*.png"))) == 2
    with Image.open(trained / "samples" / "000000800.png") as sheet:
        assert np.asarray(sheet).std() > 10


def test_curves_grids_and_a_walk(trained: Path) -> None:
    """TensorBoard's file read back, the log, the sheets, the video, and the best kept by a metric with its name."""
    import av
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    board = EventAccumulator(str(trained / "tensorboard"))
    board.Reload()
    steps = next(line for line in lines if "loss/D" in line)
    for name in ("loss/D", "loss/G", "penalty/r1", "augment/strength", "images_per_second"):
        (event,) = board.Scalars(name)
        assert event.step == steps["images"] == 800 and event.value == pytest.approx(steps[name], rel=1e-5)
    measured = [line for line in lines if "metric" in line]
    assert [(line["images"], line["metric_name"]) for line in measured] == [(400, "fd_texture"), (800, "fd_texture")]
    assert [event.value for event in board.Scalars("metric")] == pytest.approx([line["metric"] for line in measured])
    shown = board.Images("samples")
    assert [event.step for event in shown] == [400, 800]
    with Image.open(trained / "samples" / "000000800.png") as sheet:
        last = np.asarray(Image.open(io.BytesIO(shown[-1].encoded_image_string))).astype(int)
        assert np.abs(last - np.asarray(sheet).astype(int)).max() <= 1
    with av.open(str(trained / "samples" / "walk.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    assert len(frames) == 48 and frames[0].shape == (16, 16, 3)
    assert np.abs(frames[0] - frames[24]).mean() > 1 and np.abs(frames[0] - frames[47]).mean() < 20  # away, and back
    best = read_header(trained / "best.safetensors")["training"]["facts"]
    assert best["metric"] == min(line["metric"] for line in measured) and best["metric_name"] == "fd_texture"


def test_a_short_run_and_a_slow_one_say_how_they_do(
    toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two steps: fewer than lie between lines of the log, and each long enough for a line of its own."""
    monkeypatch.setattr("train.run.SAY_EVERY", 0.0)
    assert main(["train", "--data", str(toys), "--out", str(tmp_path), *COMMON, "--kimg", "0.016"]) == 0
    said = [line.split(" a second")[0] for line in capsys.readouterr().out.splitlines() if "left: loss/G" in line]
    assert [line.split(",")[0] for line in said] == ["8 images", "16 images"]
    (line,) = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert line["images"] == 16 and line["loss/D"] > 0


def test_a_board_that_fails_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.add_scalar", full)
    folder = Folder(tmp_path)
    for images in (8, 16):
        folder.note({"images": images, "loss/D": 0.5})
    assert caplog.text.count("goes on without it") == 1
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # not installed
    bare = Folder(tmp_path / "bare")
    bare.note({"images": 8, "loss/D": 0.5})
    assert sorted(path.name for path in bare.path.iterdir()) == ["log.jsonl", "samples"]


def test_the_projector_opens_what_was_trained(trained: Path, toys: Path, tmp_path: Path) -> None:
    for name in ("generator.safetensors", "best.safetensors"):
        assert main(["info", str(trained / name), "--quiet"]) == 0
    photo = str(next(toys.glob("*.png")))
    options = ["--align", "centre", "--steps", "3", "--generator", str(trained / "generator.safetensors")]
    code = main(["project", photo, "--out", str(tmp_path / "out"), "--quiet", *options])
    assert code == 0 and list((tmp_path / "out").rglob("inverted.png"))


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--batch", "6", "a batch above that is a multiple of it, got 6"),
        ("--freeze-d", "100", "--freeze-d is below"),
        ("--freeze-d", "-1", "expected a whole number from 0 on, got '-1'"),
        ("--seed", "-1", "expected a whole number from 0 on, got '-1'"),
        ("--seed", str(2**63), "expected a whole number from 0 on"),
        ("--workers", "-1", "expected a whole number from 0 on, got '-1'"),
    ],
)
def test_numbers_out_of_range_are_refused(
    toys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, reason: str
) -> None:
    out = tmp_path / "out"
    try:
        code = main(["train", "--data", str(toys), "--out", str(out), "--recipe", "tiny", f"{option}={value}"])
    except SystemExit as stopped:
        code = stopped.code
    assert code == 2 and reason in capsys.readouterr().err and not out.exists()


@pytest.mark.parametrize("case", ["empty", "one", "mixed", "lost"])
def test_bad_data(case: str, toys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    data.mkdir()
    told = {
        "empty": "no pictures",
        "one": "one picture",
        "mixed": "; give --resolution to",
        "lost": "not there: gone.png",
    }
    options = []
    if case != "empty":
        (data / "a.png").write_bytes((toys / "0000.png").read_bytes())
    if case == "mixed":
        Image.new("RGB", (20, 20)).save(data / "b.png")
    if case == "lost":
        (data / "b.png").write_bytes((toys / "0001.png").read_bytes())
        (data / "dataset.json").write_text(json.dumps({"labels": [["a.png", 0], ["b.png", 1], ["gone.png", 1]]}))
        options = ["--cond"]
    code = main(["train", "--data", str(data), "--out", str(tmp_path / "out"), *COMMON, *options])
    assert code in (1, 2) and told[case] in capsys.readouterr().err


def test_a_dry_run_says_the_plan_and_writes_nothing(
    toys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--data", str(toys), "--out", str(tmp_path / "no"), *COMMON, "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "256 pictures" in text and "s for a thousand images" in text and "GiB at the peak of 2 steps" in text
    assert re.search(r" \d+ (min|h \d\d min|days) for 25,000 thousand, without snapshots and metrics", text)
    assert not (tmp_path / "no").exists()


def test_it_needs_torch_numpy_and_pillow_alone(toys: Path, tmp_path: Path) -> None:
    """From a checkout that is not installed, with everything else of ours hidden."""
    hidden = ("safetensors", "numba", "sklearn", "scipy", "lpips", "torchvision", "gradio", "skimage", "av", "triton",
              "tensorboard")  # fmt: skip
    program = (
        "import sys\n"
        f"for name in {hidden!r}: sys.modules[name] = None\n"
        "from editkit.cli import main\n"
        f"sys.exit(main(['train', '--data', {str(toys)!r}, '--out', {str(tmp_path / 'bare')!r}, "
        f"'--kimg', '0.008', *{COMMON!r}, '--video', '--metric', 'auto']))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "bare" / "generator.safetensors").is_file() and "no video" not in done.stderr
    assert '"fd_texture"' in (tmp_path / "bare" / "log.jsonl").read_text()
    assert not (tmp_path / "bare" / "tensorboard").exists()

"""``editkit train --data`` as people run it: it learns, stops, is killed, and goes on exactly, alone and in two."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_training import same
from toy_pictures import toys

from editkit import errors
from editkit.checkpoints.native import read_checkpoint, read_header, write_checkpoint
from editkit.cli import main
from train.config import TrainConfig
from train.dataset import open_dataset
from train.metrics.frechet import frechet_distance, statistics
from train.run import thumbnails
from train.snapshots import Folder, samples
from train.state_file import load_state
from train.training import Training
from train.transfer import Begun, check_shapes

ROOT = Path(__file__).resolve().parents[1]
COMMON = (
    "--recipe",
    "tiny",
    "--batch",
    "8",
    "--snapshot-every",
    "0.016",
    "--metric",
    "none",
    "--threads",
    "1",
    "--no-video",
)


@pytest.fixture(scope="module")
def trained(toys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 800 pictures."""
    out = tmp_path_factory.mktemp("runs") / "toys"
    options = ["--recipe", "tiny", "--batch", "16", "--kimg", "0.8", "--snapshot-every", "0.4", "--gamma", "0.3"]
    assert main(["train", "--data", str(toys), "--out", str(out), "--quiet", *options]) == 0
    return out


@pytest.fixture(scope="module")
def through(toys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 pictures without an interruption."""
    out = tmp_path_factory.mktemp("runs") / "through"
    assert start(toys, out).wait(120) == 0
    return out


def start(
    toys: Path, out: Path, *options: str, kimg: str = "0.064", ranks: int = 1, restarts: int = 0
) -> subprocess.Popen:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    launch += ["--max-restarts", str(restarts)] if restarts else []
    command = [sys.executable, *launch, "-m", "train", "--data", str(toys), "--out", str(out), "--kimg", kimg]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, *COMMON, "--device", "cpu", *options],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path: Path, process: subprocess.Popen, *, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def state_of(out: Path) -> dict:
    state = load_state(out / "state.safetensors")
    state.pop("facts")
    return state


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
    assert [line.split(",")[0] for line in said] == ["8 images", "16 images", "16 images"]
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


def test_killed_and_resumed_equals_uninterrupted(toys: Path, through: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    process = start(toys, out, kimg="10")
    wait_for(out / "state-previous.safetensors", process)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    seen = load_state(out / "state.safetensors")["seen"] if (out / "state.safetensors").exists() else 0
    if seen > 64:
        pytest.fail(f"the kill came late, at {seen} images")
    assert start(toys, out).wait(120) == 0
    assert same(state_of(through), state_of(out))


def test_terminated_it_keeps_everything(toys: Path, through: Path, tmp_path: Path) -> None:
    """No snapshot was due: what is there was written because of the signal."""
    out = tmp_path / "stopped"
    process = start(toys, out, "--snapshot-every", "1000", kimg="10")
    while "device" not in process.stdout.readline():  # the plan; training begins
        assert process.poll() is None, process.stderr.read()
    time.sleep(3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    seen = load_state(out / "state.safetensors")["seen"]
    assert seen % 8 == 0 and not (out / "state-previous.safetensors").exists()
    if seen < 64:
        assert start(toys, out).wait(120) == 0
        assert same(state_of(through), state_of(out))


def test_other_options_are_refused_by_name(toys: Path, through: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["train", "--data", str(toys), "--out", str(through), *COMMON, "--gamma", "7", "--lr", "0.1"])
    assert code == 2
    text = capsys.readouterr().err
    assert "gamma: 1.0 and now 7.0" in text and "lr: " in text and "another --out" in text


def test_a_damaged_snapshot_falls_back(through: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = Folder(tmp_path)
    data = (through / "state.safetensors").read_bytes()
    (tmp_path / "state-previous.safetensors").write_bytes(data)
    (tmp_path / "state.safetensors").write_bytes(data[: len(data) // 2])
    state = folder.load()
    assert state is not None and state["seen"] == 64 and "snapshot before" in caplog.text
    (tmp_path / "state-previous.safetensors").write_bytes(b"")
    with pytest.raises(errors.CheckpointError, match="no snapshot"):
        folder.load()


def test_a_full_disk_leaves_the_snapshot_before(through: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path)
    state = load_state(through / "state.safetensors")
    training = Training(TrainConfig.from_json(state["config"]))
    folder.save(training, {})
    before = (tmp_path / "state.safetensors").read_bytes()
    training.load_state_dict(state)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(errors.OutputError, match="space"):
        folder.save(training, {})
    assert (tmp_path / "state.safetensors").read_bytes() == before
    assert sorted(path.name for path in tmp_path.glob(".*")) == []


def test_a_real_full_disk_and_a_damaged_snapshot_on_the_command_line(
    toys: Path, through: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The system refuses to write: one line, exit code 1, the snapshot before intact. Then a flipped bit: one further
    back, it says so, and ends where the uninterrupted run did."""
    import resource

    out = shutil.copytree(through, tmp_path / "run")
    states = {name: (out / name).read_bytes() for name in ("state.safetensors", "state-previous.safetensors")}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(states["state.safetensors"]) // 2, limits[1]))
    try:
        code = main(["train", "--data", str(toys), "--out", str(out), "--kimg", "0.08", *COMMON, "--device", "cpu"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 1 and "no space left" in capsys.readouterr().err
    assert all((out / name).read_bytes() == data for name, data in states.items())
    assert not list(out.glob(".*"))
    flipped = bytearray(states["state.safetensors"])
    flipped[-1000] ^= 1
    (out / "state.safetensors").write_bytes(flipped)
    code = main(["train", "--data", str(toys), "--out", str(out), "--kimg", "0.064", *COMMON, "--device", "cpu"])
    assert code == 0 and "going on from 48 images" in capsys.readouterr().out
    assert "it is damaged; going back to the snapshot before" in caplog.text
    assert same(state_of(through), state_of(out))
    assert load_state(out / "state-previous.safetensors")["seen"] == 48  # not the damaged one


def test_fine_tuning_begins_from_the_weights(toys: Path, trained: Path, tmp_path: Path) -> None:
    source = str(trained / "generator.safetensors")
    options = ["--out", str(tmp_path / "tuned"), "--from", source, "--freeze-d", "2", "--kimg", "0.008", "--quiet"]
    assert main(["train", "--data", str(toys), *COMMON, *options]) == 0
    tuned = load_state(tmp_path / "tuned" / "state.safetensors")
    first = load_state(trained / "state.safetensors")
    assert same(tuned["config"]["generator"], first["config"]["generator"])
    moved = {k: not torch.equal(v, first["discriminator"][k]) for k, v in tuned["discriminator"].items()}
    assert not moved["b16.fromrgb.weight"] and not moved["b16.conv0.weight"] and moved["b4.out.weight"]
    assert (tuned["config"]["average_ramp"], tuned["config"]["speed_kimg"]) == (None, 100.0)
    near = [float((v - first["average"][k]).abs().max()) for k, v in tuned["generator"].items() if k.endswith("weight")]
    assert max(near) < 0.1


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


def test_mismatches_name_the_option(toys: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = str(trained / "generator.safetensors")
    code = main(["train", "--data", str(toys), "--out", str(tmp_path), "--from", source, "--resolution", "32"])
    assert code == 1 and "--resolution 16" in capsys.readouterr().err


def test_a_discriminator_that_does_not_fit_is_named(
    toys: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of other pictures, and one whose arguments are not those of its tensors: every tensor is named."""
    source, beside = tmp_path / "generator.safetensors", tmp_path / "discriminator.safetensors"
    shutil.copy(trained / source.name, source)
    judge = read_checkpoint(trained / beside.name)

    def refused(tensors: dict[str, torch.Tensor], **changes: object) -> str:
        header = judge.header | {"arguments": judge.header["arguments"] | changes}
        write_checkpoint(beside, tensors, {name: header[name] for name in ("kind", "arguments", "name", "training")})
        options = ["--out", str(tmp_path / "out"), "--from", str(source), "--kimg", "0.008"]
        assert main(["train", "--data", str(toys), *COMMON, *options]) == 1
        return capsys.readouterr().err

    text = refused(judge.tensors, img_resolution=32, img_channels=1)
    assert f"{beside} has img_resolution 32, the data 16; img_channels 1, the data 3; move it away to begin" in text
    tensors = dict(judge.tensors)
    tensors["b4.out.bias"], tensors["more"] = torch.zeros(7), tensors.pop("b4.fc.bias")
    text = refused(tensors)
    assert "b4.out.bias is [7] there and [1] here; b4.fc.bias is not there; more is there alone; move it" in text


def test_the_plan_of_fine_tuning_names_the_networks_and_the_settings(
    toys: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--out", str(tmp_path / "no"), "--from", str(trained / "generator.safetensors"), "--dry-run"]
    assert main(["train", "--data", str(toys), *COMMON, *options]) == 0
    assert "stylegan3 of generator.safetensors, settings of tiny: " in capsys.readouterr().out
    assert main(["train", "--data", str(toys), *options, "--recipe", "stylegan2"]) == 2
    text = capsys.readouterr().err
    assert "stylegan2 networks, generator.safetensors is a stylegan3" in text and "stylegan3-r or small or tiny" in text


def test_classes_that_do_not_fit_name_the_option() -> None:
    begun = Begun(
        kind="stylegan3", id="", arguments={"img_resolution": 16}, generator={}, discriminator_arguments=None,
        discriminator=None, source="mine",
    )  # fmt: skip
    with pytest.raises(errors.CheckpointError, match="mine has c_dim 0, the data 3; leave --cond out"):
        check_shapes(begun, resolution=16, channels=3, c_dim=3)
    begun.arguments["c_dim"] = 5
    with pytest.raises(errors.CheckpointError, match="give --cond with data of 5 classes"):
        check_shapes(begun, resolution=16, channels=3, c_dim=3)


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

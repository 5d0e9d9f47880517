"""A training run that is stopped, killed or out of disk goes on exactly."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path

import pytest
from small_training import same
from training_runs import COMMON, start, state_of, wait_for

from editkit import errors
from editkit.cli import main
from train.config import TrainConfig
from train.snapshots import Folder
from train.state_file import load_state
from train.training import Training


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

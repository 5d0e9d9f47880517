"""``editkit train --loss projected`` as people run it: it is killed and goes on exactly, with any features."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_training import same
from test_feature_backbones import saved
from training_runs import start, state_of, wait_for

from editkit.checkpoints.native import read_header
from editkit.cli import main
from train.state_file import load_state

ROOT = Path(__file__).resolve().parents[1]
SMALL = ("--recipe", "tiny", "--loss", "projected", "--threads", "1", "--device", "cpu")


def test_killed_and_resumed_equals_uninterrupted(toys: Path, tmp_path: Path) -> None:
    options = ("--loss", "projected")
    assert start(toys, tmp_path / "through", *options, kimg="0.048").wait(300) == 0
    process = start(toys, tmp_path / "killed", *options, kimg="10")
    wait_for(tmp_path / "killed" / "state.safetensors", process, seconds=300)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    seen = load_state(tmp_path / "killed" / "state.safetensors")["seen"]
    assert 0 < seen <= 48, f"the kill came late, at {seen} images"
    assert start(toys, tmp_path / "killed", *options, kimg="0.048").wait(300) == 0
    assert same(state_of(tmp_path / "through"), state_of(tmp_path / "killed"))


def test_fine_tuning_takes_up_the_projected_discriminator(
    toys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of another kind it begins anew, and says so."""
    run = ["train", "--data", str(toys), *SMALL, "--batch", "4", "--metric", "none", "--kimg", "0.004"]
    assert main([*run, "--out", str(tmp_path / "a")]) == 0
    header = read_header(tmp_path / "a" / "discriminator.safetensors")
    assert header["kind"] == "projected_discriminator" and header["training"]["features"]
    source = ["--from", str(tmp_path / "a" / "generator.safetensors")]
    assert main([*run, "--out", str(tmp_path / "b"), *source]) == 0
    assert "discriminator: all weights" in capsys.readouterr().out
    assert main([*run, "--out", str(tmp_path / "c"), *source, "--loss", "relativistic"]) == 0
    assert "other features" in capsys.readouterr().out
    assert main([*run, "--out", str(tmp_path / "d"), "--from", str(tmp_path / "a" / "discriminator.safetensors")]) == 1
    assert "begin from a generator" in capsys.readouterr().err


def test_other_features_and_a_classifier_from_files(
    toys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A convolutional network and a classifier of timm, both saved here; other weights are refused on resume."""
    names = sorted(path.name for path in toys.glob("*.png"))
    (toys / "dataset.json").write_text(json.dumps({"labels": [[name, i % 3] for i, name in enumerate(names)]}))
    (tmp_path / "judges").mkdir()
    network = saved(tmp_path, "test_efficientnet")
    classifier = saved(tmp_path / "judges", "test_resnet", classes=3)
    command = ["train", "--data", str(toys), "--out", str(tmp_path / "out"), "--recipe", "tiny-xl", "--cond"]
    command += ["--batch", "4", "--metric", "none", "--threads", "1", "--device", "cpu"]
    features = ["--features", f"timm:test_efficientnet@64={network}", "--features", "bundled"]
    guidance = ["--guidance", f"timm:test_resnet@64={classifier}"]
    assert main([*command, *features, *guidance, "--kimg", "0.004"]) == 0
    assert "timm:test_efficientnet@64-" in capsys.readouterr().out
    state = load_state(tmp_path / "out" / "state.safetensors")
    assert len(state["config"]["features"]) == 2 and state["config"]["guidance"].startswith("timm:test_resnet@64-")
    assert state["generator"]["mapping.embed.weight"].shape == (3, 256)  # as wide as the first one's coarsest map
    log = (tmp_path / "out" / "log.jsonl").read_text() if (tmp_path / "out" / "log.jsonl").exists() else ""
    assert main([*command, *features, *guidance, "--kimg", "0.008"]) == 0, log
    assert main([*command, *guidance, "--kimg", "0.012"]) == 2
    assert "features: " in capsys.readouterr().err


def test_it_needs_torch_numpy_and_pillow_alone(toys: Path, tmp_path: Path) -> None:
    hidden = ("safetensors", "numba", "sklearn", "scipy", "lpips", "torchvision", "timm", "gradio", "skimage", "av")
    program = (
        "import sys\n"
        f"for name in {(*hidden, 'triton')!r}: sys.modules[name] = None\n"
        "from editkit.cli import main\n"
        f"sys.exit(main(['train', '--data', {str(toys)!r}, '--out', {str(tmp_path / 'bare')!r}, "
        f"'--kimg', '0.004', '--batch', '4', '--metric', 'none', *{SMALL!r}]))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "bare" / "generator.safetensors").is_file()


def test_ctrl_c_in_a_terminal_ends_in_good_order_with_workers(toys: Path, tmp_path: Path) -> None:
    """It reaches the workers that decode as well, and they must not leave the training without pictures."""
    command = [sys.executable, "-m", "train", "--data", str(toys), "--out", str(tmp_path / "out"), "--recipe", "tiny"]
    command += ["--batch", "4", "--metric", "none", "--threads", "1", "--device", "cpu", "--workers", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while "device" not in process.stdout.readline():
        assert process.poll() is None, process.stderr.read()
    time.sleep(5)
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.5)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False).stdout
    code = process.wait(120)
    assert code == 130, process.stderr.read()
    assert (tmp_path / "out" / "state.safetensors").is_file(), children

"""Shared by the tests of `editkit train --data`: the command as a process, and runs to look at."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from editkit.cli import main
from train.state_file import load_state

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


@pytest.fixture(scope="session")
def trained(toys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 800 pictures."""
    out = tmp_path_factory.mktemp("runs") / "toys"
    options = ["--recipe", "tiny", "--batch", "16", "--kimg", "0.8", "--snapshot-every", "0.4", "--gamma", "0.3"]
    assert main(["train", "--data", str(toys), "--out", str(out), "--quiet", *options]) == 0
    return out


@pytest.fixture(scope="session")
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

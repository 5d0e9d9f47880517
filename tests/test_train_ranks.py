"""``torchrun -m train``: two processes give what one gives, and one that is killed costs the steps since a snapshot."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from small_training import close
from torch.distributed import HashStore
from training_runs import COMMON, ROOT, start, wait_for

from editkit.errors import EditkitError
from train.config import TrainConfig
from train.meeting import fresh_corner
from train.state_file import load_state
from train.training import Training


@pytest.fixture(scope="module")
def alone(toys: Path, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """64 pictures by one process, in parts as two have them."""
    out = tmp_path_factory.mktemp("runs") / "alone"
    assert start(toys, out, "--micro-batch", "4").wait(120) == 0
    return taken_up(out)


def taken_up(out: Path) -> Training:
    state = load_state(out / "state.safetensors")
    training = Training(TrainConfig.from_json(state["config"]))
    training.load_state_dict(state)
    return training


def kill_one_of(process: subprocess.Popen) -> None:
    command = ["pgrep", "-P", str(process.pid)]
    workers = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    os.kill(int(workers[-1]), signal.SIGKILL)


def test_two_processes_give_what_one_gives(toys: Path, alone: Training, tmp_path: Path) -> None:
    """Also where one of them is killed: its partner ends too, and the next start goes on from the last snapshot."""
    two = tmp_path / "two"
    process = start(toys, two, "--micro-batch", "4", ranks=2, kimg="10")
    wait_for(two / "state.safetensors", process)
    kill_one_of(process)
    assert process.wait(60) != 0
    assert 0 < load_state(two / "state.safetensors")["seen"] <= 64
    assert start(toys, two, "--micro-batch", "4", ranks=2).wait(120) == 0
    found = taken_up(two)
    assert found.seen == alone.seen == 64 and close(alone, found, tolerance=1e-3)


def test_torchrun_starts_them_again(toys: Path, alone: Training, tmp_path: Path) -> None:
    """``--max-restarts``: nobody needs to be there. The store of torchrun still holds where the dead ones were."""
    two = tmp_path / "two"
    process = start(toys, two, "--micro-batch", "4", ranks=2, restarts=1)
    wait_for(two / "state.safetensors", process)
    kill_one_of(process)
    assert process.wait(180) == 0, process.stderr.read()
    assert "going on from" in process.stdout.read()
    found = taken_up(two)
    assert found.seen == 64 and close(alone, found, tolerance=1e-3)


def test_processes_that_do_not_share_a_folder_or_their_options_end_before_anything_is_trained(
    toys: Path, tmp_path: Path
) -> None:
    """As on two machines: each started by itself."""
    both = [tmp_path / "both"] * 2
    for outs, seeds, message in (
        ([tmp_path / "mine", tmp_path / "yours"], "00", "must be one folder, on a drive that all of them share"),
        (both, "01", "differ in their options, data or snapshots"),
    ):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
        processes = []
        for rank, (out, seed) in enumerate(zip(outs, seeds, strict=True)):
            options = [*COMMON, "--device", "cpu", "--kimg", "0.064", "--out", str(out), "--seed", seed]
            environment = os.environ | where | {"RANK": str(rank), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
            command = [sys.executable, "-m", "train", "--data", str(toys), *options]
            processes.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
        for process in processes:
            _, said = process.communicate(timeout=120)
            assert process.returncode == 2 and message in said, said
        assert not any(path.is_file() for out in outs if out.is_dir() for path in out.rglob("*"))


def test_processes_meet_where_no_start_before_has_been() -> None:
    store = HashStore()
    names = set()
    for _ in range(3):  # each finds what those before left
        found = meet(store, 3)
        for rank, corner in enumerate(found):
            corner.set(f"from{rank}", str(rank))
        assert all(corner.get(f"from{rank}") == b"%d" % rank for corner in found for rank in range(3))
        assert not any(corner.check(["left"]) for corner in found)
        found[0].set("left", "behind")
        names |= {corner.get("left") for corner in found}
    assert names == {b"behind"}


def test_a_process_that_does_not_come_is_named() -> None:
    with pytest.raises(EditkitError, match="process 1 of this training did not come"):
        fresh_corner(HashStore(), 0, 2, patience=timedelta(seconds=0.2))
    with pytest.raises(EditkitError, match="the first process of this training did not come"):
        fresh_corner(HashStore(), 1, 2, patience=timedelta(seconds=0.2))


def meet(store: HashStore, size: int) -> list:
    found: list = [None] * size

    def come(rank: int) -> None:
        found[rank] = fresh_corner(store, rank, size, patience=timedelta(seconds=30))

    threads = [threading.Thread(target=come, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found

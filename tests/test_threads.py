"""Threads of the command: they sleep while they wait, and are no more than the container may use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from editkit import threads
from editkit.threads import container_cores, settle_threads, usable_cores

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """``quota("150000 100000")``: what the container's file says; several texts for the older layout."""

    def write(*texts: str) -> None:
        files = []
        for index, text in enumerate(texts):
            (tmp_path / str(index)).write_text(text + "\n")
            files.append(str(tmp_path / str(index)))
        monkeypatch.setattr(threads, "_QUOTA", ((str(tmp_path / "absent"),), tuple(files)))

    return write


@pytest.mark.parametrize(
    ("texts", "cores"),
    [
        (["200000 100000"], 2),
        (["150000 100000"], 2),
        (["10000 100000"], 1),
        (["max 100000"], None),
        (["250000", "100000"], 3),
        (["-1", "100000"], None),
        ([""], None),
    ],
)
def test_the_quota_of_a_container_is_read(quota, texts: list[str], cores: int | None) -> None:
    quota(*texts)
    assert container_cores() == cores


def test_no_container_is_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_QUOTA", (("/no/such/file",),))
    assert container_cores() is None


def test_threads_sleep_while_they_wait_and_keep_to_the_quota(quota, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    quota("400000 100000")
    environment: dict[str, str] = {}
    settle_threads(environment)
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "4"}
    quota("6400000 100000")  # as many as there are: nothing to say
    environment = {}
    settle_threads(environment)
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE"}


def test_what_the_user_has_set_stays(quota, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    quota("400000 100000")
    mine = {"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": "7"}
    settle_threads(mine)
    assert mine == {"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": "7"}


def test_a_command_settles_them_before_torch_is_imported() -> None:
    script = (
        "import os, sys\n"
        "from editkit import cli, threads\n"
        "settle = cli.settle_threads\n"
        "cli.settle_threads = lambda: (settle(), print('torch' in sys.modules, os.environ['OMP_WAIT_POLICY']))\n"
        "cli.main(['--version'])\n"
    )
    bare = {key: value for key, value in os.environ.items() if not key.startswith("OMP_")}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=bare, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines()[0] == "False PASSIVE", done.stderr


def test_usable_cores_are_within_the_quota(quota) -> None:
    quota("max 100000")
    free = usable_cores()
    assert 1 <= free <= (os.cpu_count() or 1)
    quota("50000 100000")
    assert usable_cores() == 1

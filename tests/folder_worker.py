"""A folder run that is killed at random moments, or shared by two processes; see tests/test_project_killed.py.

One process imports torch once and forks a child a round: `python folder_worker.py kill|share PHOTOS OUT LOG`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from linear_generator import LinearGenerator

from editkit.edits import Recipe
from projector import Optimise, folder
from projector.job import FILES, Job
from projector.losses import Weights
from projector.sources import sources_of

ROUNDS = 20


class Pixels:
    """A perceptual distance that needs no network."""

    name, unit = "mse", "squared"

    def distance(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return (first - second).square().mean((1, 2, 3))


class Log:
    """Appends a line for every photo that this process has done itself."""

    def __init__(self, path: Path) -> None:
        self.file = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY)

    def begin(self, source, index, total) -> None:
        pass

    def step(self, step) -> None:
        pass

    def end(self, source, entry) -> None:
        if not entry["skipped"]:
            os.write(self.file, f"{os.getpid()} {entry['status']} {source.name}\n".encode())


def child(job: Job, photos: Path, out: Path, log: Path) -> int:
    """Fork one run; its process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        summary = folder.run(job, sources_of(photos, out=out), out, watch=Log(log))
        code = 3 if summary.failed else 0
    finally:
        os._exit(code)


def done(out: Path) -> dict[str, tuple[int, int]]:
    """What is there under its final name, complete, and when it was put there."""
    found = {}
    for place in out.iterdir():
        if place.is_dir() and not place.name.startswith("."):
            assert sorted(path.name for path in place.iterdir()) == sorted(FILES), place
            json.loads((place / "report.json").read_text())
            facts = (place / "report.json").stat()
            found[place.name] = (facts.st_ino, facts.st_mtime_ns)
    return found


def lines(log: Path) -> int:
    """How many photos have been done."""
    return log.read_bytes().count(b"\n") if log.is_file() else 0


def wait_for(log: Path, count: int, *, patience: float = 20.0) -> None:
    """Until so many have been done."""
    until = time.monotonic() + patience
    while lines(log) < count and time.monotonic() < until:
        time.sleep(0.002)


def main() -> int:
    mode, photos, out, log = sys.argv[1], *map(Path, sys.argv[2:5])
    torch.set_num_threads(1)
    folder.POLL = 0.02
    method = Optimise(steps=2, weights=Weights(perceptual=0.0))
    job = Job(generator=LinearGenerator(resolution=16), method=method, perceptual=Pixels(), recipe=Recipe(name="n", edits=()), convention="centre")  # fmt: skip  # noqa: E501
    out.mkdir()
    if mode == "share":
        codes = [
            os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in [child(job, photos, out, log) for _ in "ab"]
        ]
        assert codes == [0, 0], codes
        done(out)
        return 0
    kept: dict[str, tuple[int, int]] = {}
    rng, killed = random.Random(0), 0
    for _ in range(ROUNDS):
        before = lines(log)
        pid = child(job, photos, out, log)
        wait_for(log, before + rng.randint(0, 4))  # so that rounds get somewhere on a slow machine too
        time.sleep(rng.uniform(0.0, 0.1))
        os.kill(pid, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(pid, 0)[1])
        now = done(out)
        assert all(now[name] == facts for name, facts in kept.items()), "a photo that was done was done again"
        kept = now
    code = os.waitstatus_to_exitcode(os.waitpid(child(job, photos, out, log), 0)[1])
    now = done(out)
    assert all(now[name] == facts for name, facts in kept.items())
    print(json.dumps({"killed": killed, "code": code, "before": len(kept), "done": len(now)}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""The job of a Ray worker in tests/test_project_ray.py: workers note that they made one, and some photos kill."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import torch
from linear_generator import LinearGenerator

from editkit.edits import Recipe
from projector import Optimise
from projector.job import Job
from projector.losses import Weights


class Pixels:
    """A perceptual distance that needs no network; a photo's marks decide whether its worker lives."""

    name, unit = "mse", "squared"

    def __init__(self, place: Path) -> None:
        self.place = place

    def distance(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """``second`` is the photo: a red one kills its worker always, a blue one the first time."""
        red, _, blue = second.mean((0, 2, 3)).tolist()
        once = self.place / "killed"
        now = blue > 0.9 and not once.exists()
        if now:
            once.touch()
        if now or red > 0.9:
            os.kill(os.getpid(), signal.SIGKILL)
        return (first - second).square().mean((1, 2, 3))


def make(place: Path) -> Job:
    """A job, and a line that says in which process."""
    with (place / "made").open("a") as file:
        file.write(f"{os.getpid()}\n")
    method = Optimise(steps=1, weights=Weights(perceptual=0.0))
    return Job(generator=LinearGenerator(resolution=16), method=method, perceptual=Pixels(place), recipe=Recipe(name="n", edits=()), convention="centre")  # fmt: skip  # noqa: E501

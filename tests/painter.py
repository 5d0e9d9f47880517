"""Shared by the tests of directions: a generator whose scores are known by hand, and no bundled directions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from linear_generator import LinearGenerator

from directions import catalog
from directions.attributes import Scorer

SCALES = [3.0, 1.0, 2.0, 0.1]


class Painter(LinearGenerator):
    """Score "first" is w[0], "second" w[1] + w[0] / 2 and "third" w[2], averaged over rows, read off three pixels."""

    def __init__(self, **options) -> None:
        super().__init__(scales=SCALES, **options)
        self.basis = torch.eye(4)
        self.paint = torch.zeros_like(self.paint)
        self.paint[0, 0] = 1.0
        self.paint[1, 1], self.paint[1, 0] = 1.0, 0.5
        self.paint[2, 2] = 1.0


def pixel(name: str, column: int) -> Scorer:
    return Scorer(name=name, unit="", measure=lambda images: images[:, 0, 0, column])


SCORERS = (pixel("first", 0), pixel("second", 1), pixel("third", 2))


@pytest.fixture(autouse=True)
def no_bundled_directions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "bundled_directions", lambda: tmp_path / "bundled")

"""Measurements that are kept on disk, so that a long search goes on where it was stopped.

A measurement is known by everything that decides it: generator, vector, scorers, deviations, samples and strengths. The
file is JSON; it is a scratch file of one search on one machine, and goes when that search is done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from directions.attributes import Scorer
from directions.likeness import FACES, FARTHER, SAMPLES, Likeness
from directions.measurement import Measurement, Part
from directions.score import Baseline, measure, sample_latents, scores_of
from editkit.direction import Direction
from editkit.files import ensure_folder, user_folder, write_text

if TYPE_CHECKING:
    from editkit.generator import Generator

_KEEP_EVERY = 8  # measurements between two writes


class Remembered:
    """``measure`` with a memory. ``asked`` and ``known`` count the measurements, and those that were in the file."""

    def __init__(self, path: Path | None) -> None:
        """``path``: the file, read if it is there and readable; None keeps nothing."""
        self.path = path
        self.asked = self.known = self._unsaved = 0
        self._kept: dict[str, dict[str, Any]] = _read(path)
        self._samples: dict[tuple[object, ...], dict[str, Tensor]] = {}

    def measure(
        self,
        G: Generator,
        direction: Direction,
        scorers: Sequence[Scorer],
        *,
        against: Baseline,
        samples: int,
        seed: int,
        strengths: Sequence[float] | None = None,
    ) -> Measurement:
        """As ``directions.score.measure``."""

        def measured() -> dict[str, Any]:
            options: dict[str, Any] = {"against": against, "samples": samples, "seed": seed, "strengths": strengths}
            seen = measure(G, direction, scorers, **options, unedited=self._unedited(G, scorers, samples, seed))
            return {"parts": [asdict(part) for part in seen.parts], "samples": seen.samples}

        rest = [
            "halves",
            [one.identity for one in scorers],
            (samples, seed, strengths and list(strengths)),
            sorted(against.deviation.items()),
        ]
        one = self._known(_key(G, direction, rest), measured)
        return Measurement(parts=tuple(Part(**part) for part in one["parts"]), samples=one["samples"])

    def ends(self, G: Generator, direction: Direction, likeness: Callable[[], Likeness]) -> tuple[float, float]:
        """As ``Likeness.ends``, of a likeness that is made when it is needed."""
        made = self._known(
            _key(G, direction, ["ends", FARTHER, FACES, SAMPLES]), lambda: {"ends": list(likeness().ends(G, direction))}
        )
        low, high = made["ends"]
        return low, high

    def _unedited(self, G: Generator, scorers: Sequence[Scorer], samples: int, seed: int) -> dict[str, Tensor]:
        """Scores of the samples as they are: the same for every direction, so not rendered again for each."""
        key = (G.spec.id, samples, seed, tuple(one.identity for one in scorers))
        if key not in self._samples:
            self._samples[key] = scores_of(G, sample_latents(G, samples=samples, seed=seed), scorers)
        return self._samples[key]

    def _known(self, key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        self.asked += 1
        if key in self._kept:
            self.known += 1
        else:
            self._kept[key] = make()
            self._unsaved += 1
            if self._unsaved >= _KEEP_EVERY:
                self.keep()
        return self._kept[key]

    def keep(self) -> None:
        """Write what is not written yet. Raises OutputError."""
        if self.path is not None and self._unsaved:
            ensure_folder(self.path.parent)
            write_text(self.path, json.dumps(self._kept))
        self._unsaved = 0

    def forget(self) -> None:
        """Remove the file: the search is done."""
        self._unsaved = 0
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def scratch(generator: str) -> Path:
    """Where the measurements of an unfinished rebuild of a generator's directions are kept."""
    return user_folder() / "rebuilds" / f"{generator[:12]}.json"


def _read(path: Path | None) -> dict[str, dict[str, Any]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path is not None else {}
    except (OSError, ValueError):  # not there, or of a disk that was full: everything is measured again
        return {}
    return found if isinstance(found, dict) else {}


def _key(G: Generator, direction: Direction, rest: Sequence[object]) -> str:
    digest = hashlib.sha256()
    digest.update(json.dumps([G.spec.id, direction.space, direction.strength, *rest]).encode())
    for name, part in direction.named_tensors().items():
        digest.update(name.encode())
        digest.update(part.detach().cpu().to(torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()

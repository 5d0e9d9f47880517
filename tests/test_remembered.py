"""Measurements are kept, known again by what decides them, and lost with nothing but time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from linear_generator import LinearGenerator

from directions import remembered
from directions.attributes import Scorer
from directions.remembered import Remembered, scratch
from directions.score import baseline
from editkit.direction import Direction

FIRST = Scorer(name="first", unit="", measure=lambda images: images[:, 0, 0, 0])
G = LinearGenerator()
PUSH = Direction(name="push", vector=torch.ones(4), space="w", generator=G.spec.id)


@pytest.fixture
def against():
    return baseline(G, [FIRST], samples=50)


def ask(memory, against, direction=PUSH, **changes):
    options = {"against": against, "samples": 3, "seed": 7, "strengths": (-1.0, 1.0), **changes}
    return memory.measure(G, direction, [FIRST], **options)


def test_what_was_measured_is_read_again(tmp_path, against, monkeypatch):
    path = tmp_path / "deep" / "kept.json"
    memory = Remembered(path)
    first = ask(memory, against)
    memory.keep()
    monkeypatch.setattr(remembered, "measure", lambda *_, **__: pytest.fail("it was measured again"))
    again = Remembered(path)
    seen = ask(again, against)
    assert (again.asked, again.known) == (1, 1) and seen.strengths == first.strengths == (-1.0, 0.0, 1.0)
    assert seen.effects == first.effects and seen.monotonicity == first.monotonicity  # to the last bit
    assert seen.errors == first.errors
    again.forget()
    assert not path.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 8},
        {"samples": 4},
        {"strengths": (-1.0, 2.0)},
        {"strengths": None},
        {"direction": replace(PUSH, vector=torch.tensor([1.0, 1.0, 1.0, 1.0001]))},
        {"direction": replace(PUSH, vector=torch.ones(3, 4), space="w+")},
    ],
)
def test_anything_that_decides_a_measurement_makes_it_another(against, changes):
    memory = Remembered(None)
    ask(memory, against)
    ask(memory, against, **changes)
    assert (memory.asked, memory.known) == (2, 0)
    ask(memory, against)
    assert memory.known == 1
    memory.forget()


def test_a_damaged_file_is_measured_again(tmp_path, against):
    path = tmp_path / "kept.json"
    for text in ("{", "[]", '{"a": '):
        path.write_text(text)
        memory = Remembered(path)
        ask(memory, against)
        assert memory.known == 0


def test_it_is_written_now_and_then(tmp_path, against):
    memory = Remembered(tmp_path / "kept.json")
    for seed in range(9):
        ask(memory, against, seed=seed)
    assert len(Remembered(tmp_path / "kept.json")._kept) == 8


def test_scratch_files_are_the_users(tmp_path, monkeypatch):
    monkeypatch.setenv("EDITKIT_HOME", str(tmp_path))
    assert scratch("a" * 64) == tmp_path / "rebuilds" / f"{'a' * 12}.json"

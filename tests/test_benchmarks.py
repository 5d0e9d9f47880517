"""The benchmark command on tiny networks: that it is right and writes its table; never how long it takes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from network_fixtures import relative_error

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import baseline, cpu  # noqa: E402
from editkit.ops.backends import use_backend  # noqa: E402


def test_the_frozen_path_is_the_same_network() -> None:
    for text in ("T-32-2-forward", "R-32-1-forward"):
        case = cpu.Case.parse(text)
        model = case.model().double()
        ws = torch.randn(case.batch, model.num_ws, model.synthesis.w_dim, dtype=torch.float64)
        with torch.no_grad(), use_backend("polyphase"):
            # coupled styles, as the path was published; they differ through the stabilising 1e-8 only
            model.synthesis.couple_styles(True)
            assert relative_error(baseline.synthesis(model.synthesis, ws), model.synthesis(ws)) < 1e-9


def test_the_smoke_run_writes_its_table(tmp_path: Path) -> None:
    out = tmp_path / "table.md"
    out.write_text("before\n<!-- table -->\nold\n<!-- end of table -->\nafter\n")
    command = [
        sys.executable,
        "benchmarks/cpu.py",
        "--smoke",
        "--cases",
        "T-32-1-backward",
        "--backends",
        "fast",
        "--no-memory",
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(
        [*command, "--out", str(out)], cwd=ROOT, env=environment, check=True, capture_output=True, timeout=300
    )
    text = out.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    head, rows = lines[0], [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]
    assert head[:5] == ["network", "resolution", "batch", "pass", "backend"]
    assert [row["backend"] for row in rows] == ["baseline", "fast"]
    for row in rows:
        assert float(row["error"]) < 1e-5 and float(row["1 - cosine"]) < 1e-9
        assert float(row["CPU-s"]) > 0 and row["peak MB"] == "–"


def test_peak_memory_is_that_of_a_fresh_process() -> None:
    held = torch.ones(1 << 27)  # half a gigabyte that is not the child's
    assert 50 < cpu.peak(cpu.Case.parse("T-32-1-forward"), "polyphase", 1) < cpu.high_water() - 200 and held[0] == 1


def test_a_case_that_is_none_is_refused() -> None:
    import argparse

    import pytest

    with pytest.raises(argparse.ArgumentTypeError, match="a case is T or R"):
        cpu.Case.parse("X-256-1-forward")

"""Shared by all tests: where fixtures lie, tolerances per dtype, thread count."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from editkit.command import LOGGERS
from editkit.threads import settle_threads

settle_threads()  # before torch is imported

import torch  # noqa: E402
import triton_interpreter  # noqa: E402, F401 (before a test file imports a package that imports Triton)
from efficientnet_fixtures import lite0  # noqa: E402, F401
from page_fixtures import (  # noqa: E402, F401
    chromium,
    page_at_a_path,
    page_files,
    page_server,
    screenshots,
    visit,
)
from toy_pictures import toys  # noqa: E402, F401
from training_runs import through, trained  # noqa: E402, F401

LOCAL_FIXTURES = Path(__file__).parent / "fixtures"

# Relative to the largest magnitude of the reference: max|a - b| <= tolerance * max|b|.
TOLERANCES: dict[torch.dtype, float] = {
    torch.float64: 1e-10,
    torch.float32: 2e-5,
    torch.bfloat16: 2e-2,
    torch.float16: 3e-3,
}


def fixture_path(name: str) -> Path | None:
    """A fixture file or folder: in the folder named by EDITKIT_FIXTURES, else the copy in tests/fixtures, else None."""
    full = os.environ.get("EDITKIT_FIXTURES")
    for folder in ([Path(full)] if full else []) + [LOCAL_FIXTURES]:
        if (folder / name).exists():
            return folder / name
    return None


@pytest.fixture
def fixture_file() -> Callable[[str], Path]:
    """``fixture_file("networks/sg3t_64.safetensors")``: its path; a test whose fixture is nowhere fails."""

    def find(name: str) -> Path:
        path = fixture_path(name)
        if path is None:
            pytest.fail(f"fixture {name} is neither in tests/fixtures nor in the folder named by EDITKIT_FIXTURES")
        return path

    return find


def assert_close(actual: torch.Tensor, expected: torch.Tensor, *, tolerance: float | None = None) -> None:
    """Same shape, and no element further off than ``tolerance`` times the largest magnitude of ``expected``.

    The default tolerance is the table's, for the coarser of the two dtypes.
    """
    assert actual.shape == expected.shape, f"shape {tuple(actual.shape)} instead of {tuple(expected.shape)}"
    if tolerance is None:
        tolerance = max(TOLERANCES[actual.dtype], TOLERANCES[expected.dtype])
    a, b = actual.detach().cpu().double(), expected.detach().cpu().double()
    assert torch.isfinite(a).all(), "not finite"
    largest = b.abs().max().item() or 1.0
    error = (a - b).abs().max().item() / largest
    assert error <= tolerance, f"relative error {error:.3g} exceeds {tolerance:.3g}"


@pytest.fixture(autouse=True, scope="session")
def _threads() -> None:
    """As many threads as the machine has cores at hand; OMP_NUM_THREADS lowers it."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", min(2, os.cpu_count() or 1))))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of a test: nothing of this machine's user is seen, and nothing is left there."""
    monkeypatch.setenv("EDITKIT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Every test draws the same numbers, alone or among others."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """A command sets levels and handlers of our loggers (``--quiet``): what one of another test, or of a fixture of a
    whole file, left is undone."""
    _reset_loggers()
    yield
    _reset_loggers()


def _reset_loggers() -> None:
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.NOTSET)
        logger.handlers = []

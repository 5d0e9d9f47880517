"""Shared by the tests of `editkit directions`: a generator of two matrices, and the command."""

from __future__ import annotations

import pytest
from linear_generator import LinearGenerator

from directions import catalog
from editkit import cli


@pytest.fixture
def G(tmp_path, monkeypatch):
    generator = LinearGenerator(resolution=16, scales=[2.0, 1.0, 0.5, 0.1])
    monkeypatch.setattr(catalog, "bundled_directions", lambda: tmp_path / "bundled")
    monkeypatch.setattr("editkit.generator.load_generator", lambda source, *, device="auto": generator)
    return generator


def run(capsys, *arguments):
    code = cli.main(["directions", *map(str, arguments)])
    return code, capsys.readouterr()

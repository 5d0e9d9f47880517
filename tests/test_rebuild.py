"""`editkit rebuild`: the picture of the main job."""

from __future__ import annotations

from pathlib import Path

import pytest

from editkit import cli
from editkit.errors import EditkitError
from train.rebuild import show_main_job

ROOT = Path(__file__).resolve().parents[1]


def test_the_picture_is_what_the_main_job_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def project(arguments: list[str]) -> int:
        assert arguments[0] == "project"
        folder = Path(arguments[arguments.index("--out") + 1]) / "astronaut"
        folder.mkdir()
        (folder / "compare.png").write_bytes(b"new")
        return 0

    monkeypatch.setattr(cli, "main", project)
    show_main_job(tmp_path / "compare.png")
    assert (tmp_path / "compare.png").read_bytes() == b"new"


def test_a_failed_main_job_leaves_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "compare.png").write_bytes(b"old")
    monkeypatch.setattr(cli, "main", lambda arguments: 1)
    with pytest.raises(EditkitError, match="ended with 1"):
        show_main_job(tmp_path / "compare.png")
    assert (tmp_path / "compare.png").read_bytes() == b"old"


def test_every_picture_of_the_documentation_is_shown_somewhere_or_a_sheet_of_the_generator() -> None:
    texts = "".join(path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
    stray = [
        path.name
        for path in (ROOT / "docs" / "images").iterdir()
        if f"images/{path.name}" not in texts and not path.name.startswith("faces64_samples")
    ]
    assert not stray

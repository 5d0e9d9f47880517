"""The documentation builds without a warning, and its tutorials do what they say; the page's: test_page_tutorial.py."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from documents import DOCS, ROOT, blocks, editkit_commands, tutorial
from PIL import Image

from editkit import cli
from editkit.checkpoints.header import read_header
from editkit.generator import DEFAULT, MODELS

ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder to work in: me.jpg, and photos/ with crops of it."""
    import skimage.data  # its pictures ship in the wheel

    portrait = Image.fromarray(skimage.data.astronaut())
    portrait.save(tmp_path / "me.jpg", quality=95)
    (tmp_path / "photos").mkdir()
    for i in range(2):
        portrait.crop((16 * i, 0, 448 + 16 * i, 448)).save(tmp_path / "photos" / f"{i}.jpg", quality=95)
    return tmp_path


def run(words: list[str], folder: Path) -> str:
    done = subprocess.run(words, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_the_documentation_builds_without_warnings(tmp_path: Path) -> None:
    run([sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")], ROOT)
    pages = {path.relative_to(DOCS).with_suffix("") for path in DOCS.rglob("*.md")}
    built = {path.parent.relative_to(tmp_path / "site") for path in (tmp_path / "site").rglob("index.html")}
    assert {page for page in pages if page.name != "index"} <= built
    entries = re.findall(r'id="([\w.]+)"', (tmp_path / "site" / "api" / "index.html").read_text(encoding="utf-8"))
    for package in ("editkit", "projector", "directions"):
        for name in set(importlib.import_module(package).__all__) - {"__version__"}:
            assert any(entry.startswith(f"{package}.") and entry.endswith(f".{name}") for entry in entries), (
                f"docs/api.md lacks {package}.{name}"
            )


def test_links_and_names_of_python_lead_somewhere() -> None:
    for page in DOCS.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#\s]+)", text):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"
        for module, name in re.findall(r"`(editkit|projector|directions)\.([A-Z]\w+)", text):
            assert hasattr(importlib.import_module(module), name), f"{page.name}: {module}.{name}"


@pytest.mark.parametrize("page", [path.relative_to(DOCS).as_posix() for path in sorted(DOCS.rglob("*.md"))])
def test_commands_of_every_page_parse(page: str) -> None:
    for arguments in editkit_commands((DOCS / page).read_text(encoding="utf-8")):
        try:
            cli.build_parser(only=arguments[0]).parse_args(arguments)
        except SystemExit as stop:
            assert stop.code == 0, f"{page}: editkit {shlex.join(arguments)} does not parse"


def test_the_card_is_of_the_bundled_generator() -> None:
    header = read_header(MODELS / f"{DEFAULT}.safetensors")
    card = (MODELS / f"{DEFAULT}.md").read_text(encoding="utf-8")
    assert header["id"] in card
    assert f"{header['training']['images']:,} images seen" in card


@pytest.mark.slow
def test_the_python_tutorial_runs(photos: Path) -> None:
    (code,) = blocks(tutorial("python.md"), "python")
    said = run([sys.executable, "-c", code], photos)
    assert float(re.findall(r"'psnr': ([\d.]+)", said)[-1]) > 22, "a face that is somebody else's"
    for name in ("turned.png", "pasted.png", "change.gif"):
        with Image.open(photos / name) as picture:
            picture.verify()
    assert (photos / "me.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "made"),
    [
        ("commands.md", ["out/astronaut/edited.png", "bright.png", "album/report.html", "faces/grid.png", "walk.gif"]),
        ("training.md", ["mine.zip", "runs/mine/generator.safetensors", "samples/seed0003.png"]),
    ],
)
def test_the_commands_of_a_tutorial_run(page: str, made: list[str], photos: Path) -> None:
    for arguments in editkit_commands(tutorial(page)):
        run([sys.executable, "-m", "editkit", *arguments], photos)
    missing = [name for name in made if not (photos / name).is_file()]
    assert not missing, f"{page} promises {missing}"

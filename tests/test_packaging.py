"""What a user gets: the wheel and the source archive, built without network, and the size of what is in the tree."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"editkit", "projector", "directions", "train"}
WEIGHT_FOLDERS = ("editkit/models", "directions/bundled")
MIB = 2**20
MAX_WEIGHTS = 30 * MIB
MAX_TEST_DATA = 8 * MIB

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("hatchling") is None, reason='needs the extra "dev": pip install -e ".[dev]"'
)


def tracked(folder: str) -> list[Path]:
    """Files below a folder that belong to the project: no byte code, no caches."""
    return [
        path
        for path in sorted((ROOT / folder).rglob("*"))
        if path.is_file() and path.suffix != ".pyc" and not any(part.startswith("__pycache__") for part in path.parts)
    ]


def build(kind: str, folder: Path) -> Path:
    """Build with the installed hatchling: nothing is downloaded."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)],
        cwd=ROOT, check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(build("wheel", tmp_path_factory.mktemp("wheel"))) as archive:
        yield archive


@pytest.fixture(scope="module")
def sdist_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    with tarfile.open(build("sdist", tmp_path_factory.mktemp("sdist"))) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def test_wheel_has_the_four_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    top = {name.split("/")[0] for name in wheel.namelist()}
    info = {name for name in top if name.endswith(".dist-info")}
    assert len(info) == 1
    assert top - info == PACKAGES


def test_wheel_has_every_source_file(wheel: zipfile.ZipFile) -> None:
    expected = {path.relative_to(ROOT).as_posix() for package in PACKAGES for path in tracked(package)}
    packed = {name for name in wheel.namelist() if name.split("/")[0] in PACKAGES}
    assert packed == expected
    assert {f"{package}/py.typed" for package in PACKAGES} <= packed


def test_wheel_has_the_bundled_weights_and_their_cards(wheel: zipfile.ZipFile) -> None:
    weights = [n for n in wheel.namelist() if n.startswith(WEIGHT_FOLDERS) and n.endswith(".safetensors")]
    for name in ("landmarks", "features"):
        assert f"editkit/models/{name}.safetensors" in weights
    assert len([name for name in weights if name.startswith("editkit/models/")]) >= 3, "no bundled generator"
    assert [name for name in weights if name.startswith("directions/bundled/")], "no bundled direction"
    cards = {n for n in wheel.namelist() if n.startswith("editkit/models/") and n.endswith(".md")}
    missing = [
        n
        for n in weights
        if n.startswith("editkit/models/")
        and n.replace(".discriminator", "").replace(".safetensors", ".md") not in cards
    ]
    assert not missing, f"without a card: {missing}"


def test_wheel_metadata(wheel: zipfile.ZipFile) -> None:
    def read(name: str) -> str:
        (path,) = [n for n in wheel.namelist() if n.endswith(f".dist-info/{name}")]
        return wheel.read(path).decode()

    metadata = read("METADATA")
    assert "License-Expression: Apache-2.0" in metadata
    assert "Requires-Dist: torch<2.14,>=2.6" in metadata
    assert any(name.endswith("/LICENSE") for name in wheel.namelist())
    entry_points = read("entry_points.txt")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name, target in project["entry-points"]["editkit.commands"].items():
        assert f"{name} = {target}" in entry_points
    assert "editkit = editkit.cli:main" in entry_points


def test_version_is_the_one_in_the_code(wheel: zipfile.ZipFile) -> None:
    import editkit

    assert Path(wheel.filename or "").name.startswith(f"editkit-{editkit.__version__}-py3")


def test_sdist_has_sources_tests_and_papers(sdist_names: set[str]) -> None:
    for folder in [*sorted(PACKAGES), "tests", "docs"]:
        expected = {path.relative_to(ROOT).as_posix() for path in tracked(folder)}
        assert expected <= sdist_names, f"missing: {sorted(expected - sdist_names)[:5]}"
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md"} <= sdist_names


def test_bundled_weights_are_small() -> None:
    total = sum(path.stat().st_size for folder in WEIGHT_FOLDERS for path in tracked(folder))
    assert total <= MAX_WEIGHTS, f"{total / MIB:.1f} MiB of bundled files, at most {MAX_WEIGHTS / MIB:.0f}"


def test_no_weights_elsewhere() -> None:
    found = [
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in tracked(package)
        if path.suffix in {".safetensors", ".pt", ".pth", ".pkl", ".npz", ".npy", ".onnx"}
        and not path.relative_to(ROOT).as_posix().startswith(WEIGHT_FOLDERS)
    ]
    assert not found, f"weights outside {WEIGHT_FOLDERS}: {found}"


def test_the_tests_data_are_small() -> None:
    total = sum(path.stat().st_size for path in tracked("tests") if path.suffix != ".py")
    assert total <= MAX_TEST_DATA, f"{total / MIB:.1f} MiB of test data, at most {MAX_TEST_DATA / MIB:.0f}"


def test_no_path_of_one_machine_in_the_tree() -> None:
    marks = [f"/{folder}/" for folder in ("work", "root", "home")] + ["/tmp" + "/"]
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in [*sorted(PACKAGES), "tests", "docs"]
        for path in tracked(folder)
        if path.suffix in {".py", ".md", ".toml", ".json", ".html"}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if any(
            line.partition(mark)[0][-1:] not in {"", *"abcdefghijklmnopqrstuvwxyz.~"} for mark in marks if mark in line
        )
    ]
    assert not found, "\n".join(found)

"""The promises of the layout, proved from the syntax trees: arrows, lazy imports, declared packages, short files."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import tomllib

import pytest
from source_trees import PACKAGES, ROOT, SOURCES, all_imports, imported_modules, module_level, name_of, tree_of

MAX_LINES = 300


# What each package may not import. editkit.page is the roof: it may import anything but train.
FORBIDDEN = {
    "editkit": {"projector", "directions", "train", "editkit.page", "app"},
    "editkit.page": {"train", "app"},
    "projector": {"directions", "train", "editkit.page", "app"},
    "directions": {"projector", "train", "editkit.page", "app"},
    "train": {"editkit.page", "app"},
}


HEAVY = {"sklearn", "skimage", "gradio", "face_alignment", "lpips", "av", "torchvision", "pillow_heif", "open_clip"}


# What `editkit --help` imports: these modules, and nothing heavy, so that it answers at once.
SLOW_TO_IMPORT = sorted(HEAVY | {"numba", "triton", "torch", "numpy", "scipy", "PIL", "safetensors", "tqdm"})


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def arrow_violations(tree: ast.Module, module: str, *, is_package: bool = False) -> list[str]:
    owner = next(o for o in sorted(FORBIDDEN, key=len, reverse=True) if is_within(module, o))
    return [
        f"{module}:{line} imports {name}"
        for line, name in all_imports(tree, module, is_package=is_package)
        for bad in FORBIDDEN[owner]
        if is_within(name, bad) and not is_within(module, bad)
    ]


def test_there_is_something_to_check() -> None:
    assert len(SOURCES) > 20
    assert {path.relative_to(ROOT).parts[0] for path in SOURCES} == set(PACKAGES)


@pytest.mark.parametrize(
    ("module", "source", "violates"),
    [
        ("editkit.photo", "import projector", True),
        ("editkit.photo", "def f():\n    from train.loop import step", True),
        ("editkit.photo", "import importlib\nimportlib.import_module('directions.catalog')", True),
        ("editkit.photo", "from . import page", True),
        ("editkit.page.tabs", "import projector", False),
        ("projector.optimise", "from directions import load", True),
        ("directions.score", "import projector.optimise", True),
        ("projector.optimise", "from editkit.latent import Latent", False),
        ("train.loop", "import projector, directions, editkit", False),
        ("train.loop", "import editkit.page", True),
    ],
)
def test_the_arrow_check_sees_what_it_should(module: str, source: str, violates: bool) -> None:
    assert bool(arrow_violations(ast.parse(source), module)) is violates


def test_import_arrows() -> None:
    found = [
        line
        for path in SOURCES
        for line in arrow_violations(tree_of(path), name_of(path), is_package=path.name == "__init__.py")
    ]
    assert not found, "\n".join(found)


def test_heavy_packages_are_imported_inside_functions() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno} imports {name}"
        for path in SOURCES
        for node in module_level(tree_of(path))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in imported_modules(node, name_of(path), is_package=path.name == "__init__.py")[:1]
        if name.split(".")[0] in HEAVY and "page" not in path.relative_to(ROOT).parts
    ]
    assert not found, "\n".join(found)


def test_files_are_short() -> None:
    lengths = {path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    long = [f"{path}: {lines} lines" for path, lines in lengths.items() if lines > MAX_LINES]
    assert not long, "\n".join(long)


def test_nothing_is_left_unfinished() -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "NotImplemented" + "Error")
    found = [
        f"{path.relative_to(ROOT)}:{number} {line.strip()}"
        for path in SOURCES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if any(mark in line for mark in marks)
    ]
    assert not found, "\n".join(found)


def test_every_third_party_import_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = project["dependencies"] + [r for extra in project["optional-dependencies"].values() for r in extra]
    declared = {
        requirement.split(">")[0].split("[")[0].strip().replace("-", "_").lower() for requirement in requirements
    }
    import_names = {
        "PIL": "pillow",
        "open_clip": "open_clip_torch",
        "skimage": "scikit_image",
        "sklearn": "scikit_learn",
    }
    found = {
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in SOURCES
        for line, name in all_imports(tree_of(path), name_of(path), is_package=path.name == "__init__.py")
        if (top := name.split(".")[0])
        and top not in sys.stdlib_module_names
        and top not in PACKAGES
        and import_names.get(top, top).lower() not in declared
    }
    assert not found, "\n".join(sorted(found))


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_exist_and_are_documented(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__doc__
    for name in getattr(module, "__all__", []):
        value = getattr(module, name)
        assert name in dir(module)
        if callable(value):
            assert (value.__doc__ or "").strip(), f"{package}.{name} has no docstring"
            assert value.__module__.split(".")[0] == package, f"{package}.{name} comes from {value.__module__}"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_name_that_does_not_exist_is_an_attribute_error(package: str) -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        importlib.import_module(package).no_such_name  # noqa: B018


@pytest.mark.parametrize("package", ["editkit", "projector", "directions"])
def test_type_checkers_see_the_lazy_names(package: str) -> None:
    """Every lazy name is imported under TYPE_CHECKING from the module that it is loaded from."""
    module = importlib.import_module(package)
    tree = tree_of(ROOT / package / "__init__.py")
    seen = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == module._HOMES
    assert set(module.__all__) - set(seen) <= {"EditkitError", "__version__"}


def test_every_public_function_and_class_has_a_docstring() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in SOURCES
        for node in tree_of(path).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and node.name.split("_")[0] not in {"main", "run", "register"}  # of a command: editkit/command.py says what
        and not ast.get_docstring(node)
    ]
    assert not found, "\n".join(found)


def modules_after(code: str) -> set[str]:
    """Top-level names in sys.modules after running code in a fresh interpreter."""
    script = f"{code}\nimport sys\nprint('MODULES', *sorted({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rsplit("MODULES", 1)[1].split())


def test_the_check_of_loaded_modules_sees_what_it_should() -> None:
    assert "numpy" in modules_after("import numpy")


@pytest.mark.parametrize("package", PACKAGES)
def test_import_of_a_package_is_light(package: str) -> None:
    assert not modules_after(f"import {package}").intersection(SLOW_TO_IMPORT)


def test_help_is_light() -> None:
    loaded = modules_after("from editkit.cli import main\nassert main(['--help']) == 0")
    assert not loaded.intersection(SLOW_TO_IMPORT)

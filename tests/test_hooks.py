"""Hooks: what packages offer each other without importing each other."""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path

import pytest

from editkit import hooks
from editkit.errors import EditkitError

ROOT = Path(__file__).resolve().parents[1]
DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]


@pytest.mark.parametrize("name", DECLARED[hooks.GROUP])
def test_every_declared_hook_is_a_function_and_is_described(name: str) -> None:
    assert callable(hooks.hook(name))
    assert f"{name}(" in (hooks.__doc__ or "")


def test_an_unknown_hook_is_an_error() -> None:
    with pytest.raises(EditkitError, match="no installed package offers 'no_such_hook'"):
        hooks.hook("no_such_hook")


@pytest.mark.parametrize("target", ["no_such_module:f", "editkit.hooks:no_such_function"])
def test_a_hook_that_cannot_be_loaded_is_an_error(monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    monkeypatch.setattr(hooks, "entry_points", lambda group: {"broken": target})
    with pytest.raises(EditkitError, match="cannot be loaded"):
        hooks.hook("broken")


def test_entry_points_are_those_of_the_checkout_or_of_the_installed_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert hooks.entry_points(hooks.GROUP) == DECLARED[hooks.GROUP]
    assert hooks.entry_points("no.such.group") == {}
    point = importlib.metadata.EntryPoint(name="a", value="b:c", group="g")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point] if group == "g" else [])
    monkeypatch.setattr(hooks, "__file__", str(tmp_path / "site-packages" / "editkit" / "hooks.py"))
    assert hooks.entry_points("g") == {"a": "b:c"}
    other = tmp_path / "site-packages" / "pyproject.toml"  # of some other project
    other.parent.mkdir()
    other.write_text('[project]\nname = "other"\n[project.entry-points.g]\nx = "y:z"\n', encoding="utf-8")
    assert hooks.entry_points("g") == {"a": "b:c"}

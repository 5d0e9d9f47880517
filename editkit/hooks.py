"""What packages above offer to those beside them, found by name, so that no import runs upwards or sideways.

A hook is a function named in the entry-point group ``editkit.hooks``:

    direction_names(G) -> tuple[str, ...]       names of the directions at hand for a generator
    offered_directions(G) -> tuple[str, ...]    those among them that pass the bars
    directions(G, name) -> Direction            one of them
    resolve_recipe(G, recipe) -> Recipe         a recipe with every direction looked up and checked
"""

from __future__ import annotations

import importlib
import importlib.metadata
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from editkit.errors import EditkitError

GROUP = "editkit.hooks"


def entry_points(group: str) -> dict[str, str]:
    """Name -> "module:function" of an entry-point group, in the order in which they are declared.

    An uninstalled checkout has no entry points, and an editable install may have stale ones: where a pyproject.toml of
    this project lies beside the package, it is read instead.
    """
    pyproject = Path(__file__).resolve().parents[1] / "pyproject.toml"
    if pyproject.is_file():
        project = tomllib.loads(pyproject.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == "editkit":
            table: dict[str, str] = project["entry-points"].get(group, {})
            return table
    return {entry.name: entry.value for entry in importlib.metadata.entry_points(group=group)}


def load_target(target: str) -> Callable[..., Any]:
    """The function that "module:function" names. Raises what importing its module raises."""
    module, _, function = target.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def hook(name: str) -> Callable[..., Any]:
    """The function that some package offers under ``name``.

    Raises:
        EditkitError: none does, or its module cannot be imported.
    """
    targets = entry_points(GROUP)
    if name not in targets:
        known = ", ".join(sorted(targets)) or "none"
        raise EditkitError(f"no installed package offers {name!r} (there are: {known}); reinstall editkit")
    try:
        return load_target(targets[name])
    except (ImportError, AttributeError) as error:
        raise EditkitError(f"{name!r} ({targets[name]}) cannot be loaded: {error}; reinstall editkit") from error

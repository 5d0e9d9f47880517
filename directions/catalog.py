"""Directions at hand: bundled with the package and kept by the user, by generator id.

Convention: a file <name>.safetensors in <folder>/<first 12 of the generator id>/. The user's folder comes before the
bundled one; a half-precision or tuned copy of a generator has its parent's directions too, after its own.
"""

from __future__ import annotations

import difflib
import importlib.resources
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from directions.bars import failures
from editkit.direction import Direction
from editkit.edits import Edit, Recipe
from editkit.errors import DirectionError, EditkitError, GeneratorMismatchError, OutputError
from editkit.files import ensure_folder, user_folder

if TYPE_CHECKING:
    from editkit.generator import Generator, GeneratorSpec

log = logging.getLogger(__name__)

_SUFFIX = ".safetensors"


def names(G: Generator) -> tuple[str, ...]:
    """Names of the directions at hand for ``G``, sorted."""
    return tuple(sorted(find_files(G.spec)))


def offered(G: Generator) -> tuple[str, ...]:
    """Names of those that pass the bars (``directions.bars``), by the figures in their files: what a page offers.

    Files that are damaged, or of a newer editkit, are passed over with a warning.
    """
    return tuple(name for name, one in readable(G).items() if not failures(one))


def readable(G: Generator) -> dict[str, Direction]:
    """Name -> direction of everything at hand for ``G``, sorted; what cannot be read is left out with a warning."""
    found = {}
    for name, path in sorted(find_files(G.spec).items()):
        try:
            found[name] = Direction.load(path).check(G.spec)
        except EditkitError as problem:
            log.warning("a direction is left out: %s", problem)
    return found


def origin(G: Generator, name: str) -> str:
    """Where the direction ``name`` comes from: "bundled", "imported" (third-party) or "user"; "" for none."""
    path = find_files(G.spec).get(name)
    if path is None:
        return ""
    if bundled_directions() in path.parents:
        return "bundled"
    return "imported" if Direction.load(path).method.startswith("imported") else "user"


def bundled(G: Generator) -> tuple[str, ...]:
    """Names of those that come with the package for ``G``, hidden by the user's of the same names or not, sorted."""
    places = [folder_of(identity, bundled_directions()) for identity in (G.spec.id, G.spec.parent_id) if identity]
    return tuple(sorted({path.name.removesuffix(_SUFFIX) for place in places for path in place.glob(f"*{_SUFFIX}")}))


def load(G: Generator, name: str) -> Direction:
    """The direction ``name`` of ``G``.

    Raises:
        DirectionError: there is none of that name; those that there are are named, the closest first.
        SchemaError: its file was written by a newer editkit.
        GeneratorMismatchError: its file lies in the wrong place.
    """
    files = find_files(G.spec)
    if name not in files:
        raise DirectionError(_unknown(name, sorted(files), G.spec))
    return Direction.load(files[name]).check(G.spec)


def resolve(G: Generator, recipe: Recipe) -> Recipe:
    """``recipe`` with every direction that it only names looked up for ``G``; embedded ones are checked.

    Raises:
        GeneratorMismatchError: the recipe was made for another generator.
        DirectionError: a name is unknown.
    """
    if recipe.generator not in (None, G.spec.id, G.spec.parent_id):
        raise GeneratorMismatchError(
            f"recipe {recipe.name!r} was made for generator {recipe.generator[:12]} and cannot be used with "
            f"{G.spec.name!r}, {G.spec.id[:12]}; load the generator it was made for"
        )
    return replace(recipe, edits=tuple(_resolved(G, edit) for edit in recipe.edits))


def save(G: Generator, direction: Direction, *, folder: Path | None = None) -> Path:
    """Keep ``direction`` for ``G`` in the user's folder, or in another of the same layout. The file's path.

    Raises:
        GeneratorMismatchError: it belongs to another generator.
        OutputError: it cannot be written.
    """
    direction.check(G.spec)
    place = ensure_folder(folder_of(direction.generator, folder or user_directions()))
    path = place / f"{direction.name}{_SUFFIX}"
    direction.save(path)
    return path


def remove(G: Generator, name: str, *, folder: Path | None = None) -> Path:
    """Delete the direction ``name`` of ``G`` from the user's folder, or another of the same layout. What was its path.

    Its file may be damaged. Raises DirectionError where there is no such file there, OutputError where it stays.
    """
    root = folder or user_directions()
    places = [folder_of(identity, root) for identity in (G.spec.id, G.spec.parent_id) if identity]
    own = {path.name.removesuffix(_SUFFIX): path for place in reversed(places) for path in place.glob(f"*{_SUFFIX}")}
    if name not in own:
        if name in bundled(G):
            raise DirectionError(f"{name!r} comes with the package and stays; only directions of your own are removed")
        raise DirectionError(
            f"no direction {name!r} of your own for {G.spec.name!r}, {G.spec.id[:12]}; "
            f"{f'yours are: {_closest_first(name, sorted(own))}' if own else 'you have none'}"
        )
    try:
        own[name].unlink()
    except OSError as problem:
        raise OutputError(f"cannot remove {own[name]}: {problem.strerror or problem}") from problem
    return own[name]


def hiding(G: Generator, name: str, *, folder: Path | None = None) -> str:
    """A line for people where a direction of the user's hides the bundled one of its name; "" where it does not.

    ``folder``: where it is kept instead of the user's own folder; there it hides nothing.
    """
    if folder is not None or name not in bundled(G):
        return ""
    return f"it hides the bundled {name!r} until `editkit directions remove {name}`"


def find_files(spec: GeneratorSpec) -> dict[str, Path]:
    """Name -> file of every direction at hand for the generator of ``spec`` (and its parent)."""
    found: dict[str, Path] = {}
    for identity in filter(None, (spec.id, spec.parent_id)):
        for root in (user_directions(), bundled_directions()):
            for path in sorted(folder_of(identity, root).glob(f"*{_SUFFIX}")):
                found.setdefault(path.name.removesuffix(_SUFFIX), path)
    return found


def folder_of(generator: str, root: Path) -> Path:
    """Where in ``root`` the directions of a generator lie."""
    return root / generator[:12]


def bundled_directions() -> Path:
    """The folder of the directions that come with the package."""
    return Path(str(importlib.resources.files("directions"))) / "bundled"


def user_directions() -> Path:
    """The folder of the user's own directions; see ``editkit.files.user_folder``."""
    return user_folder() / "directions"


def _resolved(G: Generator, edit: Edit) -> Edit:
    if isinstance(edit.direction, Direction):
        edit.direction.check(G.spec)
        return edit
    return replace(edit, direction=load(G, edit.direction))


def _unknown(name: str, known: list[str], spec: GeneratorSpec) -> str:
    if not known:
        return f"no directions are at hand for {spec.name!r}, {spec.id[:12]}; make some with `editkit directions find`"
    return f"no direction {name!r} for {spec.name!r}; there are: {_closest_first(name, known)}"


def _closest_first(name: str, known: list[str]) -> str:
    closest = difflib.get_close_matches(name, known, n=len(known), cutoff=0.5)
    return ", ".join(closest + [other for other in known if other not in closest])

"""Directions of a visitor's own: made on the Explore tab, kept with the user's directions, deleted for good.

The user of this machine finds them in every command (``directions.catalog``); each user who signs in has a folder of
their own beside the library. Where nothing is kept, they last as long as the page.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from directions import catalog
from directions.bars import failures
from editkit.direction import Direction
from editkit.errors import EditkitError, UsageError
from editkit.page.grouping import MINE, SPARE, group_of
from editkit.page.library import Library

if TYPE_CHECKING:
    from editkit.generator import Generator
    from editkit.page.desk import Desk
    from editkit.page.studio import Studio

log = logging.getLogger(__name__)


def at_hand(G: Generator) -> dict[str, Direction]:
    """Bundled directions that pass the bars, and all that the user of this machine has."""
    found = {}
    for name, path in sorted(catalog.find_files(G.spec).items()):
        try:
            direction = Direction.load(path).check(G.spec)
        except EditkitError as problem:  # the page is there all the same
            log.warning("a direction is left out: %s", problem)
            continue
        if catalog.user_directions() in path.parents or not failures(direction):
            found[name] = direction
    return found


def kept(studio: Studio, desk: Desk) -> dict[str, Direction]:
    """Those of a user who signed in; this machine's user has them among ``at_hand``."""
    root = _root(studio, desk)
    if root is None or desk.user is None:
        return {}
    if (cached := desk.bag.get("kept directions", (None, {})))[0] == studio.G.spec.id:
        return dict(cached[1])
    found = {}
    for path in sorted(catalog.folder_of(studio.G.spec.id, root).glob("*.safetensors")):
        with suppress(EditkitError):  # written by a newer editkit, or damaged: the others are there
            found[path.stem] = Direction.load(path)
    desk.bag["kept directions"] = (studio.G.spec.id, found)
    return found


def add(studio: Studio, desk: Desk, direction: Direction) -> bool:
    """Put a direction among the visitor's own, and say whether it was kept on the disk.

    Raises UsageError where its name is another's or a bundled one's, which it would hide, or there is no slider left.
    """
    check_name(studio, desk, direction.name)
    known = studio.directions_of(desk)
    there = known.get(direction.name)
    if there is None and sum(is_own(one) for one in known.values()) >= SPARE:
        raise UsageError(f"{SPARE} directions of yours are the most that have sliders; delete one first")
    root = _root(studio, desk)
    if root is not None:
        catalog.save(studio.G, direction, folder=root)
        _look_again(studio, desk)
    desk.bag.setdefault("directions", {})[direction.name] = direction
    return root is not None


def check_name(studio: Studio, desk: Desk, name: str) -> None:
    """Raises UsageError where a direction of the visitor's own may not be called so."""
    there = studio.directions_of(desk).get(name)
    if there is not None and is_own(there):
        return
    if name in catalog.bundled(studio.G):
        raise UsageError(f"{name!r} is the name of a bundled direction, which yours would hide; choose another name")
    if there is not None:
        raise UsageError(f"there is a direction {name!r} already; choose another name")


def hides(studio: Studio, direction: Direction) -> str:
    """A line where a direction of the user's hides a bundled one; "" where it does not."""
    ours = catalog.origin(studio.G, direction.name) == "bundled" and not is_own(direction)
    return "" if ours else catalog.hiding(studio.G, direction.name)


def remove(studio: Studio, desk: Desk, name: str) -> None:
    """Delete one of the visitor's own, its file too. Raises UsageError for another's."""
    there = studio.directions_of(desk).get(name)
    if there is None or not is_own(there):
        raise UsageError(f"{name!r} is not one of yours")
    root = _root(studio, desk)
    if root is not None:
        (catalog.folder_of(there.generator, root) / f"{there.name}.safetensors").unlink(missing_ok=True)
        _look_again(studio, desk)
    desk.bag.get("directions", {}).pop(name, None)


def is_own(direction: Direction) -> bool:
    """Whether it was made of what a person likes."""
    return group_of(direction) == MINE


def _look_again(studio: Studio, desk: Desk) -> None:
    desk.bag.pop("kept directions", None)
    studio.forget_directions()


def _root(studio: Studio, desk: Desk) -> Path | None:
    if not studio.options.keeps:
        return None
    return catalog.user_directions() if desk.user is None else Library.of(desk.user).folder / "directions"

"""``--edit``, ``--recipe`` and the placement, for the commands that edit. No torch at the top level."""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from editkit.errors import DirectionError, UsageError
from editkit.option_types import finite, number_pair, positive_number

if TYPE_CHECKING:
    from editkit.edits import Recipe
    from editkit.generator import Generator
    from editkit.transform import Transform

log = logging.getLogger(__name__)

FIRST = ("smile_width", "mouth_light", "brightness")
"""Directions that are taken where nobody named one: expression or light. Nobody is made older unasked."""


def first_of(names: Iterable[str]) -> str | None:
    """The direction that is taken, or shown, where nobody named one; None where there is none."""
    known = sorted(names)
    return next((name for name in FIRST if name in known), next(iter(known), None))


def add_edit_options(parser: argparse.ArgumentParser, *, default: str | None = None) -> None:
    """``--edit`` and ``--recipe``, one of them; ``default`` says in the help page what happens without."""
    edits = parser.add_mutually_exclusive_group()
    edits.add_argument(
        "--edit",
        action="append",
        type=named_edit,
        metavar="NAME=STRENGTH",
        help='an edit such as brightness=+2, in the direction\'s units; may be repeated; "none" for no edit; `editkit '
        "directions` lists what there is" + (f" (default: {default})" if default else ""),
    )
    edits.add_argument("--recipe", type=Path, metavar="FILE", help="edits from a recipe (JSON)")


def add_paste_option(parser: argparse.ArgumentParser) -> None:
    """``--paste``: how the result goes back into the photo."""
    parser.add_argument(
        "--paste",
        choices=("difference", "replace"),
        default="difference",
        help="what goes back into the photo: only the difference that the edit makes, which keeps the photo's detail, "
        "or the whole crop, which leaves no ghosts of edges that moved far; a picture that is moved, turned or "
        "scaled always replaces the crop (default: difference)",
    )


def add_placement_options(parser: argparse.ArgumentParser) -> None:
    """``--translate``, ``--rotate`` and ``--scale``, for ``placement``."""
    place = parser.add_argument_group("placement")
    place.add_argument("--translate", type=number_pair, metavar="X,Y", help="right and down, in image widths")
    place.add_argument(
        "--rotate",
        type=finite,
        metavar="DEGREES",
        help="counter-clockwise; details turn with it in StyleGAN3-R only",
    )
    place.add_argument("--scale", type=positive_number, metavar="FACTOR", help="above 1 is larger")


def placement(args: argparse.Namespace) -> Transform | None:
    """Scale, then turn, then move; None where nothing is asked for."""
    from editkit.transform import Transform

    if args.translate is None and args.rotate is None and args.scale is None:
        return None
    moved = Transform.translate(*(args.translate or (0.0, 0.0)))
    return moved @ Transform.rotate(args.rotate or 0.0) @ Transform.scale(args.scale or 1.0)


def asked_recipe(args: argparse.Namespace, G: Generator) -> Recipe | None:
    """The edits that ``--edit`` or ``--recipe`` ask for, looked up; None where neither was given.

    Raises:
        UsageError: an unknown direction, or "none" beside others.
        RecipeError, GeneratorMismatchError: of a recipe's file.
    """
    from editkit.edits import Edit, Recipe
    from editkit.hooks import hook

    if args.recipe is not None:
        found: Recipe = hook("resolve_recipe")(G, Recipe.load(args.recipe))
    elif args.edit is not None:
        named = [pair for pair in args.edit if pair is not None]
        if named and len(named) < len(args.edit):
            raise UsageError("--edit none stands alone; leave it out, or the other edits")
        try:
            edits = [Edit(hook("directions")(G, name), strength) for name, strength in named]
        except DirectionError as problem:
            raise UsageError(str(problem)) from problem
        found = Recipe(name="edit", edits=tuple(edits))
    else:
        return None
    for edit in found.edits:
        low, high = edit.direction.strength  # type: ignore[union-attr]  # resolved above
        if not low <= edit.strength <= high:
            log.warning("%s %+g is outside %+g to %+g, where it looks right", edit.name, edit.strength, low, high)
    return found


def named_edit(text: str) -> tuple[str, float] | None:
    """``brightness=+2`` -> ("brightness", 2.0); ``none`` -> None. Raises ArgumentTypeError."""
    if text == "none":
        return None
    name, equals, strength = text.rpartition("=")
    try:
        value = float(strength)
    except ValueError:
        value = math.nan
    if not (equals and name and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f'expected NAME=STRENGTH such as brightness=+2, or "none", got {text!r}')
    return name, value

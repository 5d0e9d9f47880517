"""Ways of finding a latent, by titles for people: those that ``editkit project --method`` has, and ``Refine``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import projector
from editkit.generator import Generator
from projector.methods import NAMES, STEPS_WITHIN_BUDGET, method_named
from projector.placement import movable

AUTO = "The best at hand"
REFINE = "At once, then a quasi-Newton search"
_TITLES = {
    "auto": AUTO,
    "w": "Search in W (nearer to the model)",
    "w+": "Search in W+ (nearer to the photo)",
    "s": "Search in W+, then in S (nearer still, edits weaker)",
    "encode": "At once",
    "encode+optimise": "At once, then search",
    "pivotal": "Search, then tune the generator (closest, slowest)",
}


def titles() -> list[str]:
    """Every method's title, the one that a visitor gets who does not choose first; a new one appears by itself."""
    return [_TITLES.get(name, name) for name in NAMES] + [REFINE]


@dataclass(frozen=True, kw_only=True, slots=True)
class Extras:
    """What else a search can be told, for the methods that have a use for it (``taken``).

    Attributes:
        budget: seconds for a photo, instead of the steps; None: the steps.
        placement: seek shift, angle and scale as well. noise_maps: fit those of a StyleGAN2 too.
        locality: hold the generator still elsewhere while it is tuned.
    """

    budget: float | None = None
    placement: bool = False
    noise_maps: bool = False
    locality: bool = False


def taken(title: str, G: Generator) -> set[str]:
    """The fields of ``Extras`` that a method has a use for with ``G``."""
    name = _name(title)
    found = {"budget"} if name != "encode" else set()
    if name in ("auto", "w", "w+", "s", "pivotal"):
        if movable(G):
            found.add("placement")
        if getattr(G, "noise_maps", {}):
            found.add("noise_maps")
    return found | ({"locality"} if name == "pivotal" else set())


def make(title: str, G: Generator, *, steps: int, classes: int | None = None, extras: Extras | None = None) -> Any:
    """A method for ``G`` with so many steps, where it takes steps. An unknown title is ``AUTO``.

    ``extras`` that it has no use for are left out. What needs an encoder raises CheckpointError once it searches, where
    none fits ``G``; ``AUTO`` does without.
    """
    name, told = _name(title), asdict(extras or Extras())
    given = {key: told[key] for key in taken(title, G)}
    length = None if given.get("budget") else steps
    if name == REFINE:
        return projector.Refine(steps=length or STEPS_WITHIN_BUDGET, **given)
    return method_named(name, G, steps=None if name == "encode" else length, classes=classes, **given)


def _name(title: str) -> str:
    if title == REFINE:
        return REFINE
    return next((name for name in NAMES if _TITLES.get(name, name) == title), "auto")

"""Ways of finding a latent, by titles for people: those that ``editkit project --method`` has, and ``Refine``."""

from __future__ import annotations

from typing import Any

import projector
from editkit.generator import Generator
from projector.methods import NAMES, method_named

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


def make(title: str, G: Generator, *, steps: int, classes: int | None = None) -> Any:
    """A method for ``G`` with so many steps, where it takes steps. An unknown title is ``AUTO``.

    What needs an encoder raises CheckpointError once it searches, where none fits ``G``; ``AUTO`` does without.
    """
    if title == REFINE:
        return projector.Refine(steps=steps)
    name = next((name for name in NAMES if _TITLES.get(name, name) == title), "auto")
    return method_named(name, G, steps=None if name == "encode" else steps, classes=classes)

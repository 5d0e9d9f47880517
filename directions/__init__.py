"""Find, keep and judge directions: the vectors along which a latent is edited.

    smile = directions.load(G, "smile_width")

Names are loaded on first use (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from editkit.lazy import lazy_names

if TYPE_CHECKING:
    from directions.attributes import Scorer
    from directions.boundary import LinearSVM
    from directions.catalog import load, names, offered, resolve
    from directions.labels import Labelled
    from directions.methods import find

__all__ = ["Labelled", "LinearSVM", "Scorer", "find", "load", "names", "offered", "resolve"]

_HOMES = {
    "Labelled": "directions.labels",
    "LinearSVM": "directions.boundary",
    "Scorer": "directions.attributes",
    "find": "directions.methods",
    "load": "directions.catalog",
    "names": "directions.catalog",
    "offered": "directions.catalog",
    "resolve": "directions.catalog",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)

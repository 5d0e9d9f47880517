"""Ways of finding a latent, listed from ``projector``, so that a new one appears by itself."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields, is_dataclass
from typing import Any

import projector

_TITLES = {
    "Optimise": "Search",
    "Encode": "At once",
    "EncodeThenOptimise": "At once, then search",
    "Pivotal": "Search, then tune the generator",
}
_PREFERRED = ("EncodeThenOptimise", "Optimise")


def methods() -> dict[str, type]:
    """Title for people -> class, for every method that ``projector.project`` takes."""
    said = str(projector.project.__annotations__["method"])
    offered = {name: getattr(projector, name) for name in projector.__all__}
    taken = [offered[name] for name in re.findall(r"\w+", said) if is_dataclass(offered.get(name))]
    if not taken:  # a protocol: what the package offers, less results and the like
        taken = [one for one in offered.values() if inspect.isclass(one) and is_dataclass(one) and _is_method(one)]
    return {_TITLES.get(one.__name__, _spaced(one.__name__)): one for one in taken}


def first_choice() -> str:
    """The title of the method that a visitor gets who does not choose."""
    known = methods()
    by_class = {one.__name__: title for title, one in known.items()}
    return next((by_class[name] for name in _PREFERRED if name in by_class), next(iter(known)))


def make(title: str, *, steps: int) -> Any:
    """A method with so many steps, where it takes steps; its other settings as they come."""
    known = methods()
    chosen = known.get(title) or known[first_choice()]
    takes = {one.name for one in fields(chosen)}
    return chosen(**({"steps": steps} if "steps" in takes else {}))


def _is_method(one: type) -> bool:
    return hasattr(one, "find")  # as projector.methods.Method; settings of a part of one have none


def _spaced(name: str) -> str:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return words[0].upper() + words[1:].lower()

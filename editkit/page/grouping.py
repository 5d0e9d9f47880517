"""Directions for people: grouped, titled, with steps that suit their range. Which there are, the generator says."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from directions.preference import METHOD
from editkit.direction import Direction

LIGHT, FACE, PERSON, MINE, OTHER = "Light and colour", "Expression and pose", "Person", "Yours", "Found by analysis"
SPARE = 8
"""Sliders of a group at least, for directions that come later."""
FOR_PHOTOS = 0.6
"""The share of a direction's range that sliders have for a photo; see ``range_of``."""
GROUPS = (FACE, LIGHT, PERSON, MINE, OTHER)
_TITLES = {
    "yaw": "head turn (yaw)",
    "pitch": "head nod (pitch)",
    "roll": "head tilt (roll)",
    "mouth light": "teeth (mouth light)",
}
_WORDS: Mapping[str, tuple[str, ...]] = {
    FACE: ("smile", "yaw", "pitch", "roll", "mouth", "eye", "gaze", "brow", "expression", "pose", "jaw", "open",
           "lip"),
    LIGHT: ("brightness", "contrast", "warmth", "saturation", "exposure", "light", "shadow", "colour", "tint", "hue",
            "background", "sharpness", "vignette"),
    PERSON: ("age", "gender", "hair", "beard", "glasses", "skin", "makeup", "hat", "nose", "face", "cheek", "chin",
             "width", "bald", "fringe"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Slider:
    """One direction as a slider: title, range, step, and a word on what it is."""

    name: str
    title: str
    low: float
    high: float
    step: float
    about: str


def group_of(direction: Direction) -> str:
    """Which group a direction stands in: by the words of its name, else by how it was found."""
    if direction.method.startswith(METHOD):
        return MINE
    words = direction.name.lower().replace("-", "_").split("_")
    for group, known in _WORDS.items():
        if any(word.rstrip("s") == one or word == one for word in words for one in known):
            return group
    return OTHER


def range_of(direction: Direction, *, photo: bool = False) -> tuple[float, float]:
    """How far a slider goes, in the direction's units: through the range it says of itself, -1 to 1 where it says none.

    That range is judged on the generator's own samples. A photo's latent lies further out than they do, so that its
    face falls apart earlier: ``photo`` gives ``FOR_PHOTOS`` of either side, but 1 unit where the range has as much.
    """
    low, high = direction.strength
    if low == high:
        low, high = -1.0, 1.0
    if photo:
        low, high = max(low, min(FOR_PHOTOS * low, -1.0)), min(high, max(FOR_PHOTOS * high, 1.0))
    return low, high


def slider_of(direction: Direction, *, photo: bool = False, at: float = 0.0) -> Slider:
    """The slider of a direction over ``range_of``; steps count from its end, and 0 is one of them.

    at: what it is to show. Where a recipe goes further than a photo's slider does, it is the whole range after all.
    """
    low, high = range_of(direction, photo=photo)
    digits = -math.floor(math.log10((high - low) / 25))
    step = 10.0**-digits
    low, high = round(math.ceil(low / step - 1e-6) * step, digits), round(math.floor(high / step + 1e-6) * step, digits)
    about = f"also moves other things ({direction.scores['leakage']:.0%})" if _leaks(direction) else ""
    if photo and not low <= at <= high:
        return slider_of(direction)
    return Slider(direction.name, title_of(direction.name), low, high, step, about)


def title_of(name: str) -> str:
    """What a person reads on a slider: "smile_width" -> "Smile width", "yaw" -> "Head turn (yaw)"."""
    title = " ".join(name.replace("_", " ").replace("-", " ").split())
    for known, told in _TITLES.items():
        if title == known or title.startswith(f"{known} "):
            title = told + title[len(known) :]
    return title[:1].upper() + title[1:]


def grouped(
    directions: Iterable[Direction], *, photo: bool = False, at: Mapping[str, float] | None = None
) -> dict[str, list[Slider]]:
    """Group -> its sliders, every group of ``GROUPS`` in order, also the empty ones; for ``photo`` and ``at``, by name,
    see ``slider_of``.
    """
    found: dict[str, list[Slider]] = {group: [] for group in GROUPS}
    for direction in directions:
        found[group_of(direction)].append(slider_of(direction, photo=photo, at=(at or {}).get(direction.name, 0.0)))
    return found


def _leaks(direction: Direction) -> bool:
    return direction.scores.get("leakage", 0.0) > 0.35

"""What a visitor has set: strengths, placement, rows; and the way back through what was set before."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from editkit.direction import Direction
from editkit.edits import Edit, Recipe
from editkit.transform import Transform

SAME_MOVE = 1.2
"""Seconds within which moves of one slider are one step of undo."""
DEPTH = 200


MOVES, ZOOMS = (-0.4, 0.4), (0.5, 2.0)
"""How far the placement goes: moves right and down in image widths, and factors."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Everything that the picture depends on, besides the latent.

    Attributes:
        strengths: name -> strength of the directions that are not at 0.
        x, y: the picture moves right and down, in image widths; turn: degrees counter-clockwise; zoom: factor.
        rows: first and last row of W+ that edits may touch; None: all.
        fixed: edits of a recipe that no slider shows; under: the placement of a recipe, below that of the sliders.
    """

    strengths: Mapping[str, float] = field(default_factory=dict)
    x: float = 0.0
    y: float = 0.0
    turn: float = 0.0
    zoom: float = 1.0
    rows: tuple[int, int] | None = None
    fixed: tuple[Edit, ...] = ()
    under: Transform | None = None

    @property
    def placement(self) -> Transform | None:
        """What a recipe says, then zoom, turn and move; None where nothing is placed."""
        if (self.x, self.y, self.turn, self.zoom) == (0.0, 0.0, 0.0, 1.0):
            return self.under
        moved = Transform.translate(self.x, self.y) @ Transform.rotate(self.turn) @ Transform.scale(self.zoom)
        return moved if self.under is None else moved @ self.under

    def recipe(self, directions: Mapping[str, Direction], *, name: str = "edit") -> Recipe:
        """The edits and the placement as a recipe; names that are not at hand are left out."""
        layers = None if self.rows is None else tuple(range(self.rows[0], self.rows[1] + 1))
        edits = self.fixed + tuple(
            Edit(directions[key], strength, layers=layers)
            for key, strength in self.strengths.items()
            if strength != 0 and key in directions
        )
        return Recipe(name=name, edits=edits, transform=self.placement)


def placed_by(transform: Transform | None) -> dict[str, Any] | None:
    """x, y, turn and zoom of ``Settings`` that make a placement again (to 1e-6), {} where there is none.

    None where it is not exactly a zoom, then a turn, then a move, of one sample and within what the sliders reach.
    """
    if transform is None:
        return {}
    if len(transform) != 1:
        return None
    (a, b, x), (_, _, y), _ = transform.tolist()[0]
    found: dict[str, Any] = {"x": x, "y": y, "turn": math.degrees(math.atan2(b, a)), "zoom": math.hypot(a, b)}
    found = {name: round(value, 7) + 0.0 for name, value in found.items()}
    if not (all(MOVES[0] <= found[name] <= MOVES[1] for name in "xy") and ZOOMS[0] <= found["zoom"] <= ZOOMS[1]):
        return None
    again = (Settings(**found).placement or Transform.identity()).matrix
    return found if torch.allclose(again, transform.matrix.detach().cpu().to(again), rtol=0, atol=1e-6) else None


class History:
    """Settings one after the other, and where we are among them."""

    def __init__(self) -> None:
        self._kept, self._place, self._when = [Settings()], 0, 0.0

    @property
    def now(self) -> Settings:
        """The current settings."""
        return self._kept[self._place]

    @property
    def can_undo(self) -> bool:
        return self._place > 0

    @property
    def can_redo(self) -> bool:
        return self._place + 1 < len(self._kept)

    def add(self, settings: Settings, *, apart: bool = False) -> None:
        """Make ``settings`` the current ones. What could be redone is gone.

        Moves of one control close after each other are one step, unless ``apart``.
        """
        if settings == self.now:
            return
        moment = time.monotonic()
        same = not apart and self._place > 0 and moment - self._when < SAME_MOVE
        same = same and _changed(self._kept[self._place - 1], self.now) == _changed(self.now, settings)
        self._kept = self._kept[: self._place + (not same)][-DEPTH:]
        self._kept.append(settings)
        self._place, self._when = len(self._kept) - 1, moment

    def undo(self) -> Settings:
        """One step back; the first settings stay."""
        self._place, self._when = max(0, self._place - 1), 0.0
        return self.now

    def redo(self) -> Settings:
        """One step forward again."""
        self._place, self._when = min(len(self._kept) - 1, self._place + 1), 0.0
        return self.now


def _changed(before: Settings, after: Settings) -> set[str]:
    """Names of what differs."""
    names = set(before.strengths) | set(after.strengths)
    moved = {name for name in names if before.strengths.get(name, 0.0) != after.strengths.get(name, 0.0)}
    return moved | {
        name for name in ("x", "y", "turn", "zoom", "rows") if getattr(before, name) != getattr(after, name)
    }

"""What all visitors share: one generator in memory, its directions, the desks, the library."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editkit.direction import Direction
from editkit.errors import EditkitError, UsageError
from editkit.generator import load_generator
from editkit.page import own
from editkit.page.desk import Desk, Desks, Piece
from editkit.page.library import Library
from editkit.page.options import Options
from editkit.page.turns import Turns
from editkit.perceptual import best_available

if TYPE_CHECKING:
    import gradio as gr

    from editkit.network_generator import NetworkGenerator
    from editkit.perceptual import PerceptualDistance
    from editkit.weight_delta import WeightDelta

TUNED = 2
"""Generators tuned to one photo that stay in memory, besides the one that all share."""


class Studio:
    """Shared by all pages of one server. ``temporary`` is a private folder that goes with the server."""

    def __init__(self, options: Options, temporary: Path) -> None:
        self.options, self.temporary = options, temporary
        self.desks = Desks(temporary)
        self.line = Turns()  # for searches and other long work
        self.reading = threading.Lock()  # one large photo is decoded at a time
        self._lock = threading.Lock()
        self._libraries: dict[str | None, Library] = {}
        self._perceptual: PerceptualDistance | None = None
        self._directions: dict[str, Direction] | None = None
        self._tuned: list[tuple[WeightDelta, NetworkGenerator]] = []
        self.source = options.generator
        self.G: NetworkGenerator = _checked(load_generator(options.generator, device=options.device))

    @property
    def perceptual(self) -> PerceptualDistance:
        """The distance that searches use; loaded when the first one begins."""
        with self._lock:
            if self._perceptual is None:
                self._perceptual = best_available(self.G.device)
            return self._perceptual

    @property
    def directions(self) -> Mapping[str, Direction]:
        """Name -> direction of everything at hand for the generator."""
        with self._lock:
            if self._directions is None:
                self._directions = own.at_hand(self.G)
            return self._directions

    def directions_of(self, desk: Desk) -> dict[str, Direction]:
        """The same with the visitor's own, and those that came with a recipe."""
        mine = {**own.kept(self, desk), **desk.bag.get("directions", {})}
        return {**self.directions, **{name: one for name, one in mine.items() if self._fits(one)}}

    def load(self, source: str | None) -> NetworkGenerator:
        """Another generator for everyone, in the place of the one there is.

        Raises UsageError where visitors are not one person, and what ``load_generator`` raises.
        """
        if not self.options.alone:
            raise UsageError("visitors share one model here; start editkit app with --generator to serve another")
        found = _checked(load_generator(source, device=self.options.device))
        with self._lock:
            self.G, self.source, self._directions = found, source, None
            self._perceptual, self._tuned = None, []
        return found

    def painter(self, piece: Piece) -> NetworkGenerator:
        """The generator that draws a piece: the shared one, tuned to its photo where that was done.

        Raises GeneratorMismatchError where the tuning, or the latent, belongs to another model.
        """
        piece.latent.check(self.G.spec)
        if piece.tuning is None:
            return self.G
        with self._lock:
            made = next((one for delta, one in self._tuned if delta is piece.tuning), None)
            if made is None:
                made = piece.tuning.added_to(self.G)
            others = [pair for pair in self._tuned if pair[0] is not piece.tuning]
            self._tuned = [*others, (piece.tuning, made)][-TUNED:]
            return made

    def forget_directions(self) -> None:
        """Look again which there are."""
        with self._lock:
            self._directions = None

    def desk(self, request: gr.Request) -> Desk:
        """The desk of the page that asks."""
        return self.desks.of(str(request.session_hash), request.username)

    def library(self, desk: Desk) -> Library | None:
        """The visitor's own, with what is just being kept; None where nothing is."""
        if not self.options.keeps:
            return None
        if desk.keeping is not None:
            desk.keeping.join()
            desk.keeping = None
        with self._lock:
            if desk.user not in self._libraries:
                self._libraries[desk.user] = Library.of(desk.user)
            return self._libraries[desk.user]

    def _fits(self, direction: Direction) -> bool:
        try:
            direction.check(self.G.spec)
        except EditkitError:
            return False
        return True

    def facts(self) -> dict[str, Any]:
        """What the page says of the model."""
        spec = self.G.spec
        return {"name": spec.name, "resolution": spec.resolution, "rows": spec.num_ws, "device": str(self.G.device)}


def _checked(G: NetworkGenerator) -> NetworkGenerator:
    """``G`` itself. Raises UsageError for pictures with alpha, into which no photo is projected."""
    if G.spec.channels not in (1, 3):
        raise UsageError(
            f"the page works on RGB or grey pictures; {G.spec.name!r} makes {G.spec.channels} channels: "
            "use editkit generate and editkit video"
        )
    return G

"""A blend of two pieces of the shelf: some rows of one, the rest of another, and the generator that draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from editkit.errors import UsageError
from editkit.page.desk import Desk, Piece
from editkit.page.studio import Studio
from editkit.rendering import render
from editkit.weight_delta import between


def blended(studio: Studio, desk: Desk, first: str, second: str, share: float, start: float, end: float) -> Piece:
    """Two pieces of the shelf: the rows ``start`` to ``end`` lie ``share`` of the way from the first to the second.

    Raises UsageError where one of them is not on the shelf.
    """
    a, b = (desk.shelf.get(name or "") for name in (first, second))
    if a is None or b is None:
        raise UsageError("a blend takes two faces: add photos to the shelf, then choose one for each side")
    low, high = sorted((int(start), int(end)))
    rows = range(low, high + 1)
    mine, theirs = a.latent.as_w_plus(), b.latent.as_w_plus()
    latent = mine.mix(mine.lerp(theirs, float(share)), rows)
    # the weights go as far towards the second's as the codes do, all rows together
    tuning = between(a.tuning, b.tuning, float(share) * len(rows) / studio.G.spec.num_ws)
    piece = Piece(name=f"{a.name} and {b.name}", latent=latent, transform=None, picture=a.picture, told="a blend",
                  tuning=tuning, from_photo=a.of_photo or b.of_photo)  # fmt: skip
    return replace(piece, picture=render(studio.painter(piece), latent).clamp(-1, 1))


def drawn_by(desk: Desk, names: Sequence[str]) -> str:
    """What a person should know of the generator that draws a blend of these: whether a search tuned it."""
    tuned = [name for name in dict.fromkeys(names) if name in desk.shelf and desk.shelf[name].tuning is not None]
    if not tuned:
        return ""
    if len(tuned) == 2:
        return "Both were found by tuning the generator; the blend is drawn by one between the two."
    return f"“{tuned[0]}” was found by tuning the generator; the tuning fades with its share of the blend."

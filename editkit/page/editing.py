"""What the Edit tab does with a piece: its picture, the whole photo, files to take away, files to go on from."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

import directions
from editkit.alignment import Alignment
from editkit.direction import Direction
from editkit.easing import ease_in_out
from editkit.edited_picture import paste_edited, paste_way, render_edited, write_edited
from editkit.edits import Edit, Recipe, apply_edits
from editkit.errors import EditkitError, UsageError
from editkit.latent_file import read_latent
from editkit.page import parcel
from editkit.page.desk import Desk, Piece
from editkit.page.grouping import slider_of
from editkit.page.live import News, Result, Tell, Waiting, live
from editkit.page.pictures import file_stem
from editkit.page.settings import Settings, placed_by
from editkit.page.studio import Studio
from editkit.pasting import Paste
from editkit.rendered_path import RenderedPath, render_path
from editkit.rendering import render
from editkit.transform import Transform
from editkit.video import write_video

FRAMES, FPS = 48, 24
BATCH = 4
"""Frames of a video rendered at a time: few, so that it says how far it is, and stops when told."""
PASTES: dict[str, Paste] = {"Only the change (keeps detail)": "difference", "The whole face": "replace"}


def piece_of(desk: Desk) -> Piece:
    """What lies on the desk. Raises UsageError that says what to do."""
    if desk.piece is None:
        raise UsageError("there is no picture on this page any more (was the server restarted?); drop your photo again")
    return desk.piece


def recipe_of(studio: Studio, desk: Desk) -> Recipe:
    """The current settings as a recipe."""
    return desk.history.now.recipe(studio.directions_of(desk), name=file_stem(piece_of(desk).name))


def picture(studio: Studio, desk: Desk) -> Tensor:
    """The edited picture, [1, 3, R, R]."""
    piece = piece_of(desk)
    G = studio.painter(piece)
    return render_edited(G, piece.latent, recipe_of(studio, desk), transform=piece.transform).clamp(-1, 1)


def whole(studio: Studio, desk: Desk, edited: Tensor, paste: str, *, found: bool = False) -> tuple[Tensor, Tensor]:
    """The whole photo before and after; ``found``: before the edit, with the face as the generator draws it.

    Raises UsageError where there is no photo.
    """
    piece = piece_of(desk)
    if piece.face is None:
        raise UsageError("this picture did not come from a photo, so there is nothing to put it back into")
    recipe, asked = recipe_of(studio, desk), PASTES.get(paste, "difference")
    before = piece.face.photo.image
    if found and paste_way(recipe, asked) == "replace":
        before = piece.face.paste_back(piece.picture)
    inverted = piece.picture if piece.unpulled is None else piece.unpulled
    return before, paste_edited(piece.face, edited, inverted, recipe, paste=asked)


def moved(studio: Studio, desk: Desk) -> bool:
    """Whether the picture is moved, so that the whole face goes back whatever was chosen."""
    return paste_way(recipe_of(studio, desk), "difference") == "replace"


def png(studio: Studio, desk: Desk, *, paste: str | None = None) -> Path:
    """The edited picture as PNG, which holds its recipe; with ``paste`` the whole photo."""
    edited, recipe, piece = picture(studio, desk), recipe_of(studio, desk), piece_of(desk)
    stem = file_stem(piece.name)
    if paste is None:
        path = desk.path(f"{stem}-edited.png")
        write_edited(path, edited, recipe)
    else:
        path = desk.path(f"{stem}-photo.png")
        _, after = whole(studio, desk, edited, paste)
        write_edited(path, after, recipe, photo=None if piece.face is None else piece.face.photo)
    return path


def recipe_file(studio: Studio, desk: Desk) -> Path:
    """The recipe, with its vectors in it."""
    path = desk.path(f"{file_stem(piece_of(desk).name)}.recipe.json")
    recipe_of(studio, desk).save(path)
    return path


def video(studio: Studio, desk: Desk, cancel: threading.Event) -> Iterator[Waiting | News | Result[Path | None]]:
    """From the picture as it was found to the edited one and back: (frame, frames) as news, at the end the file, None
    where ``cancel`` came first. Raises UsageError where both are the same.
    """
    piece, recipe = piece_of(desk), recipe_of(studio, desk)
    if not recipe.edits and recipe.transform is None:
        raise UsageError("a video shows the change, and nothing is changed yet; move a slider first")
    placed = [piece.transform, _on_top(recipe, piece)]
    ends = [piece.latent, apply_edits(piece.latent, recipe)]
    frames = render_path(studio.painter(piece), ends, frames=FRAMES, transforms=placed, easing=ease_in_out, loop=True,
                         batch=BATCH)  # fmt: skip
    path = desk.path(f"{file_stem(piece.name)}-change.mp4")
    size, metadata = max(256, studio.G.spec.resolution), {"recipe": recipe.to_json()}

    def work(tell: Tell) -> Path | None:
        write_video(path, told_frames(frames, tell, cancel), fps=FPS, size=size, metadata=metadata)
        return None if cancel.is_set() else path

    yield from live(work, cancel, studio.line)


def told_frames(frames: RenderedPath, tell: Tell, cancel: threading.Event) -> Iterator[Tensor]:
    """Frames, told (frame, frames) as they are rendered, until ``cancel``; the first one at least."""
    for number, frame in enumerate(frames, start=1):
        if cancel.is_set() and number > 1:
            return
        tell((number, len(frames)))
        yield frame


def go_on_from(studio: Studio, desk: Desk, path: str | Path) -> str:
    """Take up a recipe (on the piece there is) or a latent, and say what was done. Raises EditkitError."""
    path = Path(path)
    if path.suffix.lower() == ".json":
        recipe = directions.resolve(studio.G, Recipe.load(path))
        if desk.piece is None:
            raise UsageError("a recipe is edits without a face; drop the photo, or a latent, first")
        take_recipe(studio, desk, recipe)
        return f"Recipe “{recipe.name}”: {recipe.summary}"
    name, tuning = path.name, None
    if path.suffix.lower() == ".zip":
        path, tuning = parcel.unpacked(path, desk.path("zip").parent)
    elif path.suffix.lower() != ".safetensors":
        raise UsageError(f"{name} is neither a recipe (.json) nor a latent (.safetensors, .zip); this page writes both")
    held = read_latent(path)
    held.latent.check(studio.G.spec)
    one = held.latent.require("w", "w+", "s")[0]
    placed = held.transform if held.transform is None or len(held.transform) == 1 else held.transform[0]
    face = None
    if held.alignment is not None and desk.photo is not None:
        try:
            face = Alignment.from_dict(held.alignment).crop(desk.photo)
        except EditkitError:  # another photo lies here
            face = None
    piece = Piece(name=Path(name).stem, latent=one, transform=placed, picture=one.tensor, face=face,
                  alignment=held.alignment, told="from a latent file", tuning=tuning)  # fmt: skip
    shown = render(studio.painter(piece), one, transform=placed).clamp(-1, 1)
    desk.put(replace(piece, picture=shown))
    return f"Latent {name}"


def take_recipe(studio: Studio, desk: Desk, recipe: Recipe) -> None:
    """Set what a recipe says. What sliders cannot show (rows of its own, beyond the range, a placement
    that is not just a move, a turn and a zoom) stays in it as it is."""
    known = studio.directions_of(desk)
    strengths: dict[str, float] = {}
    fixed: list[Edit] = []
    rows = _common_rows(recipe)
    for edit in recipe.edits:
        direction = edit.direction
        assert isinstance(direction, Direction)
        known.setdefault(direction.name, direction)
        if _shows(direction, edit, known, rows) and direction.name not in strengths:
            if direction.name not in studio.directions:
                desk.bag.setdefault("directions", {})[direction.name] = direction
            strengths[direction.name] = edit.strength
        else:
            fixed.append(edit)
    placed = placed_by(recipe.transform)
    settings = Settings(strengths=strengths, rows=rows, fixed=tuple(fixed), **(placed or {}),
                        under=recipe.transform if placed is None else None)  # fmt: skip
    desk.history.add(settings, apart=True)


def _shows(direction: Direction, edit: Edit, known: Mapping[str, Direction], rows: tuple[int, int] | None) -> bool:
    slider, same = slider_of(direction), known[direction.name].named_tensors()
    mine = direction.named_tensors()
    alike = mine.keys() == same.keys() and all(mine[key].equal(same[key].to(mine[key])) for key in mine)
    return alike and slider.low <= edit.strength <= slider.high and (edit.layers is None) == (rows is None)


def _common_rows(recipe: Recipe) -> tuple[int, int] | None:
    """The rows that all edits share, where they are a range."""
    found = {edit.layers for edit in recipe.edits}
    if len(found) != 1 or (layers := next(iter(found))) is None:
        return None
    numbers = sorted(layer for layer in layers if isinstance(layer, int))
    whole_range = numbers == list(range(numbers[0], numbers[-1] + 1)) if len(numbers) == len(layers) else False
    return (numbers[0], numbers[-1]) if whole_range else None


def _on_top(recipe: Recipe, piece: Piece) -> Transform | None:
    if recipe.transform is None or piece.transform is None:
        return piece.transform if recipe.transform is None else recipe.transform
    return recipe.transform @ piece.transform

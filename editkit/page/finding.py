"""From a dropped file to a piece on the desk: read, find faces, crop, search with a preview; the library before all."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import projector
from editkit.alignment import AlignedPhoto, align
from editkit.edits import Recipe
from editkit.errors import CheckpointError, EditkitError
from editkit.faces import find_faces
from editkit.page import methods
from editkit.page.desk import Desk, Piece
from editkit.page.library import Library
from editkit.page.live import News, Waiting, live
from editkit.page.studio import Studio
from editkit.photo import read_photo
from editkit.rendering import render
from projector.job import Job, Outcome
from projector.methods import STEPS_WITHIN_BUDGET
from projector.result import ProjectionResult, Stop

log = logging.getLogger(__name__)

PREVIEW_EVERY = 0.35
"""Seconds between two previews of a search."""
CROP_AUTO, CROP_CENTRE = "The face", "The centre square"


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """How to search: the method's title, steps, seed, what is cropped, the class of a conditional generator, and what
    only some methods take."""

    method: str
    steps: int
    seed: int = 0
    crop: str = CROP_AUTO
    classes: int | None = None
    extras: methods.Extras = field(default_factory=methods.Extras)


@dataclass(frozen=True, kw_only=True, slots=True)
class Glimpse:
    """How far a search is: share in [0, 1], a word for people, and a picture now and then."""

    share: float
    text: str
    picture: Tensor | None


def read(studio: Studio, desk: Desk, path: str | Path) -> None:
    """Put a photo on the desk and find its faces, largest first. Raises PhotoError."""
    with studio.reading:
        photo = read_photo(path, max_pixels=studio.options.max_pixels)
        desk.photo, desk.photo_name = replace(photo, path=Path(Path(path).name)), Path(path).stem
        desk.photo_key = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        desk.piece, desk.faces = None, []
        desk.faces = find_faces(photo.image) if needs_face(studio) else []


def look_again(studio: Studio, desk: Desk) -> None:
    """Find the faces of a photo that came from the library, where nobody needed them so far."""
    if desk.photo is not None and not desk.faces and needs_face(studio):
        desk.faces = find_faces(desk.photo.image)


def needs_face(studio: Studio) -> bool:
    """Whether the generator's crop is made round a face."""
    return studio.G.spec.alignment != "centre"


def crops(studio: Studio, desk: Desk) -> list[AlignedPhoto]:
    """The crop of every face found."""
    return [cropped(studio, desk, face) for face in range(len(desk.faces))]


def cropped(studio: Studio, desk: Desk, face: int, crop: str = CROP_AUTO) -> AlignedPhoto:
    """The crop of one face, or the centre square where none was found or it is asked for."""
    if desk.photo is None:
        raise EditkitError("there is no photo on this page any more; drop it again")
    if crop == CROP_CENTRE or not desk.faces or not needs_face(studio):
        return align(desk.photo, studio.G.spec, convention="centre")
    face = min(max(face, 0), len(desk.faces) - 1)
    return align(desk.photo, studio.G.spec, landmarks=desk.faces[face].points)


def key_of(desk: Desk, face: int, search: Search) -> str:
    """What the library knows this inversion by."""
    return Library.key(desk.photo_key, -1 if search.crop == CROP_CENTRE or not desk.faces else face)


def kept_piece(studio: Studio, desk: Desk, face: int, search: Search) -> Piece | None:
    """The same photo's piece from the library, where there is one whose search was not stopped."""
    library = studio.library(desk)
    kept = library and library.find(key_of(desk, face, search), studio.G.spec.id)
    if not library or not kept or kept.stopped:
        return None
    try:
        piece = library.open(kept)
    except EditkitError:  # its files were removed by hand: search again
        return None
    return replace(piece, face=cropped(studio, desk, face, search.crop), name=desk.photo_name)


def find(
    studio: Studio, desk: Desk, face: int, search: Search, cancel: threading.Event | None = None
) -> Iterator[Glimpse | Waiting | Piece]:
    """Search the latent of a face in its turn: glimpses on the way, at the end the piece, which the library keeps.

    ``cancel`` ends it with the best so far; where it had not begun yet, without a piece. Raises EditkitError.
    """
    aligned, cancel = cropped(studio, desk, face, search.crop), cancel or desk.start()
    name, key = desk.photo_name or "photo", key_of(desk, face, search)
    method = methods.make(search.method, studio.G, steps=search.steps, classes=search.classes, extras=search.extras)
    started = time.monotonic()

    def work(tell: Any) -> ProjectionResult:
        on_step = _watch(studio, cancel, tell)
        G, perceptual = studio.G, studio.perceptual
        return projector.project(
            G, aligned, method, seed=search.seed, classes=search.classes, perceptual=perceptual, on_step=on_step
        )

    found: ProjectionResult | None = None
    for item in live(work, cancel, studio.line):
        if isinstance(item, Waiting):
            yield item
        elif isinstance(item, News):
            yield item.value
        else:
            found = item.value
    if found is None:
        return
    if not bool(torch.isfinite(found.image).all()):
        raise CheckpointError(f"the pictures of {studio.G.spec.name!r} hold NaN values; its weights may be damaged")
    piece = Piece(
        name=name,
        latent=found.latent,
        transform=found.transform,
        picture=found.image.clamp(-1, 1),
        face=aligned,
        told=told(found),
        tuning=found.tuning,
    )
    library = studio.library(desk)
    kept = library is not None and _worth_keeping(library, key, studio.G.spec.id, found)
    if library is not None and not kept:
        piece = replace(piece, told=f"{piece.told}; your library keeps the closer one of before")
    if library is not None and kept:
        job = Job(generator=studio.G, method=method, perceptual=studio.perceptual, seed=search.seed,
                  classes=search.classes, recipe=Recipe(name="none", edits=()))  # fmt: skip
        seconds = time.monotonic() - started
        outcome = Outcome(face=aligned, found=found, edited=found.image, zero_edit_is_identity=True, seconds=seconds)
        _keep(library, desk, key, piece.name, job, outcome)
    yield piece


def _worth_keeping(library: Library, key: str, generator: str, found: ProjectionResult) -> bool:
    """A search that was stopped does not take the place of one that came closer."""
    there = library.find(key, generator) if found.stop is Stop.CANCELLED else None
    return there is None or there.psnr is None or found.metrics["psnr"] > there.psnr


def _keep(library: Library, desk: Desk, key: str, name: str, job: Job, outcome: Outcome) -> None:
    """Keep it in a thread: Gradio shows what a handler said last once more when it ends, over what was moved since."""

    def keep() -> None:
        try:
            library.keep(key, name, job, outcome)
        except Exception as error:  # the visitor goes on all the same
            log.error("%s was not kept: %s", name, error)

    desk.keeping = threading.Thread(target=keep, name="editkit-keep")
    desk.keeping.start()


def told(found: ProjectionResult) -> str:
    """A line on how a search went."""
    ended = {Stop.CANCELLED: "stopped by you", Stop.DIVERGED: "it diverged; try again"}.get(found.stop, "found")
    return f"{found.metrics['psnr']:.1f} dB, {ended} after {len(found.history)} steps, {found.seconds:.0f} s"


def _watch(studio: Studio, cancel: threading.Event, tell: Any) -> Any:
    """An ``on_step`` that tells how far it is, with a picture now and then, and stops when it should."""
    last = 0.0

    def on_step(step: projector.Step) -> bool:
        nonlocal last
        picture, due = None, time.monotonic() - last > PREVIEW_EVERY
        if step.latent is not None and due:  # while weights are tuned this is the pivot
            picture = render(studio.G, step.latent).clamp(-1, 1)
        share = max(step.progress, (step.index + 1) / max(step.total, 1))
        if due or step.index + 1 == step.total:
            last = time.monotonic()
            of = "" if step.total >= STEPS_WITHIN_BUDGET else f" of {step.total}"  # the time ends it, not the steps
            tell(Glimpse(share=share, text=f"Step {step.index + 1}{of}", picture=picture))
        return not cancel.is_set()

    return on_step

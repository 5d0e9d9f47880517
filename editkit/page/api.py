"""What other programs may call, through gradio_client: see docs/page.md. Everything else of the page is private."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr

import projector
from editkit.direction import Direction
from editkit.edited_picture import paste_edited, render_edited, write_edited
from editkit.edits import Edit, Recipe
from editkit.errors import DirectionError, UsageError
from editkit.labels import class_index
from editkit.page import finding, methods, parts
from editkit.page.grouping import range_of
from editkit.page.pictures import file_stem
from editkit.page.studio import Studio
from editkit.page.toasts import toasted

MOST_STEPS = 1000


def offer(studio: Studio) -> None:
    """Add the endpoints ``/directions`` and ``/edit`` to the page that is being built."""
    public: dict[str, Any] = {"api_visibility": "public", "show_progress": "hidden"}
    with gr.Column(visible=False):
        photo = gr.File(label="photo", type="filepath")
        edits = gr.JSON(label="edits")
        steps = gr.Number(studio.options.steps, label="steps", precision=0)
        whole = gr.Checkbox(True, label="whole_photo")
        kind = gr.Textbox("", label="class_name")
        picture, report, names = gr.File(label="picture"), gr.JSON(label="report"), gr.JSON(label="directions")
        ask, go = gr.Button("directions"), gr.Button("edit")

        def edit(
            request: gr.Request, photo: str, edits: dict[str, float] | str, steps: float, whole_photo: bool,
            class_name: str = "",
        ) -> tuple[str, dict[str, Any]]:  # fmt: skip
            """Find the largest face of a photo, edit it, and give the picture and how it went."""
            return edited_photo(studio, request, photo, edits, int(steps), whole_photo, class_name)

        ask.click(toasted(lambda: listed(studio)), None, [names], api_name="directions", **public)
        go.click(
            toasted(edit), [photo, edits, steps, whole, kind], [picture, report], api_name="edit", **public,
            concurrency_id="search", concurrency_limit=parts.SEARCH["concurrency_limit"],
        )  # fmt: skip


def listed(studio: Studio) -> dict[str, dict[str, Any]]:
    """Name -> range and unit of every direction at hand."""
    ranges = {name: range_of(one) for name, one in studio.directions.items()}
    return {
        name: {"low": low, "high": high, "unit": studio.directions[name].unit} for name, (low, high) in ranges.items()
    }


def edited_photo(
    studio: Studio, request: gr.Request, photo: str, edits: dict[str, float] | str, steps: int, whole: bool,
    class_name: str | int | None = None,
) -> tuple[str, dict[str, Any]]:  # fmt: skip
    """A picture's file and {"psnr", "stop", "seconds", "edits"}, "class" where one was asked for,
    "face_found" where the crop is made round a face; searched in its turn.

    ``class_name``: a class by name or index; none: all of them together. Raises EditkitError.
    """
    if not photo:
        raise UsageError("give a photo, as gradio_client.handle_file(path)")
    if not 1 <= steps <= MOST_STEPS:
        raise UsageError(f"steps is 1 to {MOST_STEPS}, got {steps}")
    spec, named = studio.G.spec, str("" if class_name is None else class_name).strip()
    if named and not spec.c_dim:
        raise UsageError(f"{spec.name!r} has no classes; leave class_name out")
    kind = class_index(spec, named) if named else None
    desk = studio.desk(request)
    cancel = desk.start()
    recipe = recipe_of(studio.directions, edits)
    finding.read(studio, desk, photo)
    face = finding.cropped(studio, desk, 0)
    method = methods.make(methods.AUTO, studio.G, steps=steps, classes=kind)
    with studio.line.place() as place:
        for _ in place.ahead(cancel):
            pass
        if cancel.is_set():
            raise UsageError("the call was given up before its turn came")
        found = projector.project(
            studio.G, face, method, classes=kind, perceptual=studio.perceptual,
            on_step=lambda step: not cancel.is_set(),
        )  # fmt: skip
    image = render_edited(studio.G, found.latent, recipe, transform=found.transform).clamp(-1, 1)
    path = desk.path(f"{file_stem(Path(photo).name)}-edited.png")
    if whole:
        write_edited(path, paste_edited(face, image, found.image, recipe), recipe, photo=face.photo)
    else:
        write_edited(path, image, recipe)
    told = {"psnr": round(found.metrics["psnr"], 2), "stop": found.stop.value, "seconds": round(found.seconds, 2)}
    classes = {} if kind is None else {"class": kind}
    if finding.needs_face(studio):
        told["face_found"] = bool(desk.faces)
    return str(path), told | {"edits": recipe.summary} | classes


def recipe_of(known: Any, edits: dict[str, float] | str) -> Recipe:
    """{"age": 1.0} -> a recipe. Raises DirectionError, and UsageError beyond the range that ``/directions`` gives."""
    try:
        named = json.loads(edits) if isinstance(edits, str) else dict(edits or {})
        strengths = {str(name): float(strength) for name, strength in named.items()}
    except (TypeError, ValueError, AttributeError) as problem:
        raise UsageError(
            f'edits are names and strengths, such as {{"brightness": 1.0}}, got {edits!r:.80}'
        ) from problem
    unknown = sorted(set(strengths) - set(known))
    if unknown:
        raise DirectionError(f"no direction {', '.join(unknown)}; there are: {', '.join(sorted(known))}")
    directions: dict[str, Direction] = dict(known)
    for name, strength in strengths.items():
        low, high = range_of(directions[name])
        if not low <= strength <= high:
            raise UsageError(
                f"{name} goes from {low:+.4g} to {high:+.4g}, got {strength:+g}; give a strength between them"
            )
    return Recipe(name="edit", edits=tuple(Edit(directions[name], strength) for name, strength in strengths.items()))

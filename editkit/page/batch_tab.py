"""The Batch tab: many photos with the same edit, one after the other; a table of how it went, and a zip."""

from __future__ import annotations

import shutil
import threading
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

import directions
from editkit.direction import Direction
from editkit.edit_options import first_of
from editkit.edits import Edit, Recipe
from editkit.errors import UsageError
from editkit.page import classes, methods, parts
from editkit.page.desk import Desk
from editkit.page.grouping import range_of, slider_of
from editkit.page.live import News, Tell, Waiting, live
from editkit.page.search_box import ALL_CLASSES
from editkit.page.studio import Studio
from editkit.page.toasts import said, toasted
from editkit.photo import Photo, read_photo
from projector import folder
from projector.job import Job
from projector.result import Step
from projector.sources import Source

MOST = 200
BATCH = "batch"
"""The long work of this tab, see ``Desk.start``."""
FROM_EDIT, FROM_FILE, FROM_CHOICE = "What is set on the Edit tab", "A recipe", "One direction"
NOTHING = "Nothing is set on the Edit tab: the faces are found, not changed."


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload(Source):
    """A photo that a visitor sent, under the page's own limit of pixels."""

    path: Path
    max_pixels: int

    def read(self) -> Photo:
        """Decode it. Raises PhotoError."""
        return read_photo(self.path, max_pixels=self.max_pixels)


class BatchTab:
    """Files, what is done with them, and how it goes."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        parts.heading(
            "Many photos at once",
            "Of each the largest face is found and edited; one that fails does not stop the rest.",
        )
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=300):
                with gr.Tabs():
                    with gr.Tab("Files"):
                        self.files = gr.File(
                            show_label=False, file_count="multiple", file_types=["image"], height=200,
                            elem_id="ek-batch-files",
                        )  # fmt: skip
                    with gr.Tab("A folder"):
                        self.directory = gr.File(
                            show_label=False, file_count="directory", height=200, elem_id="ek-batch-folder"
                        )
                self.what = gr.Radio(
                    [FROM_CHOICE, FROM_EDIT, FROM_FILE], value=FROM_CHOICE, label="The edit", elem_id="ek-batch-what"
                )
                with gr.Row() as choice:
                    self.which = gr.Dropdown(
                        sorted(studio.directions), label="Direction", elem_id="ek-batch-which", min_width=120,
                        value=first_of(studio.directions),
                    )  # fmt: skip
                    self.strength = gr.Slider(
                        **_range(studio.directions.get(first_of(studio.directions) or "")), label="Strength",
                        min_width=160, elem_id="ek-batch-strength",
                    )  # fmt: skip
                self.recipe = gr.File(
                    label="Recipe (.json)", file_types=[".json"], height=150, visible=False, elem_id="ek-batch-recipe"
                )
                self.will = gr.HTML(elem_id="ek-batch-will")
                self.classes = classes.chooser(studio, ALL_CLASSES, elem_id="ek-batch-class")
                self.steps = gr.Slider(
                    5, 1000, value=studio.options.steps, step=5, label="Steps a photo", elem_id="ek-batch-steps"
                )
                with gr.Row():
                    self.go = gr.Button("Start", variant="primary", elem_id="ek-batch-go")
                    self.stop = gr.Button("Stop", elem_id="ek-batch-stop")
            with gr.Column(scale=4, min_width=320):
                self.status = gr.HTML(parts.line("Nothing is running."), elem_id="ek-batch-status")
                self.table = gr.HTML(elem_id="ek-batch-table")
                self.zip = gr.File(
                    label="Everything, as a zip", interactive=False, visible=False, elem_id="ek-batch-zip"
                )
        inputs = [
            self.files,
            self.directory,
            self.what,
            self.which,
            self.strength,
            self.recipe,
            self.steps,
            self.classes,
        ]
        self.go.click(toasted(self.on_go), inputs, [self.status, self.table, self.zip], **parts.SEARCH)
        self.what.input(toasted(self.on_what), [self.what], [choice, self.recipe, self.will], **parts.QUICK)
        self.which.input(toasted(self.on_which), [self.which], [self.strength], **parts.QUICK)
        self.stop.click(toasted(self.on_stop), None, [self.status], queue=False, **parts.PRIVATE)

    def on_what(self, request: gr.Request, what: str) -> tuple[Any, Any, str]:
        """Where the edit comes from: what is asked for it, and what it will be."""
        desk, will = self.studio.desk(request), ""
        if what == FROM_EDIT:
            recipe = self._recipe(desk, what, None, 0.0, None)
            will = parts.line(NOTHING if _empty(recipe) else f"Now set there: {recipe.summary}.", kind="call")
        return gr.update(visible=what == FROM_CHOICE), gr.update(visible=what == FROM_FILE), will

    def on_which(self, request: gr.Request, which: str | None) -> Any:
        """A direction was chosen: the strength goes as far as on a photo."""
        return gr.update(**_range(self.studio.directions_of(self.studio.desk(request)).get(which or "")))

    def on_go(
        self, request: gr.Request, files: Sequence[str] | None, folder_files: Sequence[str] | None, what: str,
        which: str | None, strength: float, recipe_file: str | None, steps: float, kind: str | None,
    ) -> Iterator[dict[Any, Any]]:  # fmt: skip
        """Work on every file."""
        from editkit.alignment_cli import PHOTO_SUFFIXES

        desk = self.studio.desk(request)
        paths = [Path(path) for path in [*(files or []), *(folder_files or [])]]
        paths = [path for path in paths if path.suffix.lower() in PHOTO_SUFFIXES]
        if not paths or len(paths) > MOST:
            raise UsageError(f"choose 1 to {MOST} pictures (JPEG, PNG, WebP, TIFF or HEIC); there are {len(paths)}")
        recipe = self._recipe(desk, what, which, strength, recipe_file)
        if _empty(recipe):
            gr.Warning(NOTHING if what == FROM_EDIT else "There is no edit: the faces are found, not changed.")
        out, cancel = desk.path("editkit-batch", lasting=True), desk.start(BATCH)
        most = self.studio.options.max_pixels
        sources = [
            Upload(path=path, name=f"{number:03d}-{path.name}", max_pixels=most)
            for number, path in enumerate(paths, start=1)
        ]
        rows: list[dict[str, Any]] = []

        def work(tell: Tell) -> Path:
            method = methods.make(methods.AUTO, self.studio.G, steps=int(steps), classes=classes.chosen(kind))
            studio = self.studio
            job = Job(generator=studio.G, method=method, perceptual=studio.perceptual, recipe=recipe,
                      classes=classes.chosen(kind))  # fmt: skip
            folder.run(job, sources, out, watch=_Watch(tell, cancel, rows), alone=False)
            return _zipped(out, desk.path("editkit-batch.zip", lasting=True))

        yield {
            self.status: parts.bar(0, f"{len(sources)} photos wait"),
            self.table: "",
            self.zip: gr.update(visible=False),
        }
        told = parts.line("Stopped before the first photo.")
        for item in live(work, cancel, self.studio.line):
            if isinstance(item, Waiting):
                yield {self.status: parts.line(item.text, kind="call"), self.table: _table(rows)}
            elif isinstance(item, News):
                share, text = item.value
                yield {self.status: parts.bar(share, text), self.table: _table(rows)}
            else:
                shutil.rmtree(out, ignore_errors=True)  # the zip has it all
                failed = sum(row["status"] == "failed" for row in rows)
                text = f"{len(rows) - failed} of {len(sources)} done" + (f", {failed} failed" if failed else "")
                told = parts.line(f"{text}. The edit: {recipe.summary}.")
                yield {self.table: _table(rows), self.zip: gr.update(value=str(item.value), visible=True)}
        yield {self.status: told}

    def _recipe(self, desk: Any, what: str, which: str | None, strength: float, file: str | None) -> Recipe:
        if what == FROM_EDIT:
            return desk.history.now.recipe(self.studio.directions_of(desk), name="batch")
        if what == FROM_FILE:
            if file is None:
                raise UsageError("drop the recipe first; Recipe on the Edit tab writes one")
            return directions.resolve(self.studio.G, Recipe.load(file))
        direction = self.studio.directions_of(desk).get(which or "")
        if direction is None:
            return Recipe(name="none", edits=())
        low, high = range_of(direction, photo=True)
        held = min(max(strength, low), high)
        if held != strength:  # of another direction's slider, or typed
            gr.Warning(
                f"{direction.name} looks right from {low:+g} to {high:+g}; {held:+g} is used, not {strength:+g}."
            )
        return Recipe(name=direction.name, edits=(Edit(direction, held),) if held else ())

    def follows(self, desk: Desk) -> dict[Any, Any]:
        """Updates of what depends on the generator, for when another one draws."""
        known = self.studio.directions_of(desk)
        first = first_of(known)
        return {
            self.which: gr.update(choices=sorted(known), value=first),
            self.strength: gr.update(**_range(known.get(first or ""))),
            self.classes: classes.update(self.studio, ALL_CLASSES),
        }

    def on_stop(self, request: gr.Request) -> str:
        """What is done stays done."""
        self.studio.desk(request).stop(BATCH)
        return parts.line("Stopping; what is done is kept.")


class _Watch:
    """Passes on how a run goes."""

    def __init__(self, tell: Tell, cancel: threading.Event, rows: list[dict[str, Any]]) -> None:
        self.tell, self.cancel, self.rows = tell, cancel, rows
        self.index, self.total, self.name = 0, 1, ""

    def begin(self, source: Source, index: int, total: int) -> None:
        """A photo is taken up, once those had their turn who have waited meanwhile."""
        if index and not self.cancel.is_set():
            self.tell.give_way()
        if self.cancel.is_set():  # stopped between two photos
            raise KeyboardInterrupt
        self.index, self.total, self.name = index, total, source.name
        self.tell((index / total, f"{source.name} ({index + 1} of {total})"))

    def step(self, step: Step) -> bool:
        """A step of its search."""
        share = (self.index + (step.index + 1) / max(step.total, 1)) / self.total
        self.tell((share, f"{self.name} ({self.index + 1} of {self.total}), step {step.index + 1}"))
        return not self.cancel.is_set()

    def end(self, source: Source, entry: dict[str, Any]) -> None:
        """It is done, or failed."""
        self.rows.append(entry)
        self.tell(((self.index + 1) / self.total, f"{source.name}: {entry['status']}"))


def _range(direction: Direction | None) -> dict[str, Any]:
    """The slider of a direction's strength; at first half of what it has."""
    if direction is None:
        return {"minimum": -1, "maximum": 1, "value": 0, "step": 0.1, "interactive": False}
    slider = slider_of(direction, photo=True)
    value = round(slider.high / 2 / slider.step) * slider.step
    return {"minimum": slider.low, "maximum": slider.high, "value": value, "step": slider.step, "interactive": True}


def _empty(recipe: Recipe) -> bool:
    return not recipe.edits and recipe.transform is None


def _table(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    body = ""
    for row in rows:
        if row["status"] == "failed":
            cells = f'<td class="ek-bad" colspan="3">failed: {said(UsageError(row["error"] or ""))}</td>'
        else:
            psnr = row["metrics"]["psnr"]
            cells = f"<td>done</td><td>{'–' if psnr is None else f'{psnr:.1f} dB'}</td><td>{row['seconds']:.0f} s</td>"
        body += f"<tr><td>{escape(row['photo'])}</td>{cells}</tr>"
    head = "<tr><th>Photo</th><th>How it went</th><th>Closeness</th><th>Time</th></tr>"
    return f'<div class="ek-wide"><table class="ek-table">{head}{body}</table></div>'


def _zipped(out: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(out.rglob("*")):
            if path.is_file() and not path.name.startswith(".") and path.name != "manifest.sqlite":
                archive.write(path, Path("editkit") / path.relative_to(out))
    return target

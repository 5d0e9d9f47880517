"""The Edit tab: drop a photo, watch it being found, move sliders, put it back, take it away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from editkit.errors import EditkitError
from editkit.page import editing, finding, parts, pictures
from editkit.page.desk import SEARCH, Desk, Piece
from editkit.page.edit_controls import Controls
from editkit.page.edit_stage import AGAINST_PHOTO, Stage
from editkit.page.finding import CROP_AUTO, Glimpse, Search
from editkit.page.live import Waiting
from editkit.page.search_box import SearchBox, search_of
from editkit.page.studio import Studio
from editkit.page.toasts import toasted
from editkit.photo import sample_photo, write_image
from editkit.rendering import render
from editkit.sampling import sample_w

WELCOME = """<div class="ek-hero"><h1>Edit a face, not its pixels</h1>
<p>Drop a photo. The page finds the face, looks for the same face inside a generator, and gives you sliders for what the
generator has learned. Nothing leaves this machine.</p></div>"""

STOP, STOP_WAITING = "Stop and keep the best so far", "Do not wait"


class EditTab:
    """Components and handlers of the tab; ``show_piece`` lets other tabs send something here."""

    def __init__(self, studio: Studio, examples: list[str], tabs: gr.Tabs) -> None:
        self.studio, self.tabs = studio, tabs
        with gr.Column(elem_id="ek-start") as self.start:
            gr.HTML(WELCOME)
            self.drop = parts.photo_drop(
                label="Your photo", height=280, elem_id="ek-drop", show_label=False,
                placeholder="# Drop a photo here\nor click to choose one; camera and clipboard are below",
            )  # fmt: skip
            gr.Examples([[path] for path in examples], [self.drop], label="Or try one of these", elem_id="ek-examples")
            self.recent = gr.Gallery(
                label="From your library", columns=6, rows=1, height=150, allow_preview=False, visible=False,
                elem_id="ek-recent", buttons=[], object_fit="cover",
            )  # fmt: skip
            with gr.Accordion("Go on from a latent that you kept", open=False, elem_id="ek-resume-box"):
                self.resume_first = _resume("A latent (.safetensors or .zip)", "ek-resume")
        with gr.Row(elem_id="ek-bench", visible=False, equal_height=False) as self.bench:
            with gr.Column(scale=6, min_width=320, elem_id="ek-stage-side"):
                self.view = Stage(studio)
            with gr.Column(scale=5, min_width=320, elem_id="ek-control-side"):
                self.status = gr.HTML(elem_id="ek-status")
                self.stop = gr.Button(STOP, visible=False, elem_id="ek-stop", size="sm")
                self.faces = gr.Gallery(
                    label="Several faces: choose one", columns=5, height=140, allow_preview=False, visible=False,
                    elem_id="ek-faces", buttons=[], object_fit="cover",
                )  # fmt: skip
                with gr.Column(visible=False, elem_id="ek-controls") as self.panel:
                    self.controls = Controls(studio)
                    self.view.take_away()
                self._again()
        self._wire()

    def _again(self) -> None:
        with gr.Accordion("Go on from a file", open=False, elem_id="ek-continue-box"):
            self.resume = _resume("A recipe (.json) or a latent (.safetensors or .zip)", "ek-continue")
        self.search = SearchBox(self.studio)

    def _wire(self) -> None:
        search = self.search.inputs
        views = [
            self.start,
            self.bench,
            self.panel,
            self.status,
            self.stop,
            self.faces,
            self.view.stage,
            self.view.against,
        ]
        laid = [*views, self.view.views, self.view.whole, *self.controls.outputs, self.drop]
        self.laid = laid
        self.drop.change(toasted(self.on_photo), [self.drop, *search], laid, **parts.SEARCH)
        self.faces.select(toasted(self.on_face), search, laid, **parts.SEARCH)
        self.search.again.click(toasted(self.on_search), search, laid, **parts.SEARCH)
        self.stop.click(toasted(self.on_stop), None, [self.status], queue=False, **parts.PRIVATE)
        self.view.another.click(toasted(self.on_another), None, [*laid, self.recent], **parts.QUICK)
        self.recent.select(toasted(self.on_recent), None, laid, **parts.QUICK)
        for resume in (self.resume_first, self.resume):
            resume.upload(toasted(self.on_file), [resume], [*laid, self.resume_first, self.resume], **parts.QUICK)
        self.view.wire(self.controls, self.status, self.stop)

    # What happens when a photo comes

    def on_photo(self, request: gr.Request, path: str | None, *search: Any) -> Iterator[dict[Any, Any]]:
        """A photo was dropped: faces, then the one that is there is searched."""
        desk = self.studio.desk(request)
        if path is None:  # it was taken away
            yield gr.skip()
            return
        try:
            finding.read(self.studio, desk, path)
        except EditkitError:
            yield {self.drop: None}
            raise
        desk.bag["face"] = 0  # the one that was picked in a photo before is none of this one's
        yield from self._first_face(desk, search_of(*search))

    def _first_face(self, desk: Desk, search: Search) -> Iterator[dict[Any, Any]]:
        assert desk.photo is not None
        faces = finding.crops(self.studio, desk)
        shown = pictures.show(desk, desk.photo.image)
        here = {self.start: gr.update(visible=False), self.bench: gr.update(visible=True)}
        if len(faces) > 1 and search.crop == CROP_AUTO:
            crops = [(pictures.show(desk, face.image), f"Face {number}") for number, face in enumerate(faces, 1)]
            yield {
                **here,
                **self.view.back_to_face(desk),
                self.panel: gr.update(visible=False),
                self.view.stage: (shown, shown),
                self.faces: gr.update(value=crops, visible=True, selected_index=None),
                self.status: parts.line(f"{len(faces)} faces found. Choose the one to edit.", kind="call"),
            }
            return
        if not faces and finding.needs_face(self.studio) and search.crop == CROP_AUTO:
            gr.Warning(
                "No face was found, so the centre square is used. A larger, more frontal face works best.", duration=8
            )
        yield {**here, self.faces: gr.update(visible=False)}
        yield from self._searched(desk, 0, search)

    def on_face(self, request: gr.Request, event: gr.SelectData, *search: Any) -> Iterator[dict[Any, Any]]:
        """A face was picked."""
        desk = self.studio.desk(request)
        desk.bag["face"] = int(event.index)
        yield from self._searched(desk, int(event.index), search_of(*search))

    def on_search(self, request: gr.Request, *search: Any) -> Iterator[dict[Any, Any]]:
        """Search again, with other settings; the library is not asked."""
        desk = self.studio.desk(request)
        finding.look_again(self.studio, desk)
        yield from self._searched(desk, desk.bag.get("face", 0), search_of(*search), anew=True)

    def _searched(self, desk: Desk, face: int, search: Search, *, anew: bool = False) -> Iterator[dict[Any, Any]]:
        kept = None if anew else finding.kept_piece(self.studio, desk, face, search)
        if kept is not None:
            yield self.show_piece(desk, kept)
            return
        mine = desk.start()
        crop = pictures.show(desk, finding.cropped(self.studio, desk, face, search.crop).image, lasting=True)
        yield {
            **self.view.back_to_face(desk),
            self.panel: gr.update(visible=False),
            self.stop: gr.update(visible=True, value=STOP),
            self.view.stage: (crop, crop),
            self.status: parts.bar(0.0, "Looking for this face in the generator"),
        }
        try:
            for item in finding.find(self.studio, desk, face, search, mine):
                if desk.jobs[SEARCH] is not mine:  # something else is laid on the bench, or nothing
                    continue
                if isinstance(item, Piece):
                    yield self.show_piece(desk, item)
                elif isinstance(item, Waiting):
                    waiting = parts.line(item.text, kind="call")
                    yield {self.status: waiting, self.stop: gr.update(visible=True, value=STOP_WAITING)}
                elif isinstance(item, Glimpse):
                    news = {self.status: parts.bar(item.share, item.text), self.stop: gr.update(value=STOP)}
                    if item.picture is not None:
                        news[self.view.stage] = (crop, pictures.show(desk, item.picture))
                    yield news
        except EditkitError:
            if desk.jobs[SEARCH] is mine:
                yield self.show_again(desk)
            raise
        if desk.jobs[SEARCH] is mine:  # it was not waited for
            yield self.show_again(desk)

    def show_piece(self, desk: Desk, piece: Piece) -> dict[Any, Any]:
        """Updates that lay a piece on the bench; a search that goes on ends, and shows nothing more."""
        desk.start()
        desk.put(piece)
        whole = {self.view.whole: self.view.whole_again(desk)} if piece.face else self.view.back_to_face(desk)
        return {
            self.start: gr.update(visible=False),
            self.bench: gr.update(visible=True),
            self.panel: gr.update(visible=True),
            self.stop: gr.update(visible=False),
            self.status: parts.line(piece.summary),
            self.view.stage: self.view.pair(desk, AGAINST_PHOTO),
            **whole,
            self.view.against: gr.update(value=AGAINST_PHOTO, visible=piece.face is not None),
            **self.controls.shown(desk),
        }

    def show_again(self, desk: Desk) -> dict[Any, Any]:
        """The bench as it was before something was begun on it, or the start where nothing was there."""
        if desk.piece is None:
            return self._at_start(desk)
        history = desk.history
        shown = self.show_piece(desk, desk.piece)
        desk.history = history
        whole = {self.view.whole: self.view.whole_again(desk)} if desk.piece.face else {}
        pair = self.view.pair(desk, AGAINST_PHOTO)
        return {**shown, **self.controls.shown(desk), self.view.stage: pair, **whole}

    def on_stop(self, request: gr.Request) -> str:
        """The best so far is enough."""
        self.studio.desk(request).stop(SEARCH)
        return parts.line("Stopping.")

    def on_another(self, request: gr.Request) -> dict[Any, Any]:
        """Back to the start."""
        desk = self.studio.desk(request)
        return {**self._at_start(desk), self.recent: self.recent_update(desk)}

    def _at_start(self, desk: Desk) -> dict[Any, Any]:
        desk.start()
        desk.photo, desk.faces, desk.piece = None, [], None
        return {
            self.start: gr.update(visible=True),
            self.bench: gr.update(visible=False),
            self.stop: gr.update(visible=False),
            self.faces: gr.update(visible=False),
            self.drop: None,
            self.view.stage: None,
            **self.view.back_to_face(desk),
        }

    def recent_update(self, desk: Desk) -> Any:
        """The last entries of the library, as pictures."""
        library = self.studio.library(desk)
        kept = library.entries(generator=self.studio.G.spec.id)[:6] if library else []
        desk.bag["recent"] = kept
        shown = [(pictures.copied(desk, one.thumbnail), one.title) for one in kept]
        return gr.update(value=shown, visible=bool(shown), selected_index=None)

    def on_recent(self, request: gr.Request, event: gr.SelectData) -> dict[Any, Any]:
        """An entry of the library opens at once."""
        desk = self.studio.desk(request)
        return self.open_kept(desk, parts.clicked(desk.bag.get("recent"), event.index))

    def open_kept(self, desk: Desk, kept: Any) -> dict[Any, Any]:
        """The same for any entry."""
        library = self.studio.library(desk)
        assert library is not None
        piece = library.open(kept)
        desk.photo, desk.photo_name = (piece.face.photo if piece.face else None), piece.name
        desk.photo_key, face, *_ = kept.key.removeprefix("page:").split(":")
        desk.faces = []
        desk.bag["face"] = max(0, int(face))
        return self.show_piece(desk, piece)

    def on_file(self, request: gr.Request, path: str) -> Iterator[dict[Any, Any]]:
        """A recipe or a latent was dropped; its box lets go of it, also where it is refused."""
        desk = self.studio.desk(request)
        empty = {self.resume_first: None, self.resume: None}
        try:
            text = editing.go_on_from(self.studio, desk, path)
            shown = self.show_again(desk)
        except EditkitError:
            yield empty
            raise
        yield {**shown, self.status: parts.line(text), **empty}

    def follows(self, desk: Desk) -> dict[Any, Any]:
        """Updates of what depends on the generator, for when another one draws."""
        return {**self.search.follows(), **self.controls.shown(desk)}


def _resume(label: str, elem_id: str) -> gr.File:
    return gr.File(label=label, file_types=[".json", ".safetensors", ".zip"], height=110, elem_id=elem_id)


def example_files(studio: Studio) -> list[str]:
    """The sample photo, and three pictures of the generator's own."""
    folder = studio.temporary / "examples"
    folder.mkdir()
    write_image(folder / "astronaut.png", sample_photo().image, note=False)
    made = render(studio.G, sample_w(studio.G, [3, 5, 11], truncation_psi=0.7)).clamp(-1, 1)
    for number, image in enumerate(made, start=1):
        picture = pictures.as_pil(image)
        picture.resize((256, 256)).save(folder / f"generated-{number}.png")
    return [str(path) for path in sorted(folder.glob("*.png"))]

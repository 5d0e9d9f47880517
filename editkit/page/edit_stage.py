"""The picture of the Edit tab: before and after, the face and the whole photo, and what is taken away of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import gradio as gr

from editkit.errors import EditkitError
from editkit.page import editing, parcel, parts, pictures
from editkit.page.desk import SEARCH, Desk
from editkit.page.edit_controls import Controls
from editkit.page.live import News, Waiting
from editkit.page.studio import Studio
from editkit.page.toasts import toasted

AGAINST_PHOTO, AGAINST_FOUND = "the photo", "before the edit"

REVEAL_JS = "at => { const how = {__type__: 'update', slider_position: at}; return [how, how]; }"


class Stage:
    """The picture, redrawn whenever a control moves."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        with gr.Tabs(elem_id="ek-views") as self.views:
            with gr.Tab("Face", id="face") as self.face_view:
                self.stage = gr.ImageSlider(
                    show_label=False, interactive=False, elem_id="ek-stage", max_height=760, buttons=["fullscreen"],
                    type="filepath",
                )  # fmt: skip
            with gr.Tab("Whole photo", id="whole") as self.whole_view:
                self.whole = gr.ImageSlider(
                    show_label=False, interactive=False, elem_id="ek-whole", max_height=760, buttons=["fullscreen"],
                    type="filepath",
                )  # fmt: skip
                self.paste = gr.Radio(
                    list(editing.PASTES),
                    value=next(iter(editing.PASTES)),
                    label="What goes back",
                    elem_id="ek-paste",
                    info="A face that is moved, turned or zoomed always goes back whole, or its old place would show",
                )
        with gr.Row(elem_id="ek-under-stage"):
            self.against = gr.Radio(
                [AGAINST_PHOTO, AGAINST_FOUND], value=AGAINST_PHOTO, label="Compare with", elem_id="ek-against"
            )
            self.reveal = gr.Slider(
                0, 100, value=50, step=5, label="Before, up to (%)", elem_id="ek-reveal", min_width=150,
            )  # fmt: skip
            self.another = gr.Button("Another photo", size="sm", elem_id="ek-another", min_width=120)

    def take_away(self) -> None:
        """Lay out the buttons that write files."""
        parts.heading("Take it away")
        with gr.Row(elem_id="ek-downloads", elem_classes="ek-tight"):
            self.save_face = gr.Button("Face (PNG)", size="sm", elem_id="ek-save-face", min_width=90)
            self.save_whole = gr.Button("Whole photo (PNG)", size="sm", elem_id="ek-save-whole", min_width=120)
            self.save_video = gr.Button("Video of the change", size="sm", elem_id="ek-save-video", min_width=120)
        with gr.Row(elem_classes="ek-tight"):
            self.save_recipe = gr.Button("Recipe (the edits)", size="sm", elem_id="ek-save-recipe", min_width=120)
            self.save_latent = gr.Button("Latent (the face)", size="sm", elem_id="ek-save-latent", min_width=120)

    def wire(self, controls: Controls, status: gr.HTML, stop: gr.Button) -> None:
        """Connect the picture with the controls, and the buttons with their files; ``status`` and ``stop``: where long
        work says how far it is, and what ends it."""
        self.controls = controls
        stage = [self.stage, self.whole, *controls.marks]
        for control in controls.inputs:  # each tells its own value: forty sliders would be much to send at every move
            act = toasted(self._on_move(control))
            control.input(act, [control, self.against], stage, **parts.QUICK, trigger_mode="always_last")
        self.against.input(toasted(self.on_against), [self.against], [self.stage, self.whole], **parts.QUICK)
        self.reveal.input(None, [self.reveal], [self.stage, self.whole], js=REVEAL_JS, **parts.PRIVATE)
        back = ((controls.undo, self.on_undo), (controls.redo, self.on_redo), (controls.reset, self.on_reset))
        for button, act in back:
            button.click(toasted(act), [self.against], [self.stage, self.whole, *controls.outputs], **parts.QUICK)
        self.face_view.select(toasted(self.on_face_view), None, None, **parts.QUICK)
        looked_at = [self.paste, self.against]
        self.whole_view.select(toasted(self.on_whole), looked_at, [self.whole], **parts.QUICK)
        self.paste.input(toasted(self.on_whole), looked_at, [self.whole], **parts.QUICK)
        parts.download(self.save_face, "face", toasted(self.face_png))
        parts.download(self.save_whole, "whole", toasted(self.whole_png), [self.paste])
        parts.download(self.save_recipe, "recipe", toasted(self.recipe))
        parts.download(self.save_latent, "latent", toasted(self.latent))
        parts.download(self.save_video, "video", toasted(self.video), told=[status, stop], how=parts.SEARCH)

    def _on_move(self, control: Any) -> Callable[..., list[Any]]:
        """What happens when a control moves."""

        def on_move(request: gr.Request, value: float, against: str) -> list[Any]:
            desk = self.studio.desk(request)
            editing.piece_of(desk).latent.check(self.studio.G.spec)
            with desk.moving:  # two sliders may move at once
                desk.history.add(self.controls.moved(desk, control, value))
            return [self.pair(desk, against), self.whole_again(desk, against), *self.controls.mark_updates(desk)]

        return on_move

    def on_against(self, request: gr.Request, against: str) -> list[Any]:
        """Compare with something else."""
        desk = self.studio.desk(request)
        return [self.pair(desk, against), self.whole_again(desk, against)]

    def on_undo(self, request: gr.Request, against: str) -> dict[Any, Any]:
        """One step back."""
        desk = self.studio.desk(request)
        desk.history.undo()
        return self._redrawn(desk, against)

    def on_redo(self, request: gr.Request, against: str) -> dict[Any, Any]:
        """One step forward."""
        desk = self.studio.desk(request)
        desk.history.redo()
        return self._redrawn(desk, against)

    def on_reset(self, request: gr.Request, against: str) -> dict[Any, Any]:
        """Everything to 0; undo brings it back."""
        desk = self.studio.desk(request)
        empty = replace(
            desk.history.now, strengths={}, x=0.0, y=0.0, turn=0.0, zoom=1.0, rows=None, fixed=(), under=None
        )
        desk.history.add(empty, apart=True)
        return self._redrawn(desk, against)

    def _redrawn(self, desk: Desk, against: str) -> dict[Any, Any]:
        return {
            self.stage: self.pair(desk, against),
            self.whole: self.whole_again(desk, against),
            **self.controls.shown(desk),
        }

    def pair(self, desk: Desk, against: str) -> tuple[str, str]:
        """What the picture is compared with, and the picture."""
        piece = editing.piece_of(desk)
        cached = desk.bag.setdefault("shown", {})
        which = "face" if against == AGAINST_PHOTO and piece.face is not None else "found"
        if cached.get("of") is not piece:
            cached.clear()
            cached["of"] = piece
        if which not in cached:
            shown = piece.face.image if which == "face" and piece.face else piece.picture
            cached[which] = pictures.show(desk, shown, lasting=True)
        return cached[which], pictures.show(desk, editing.picture(self.studio, desk))

    def whole_again(self, desk: Desk, against: str = AGAINST_PHOTO) -> Any:
        """The whole photo, where it is what is looked at."""
        paste = desk.bag.get("looking at the whole")
        if paste is None or desk.piece is None or desk.piece.face is None:
            return gr.skip()
        found = against == AGAINST_FOUND
        before, after = editing.whole(self.studio, desk, editing.picture(self.studio, desk), paste, found=found)
        return pictures.show(desk, before), pictures.show(desk, after)

    def back_to_face(self, desk: Desk) -> dict[Any, Any]:
        """Updates that turn to the face, for when the whole photo is not, or not yet, this one's."""
        desk.bag.pop("looking at the whole", None)
        return {self.views: gr.Tabs(selected="face"), self.whole: None}

    def on_face_view(self, request: gr.Request) -> None:
        """The face is looked at."""
        self.studio.desk(request).bag.pop("looking at the whole", None)

    def on_whole(self, request: gr.Request, paste: str, against: str) -> Any:
        """The whole photo before and after."""
        desk = self.studio.desk(request)
        if desk.piece is None or desk.piece.face is None:
            gr.Warning(
                "This picture did not come from a photo that is here; drop the photo to put it back.", duration=6
            )
            return None
        desk.bag["looking at the whole"] = paste
        return self.whole_again(desk, against)

    # Files to take away

    def face_png(self, request: gr.Request) -> str:
        """The face."""
        return str(editing.png(self.studio, self.studio.desk(request)))

    def whole_png(self, request: gr.Request, paste: str) -> str:
        """The whole photo."""
        return str(editing.png(self.studio, self.studio.desk(request), paste=paste))

    def recipe(self, request: gr.Request) -> str:
        """The recipe."""
        return str(editing.recipe_file(self.studio, self.studio.desk(request)))

    def latent(self, request: gr.Request) -> str:
        """The latent."""
        desk = self.studio.desk(request)
        return str(parcel.latent_of(desk, editing.piece_of(desk)))

    def video(self, request: gr.Request) -> Iterator[tuple[Any, str, Any]]:
        """The video, and how far it is; no file where it was stopped."""
        desk = self.studio.desk(request)
        before = parts.line(editing.piece_of(desk).summary), gr.update(visible=False)
        path, mine = None, desk.start()
        try:
            for item in editing.video(self.studio, desk, mine):
                if isinstance(item, Waiting):
                    yield None, parts.line(item.text, kind="call"), gr.update(visible=True, value="Do not wait")
                elif isinstance(item, News):
                    number, total = item.value
                    text = parts.bar(number / total, f"Frame {number} of {total}")
                    yield None, text, gr.update(visible=True, value="Stop the video")
                elif item.value is not None:
                    path = str(item.value)
        except EditkitError:
            yield None, *before
            raise
        told = before if desk.jobs[SEARCH] is mine else (gr.skip(), gr.skip())  # another piece says its own
        yield path, *told

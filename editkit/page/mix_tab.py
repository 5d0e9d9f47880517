"""The Mix and walk tab: blend two faces, some rows of one and the rest of another, or walk through several."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from editkit.easing import ease_in_out
from editkit.errors import EditkitError, UsageError
from editkit.page import finding, parts, pictures
from editkit.page.desk import Desk, Piece
from editkit.page.edit_tab import EditTab
from editkit.page.editing import BATCH, told_frames
from editkit.page.finding import Glimpse, Search
from editkit.page.live import News, Tell, Waiting, live
from editkit.page.mixing import blended, drawn_by
from editkit.page.search_box import search_of
from editkit.page.studio import Studio
from editkit.page.toasts import said, toasted
from editkit.paths import Spline
from editkit.rendered_path import render_path
from editkit.rendering import render
from editkit.video import write_video

FPS = 24
MOST = 12
ADD, WALK = "add", "walk"
"""The long work of this tab, see ``Desk.start``."""


class MixTab:
    """The shelf, a blend of two of its pieces, and a walk through all that are chosen."""

    def __init__(self, studio: Studio, edit: EditTab, tabs: gr.Tabs) -> None:
        self.studio, self.edit = studio, edit
        parts.heading("Your shelf", "Of each photo the largest face is found first; what you edit can be put here too.")
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=260):
                self.add = gr.File(
                    label="Add photos", file_count="multiple", file_types=["image"], height=160, elem_id="ek-mix-add"
                )
                self.take = gr.Button("Add what is on the Edit tab", size="sm", elem_id="ek-mix-take")
                self.status = gr.HTML(elem_id="ek-mix-status")
                self.enough = gr.Button("Stop adding", size="sm", visible=False, elem_id="ek-mix-enough")
            with gr.Column(scale=5, min_width=320):
                self.shelf = gr.Gallery(
                    show_label=False, columns=8, height=190, allow_preview=False, elem_id="ek-shelf", buttons=[],
                    object_fit="cover",
                )  # fmt: skip
                with gr.Row(elem_classes="ek-tight"):
                    self.earlier = gr.Button("← Earlier", size="sm", elem_id="ek-shelf-earlier", min_width=90)
                    self.later = gr.Button("Later →", size="sm", elem_id="ek-shelf-later", min_width=90)
                    self.off = gr.Button("Take it off", size="sm", elem_id="ek-shelf-off", min_width=90)
        with gr.Row(equal_height=False):
            with gr.Column(min_width=320):
                self._blend()
            with gr.Column(min_width=320):
                self._walk()
        self._wire(tabs)

    def _blend(self) -> None:
        parts.heading("Blend two")
        last = self.studio.G.spec.num_ws - 1
        with gr.Row():
            self.first = gr.Dropdown([], label="This one", elem_id="ek-mix-first", min_width=120)
            self.second = gr.Dropdown([], label="and this one", elem_id="ek-mix-second", min_width=120)
        self.share = gr.Slider(0, 1, value=0.5, step=0.02, label="How much of the second", elem_id="ek-mix-share")
        with gr.Row():
            self.row_first = gr.Slider(0, last, value=0, step=1, label="From row", elem_id="ek-mix-from", min_width=120)
            self.row_last = gr.Slider(0, last, value=last, step=1, label="To row", elem_id="ek-mix-to", min_width=120)
        self.picture = gr.Image(
            show_label=False, interactive=False, elem_id="ek-mix-picture", elem_classes="ek-mat", buttons=["fullscreen"]
        )
        self.note = gr.HTML(elem_id="ek-mix-note")
        self.edit_it = gr.Button("Edit the blend", size="sm", elem_id="ek-mix-edit")

    def _walk(self) -> None:
        parts.heading("Walk through several")
        self.stops = gr.CheckboxGroup([], label="In this order", elem_id="ek-walk-stops")
        with gr.Row():
            self.seconds = gr.Slider(1, 20, value=4, step=1, label="Seconds", elem_id="ek-walk-seconds", min_width=120)
            self.loop = gr.Checkbox(True, label="Back to the first", elem_id="ek-walk-loop", min_width=120)
            self.smooth = gr.Checkbox(False, label="In one curve", elem_id="ek-walk-smooth", min_width=120)
        with gr.Row():
            self.go = gr.Button("Make the video", variant="primary", elem_id="ek-walk-go")
            self.stop = gr.Button("Stop", elem_id="ek-walk-stop")
        self.walk_status = gr.HTML(elem_id="ek-walk-status")
        self.video = gr.Video(
            show_label=False, interactive=False, autoplay=True, loop=True, elem_id="ek-walk-video", buttons=["download"]
        )

    def _wire(self, tabs: gr.Tabs) -> None:
        chosen = [self.first, self.second, self.stops]
        self.shown = [self.shelf, *chosen]
        blend = [self.first, self.second, self.share, self.row_first, self.row_last]
        shelf = [self.status, *self.shown]
        self.add.upload(toasted(self.on_add), [self.add, *self.edit.search.inputs], [self.add, self.enough, *shelf],
                        **parts.SEARCH)  # fmt: skip
        self.enough.click(toasted(self.on_enough), None, [self.status], queue=False, **parts.PRIVATE)
        self.shelf.select(toasted(self.on_pick), None, None, **parts.QUICK)
        for button, act in ((self.earlier, self._mover(-1)), (self.later, self._mover(1)), (self.off, self.on_off)):
            button.click(toasted(act), chosen, self.shown, **parts.QUICK)
        self.take.click(toasted(self.on_take), None, shelf, **parts.QUICK)
        for control in blend:
            event = control.change if isinstance(control, gr.Dropdown) else control.input
            event(toasted(self.on_blend), blend, [self.picture, self.note], **parts.QUICK, trigger_mode="always_last")
        self.edit_it.click(toasted(self.on_edit), blend, [tabs, *self.edit.laid], **parts.QUICK)
        walk = [self.stops, self.seconds, self.loop, self.smooth]
        self.go.click(toasted(self.on_walk), walk, [self.walk_status, self.video], **parts.SEARCH)
        self.stop.click(toasted(self.on_stop), None, [self.walk_status], queue=False, **parts.PRIVATE)

    def on_add(self, request: gr.Request, files: list[str] | None, *search: Any) -> Iterator[dict[Any, Any]]:
        """Find each photo as the Edit tab would, and put it on the shelf."""
        desk, asked = self.studio.desk(request), search_of(*search)
        how = replace(asked, extras=replace(asked.extras, placement=False))  # blends and walks are drawn upright
        if len(files or []) > MOST:
            gr.Warning(f"{MOST} photos at a time are the most; the first ones are added.", duration=6)
        # a desk beside the visitor's, so that the Edit tab keeps its photo meanwhile
        beside, cancel = Desk(folder=desk.path("add", lasting=True).parent, user=desk.user), desk.start(ADD)
        yield {self.enough: gr.update(visible=True)}
        for number, path in enumerate((files or [])[:MOST], start=1):
            name = f"{Path(path).name} ({number} of {min(len(files or []), MOST)})"
            try:
                for item in self._found(beside, path, name, how, cancel):
                    if isinstance(item, Piece):
                        desk.shelve(item)
                        yield self.shelf_updates(desk)
                    else:
                        yield {self.status: item}
            except EditkitError as error:
                gr.Warning(f"{said(error)}", title=said(UsageError(Path(path).name)))
            if cancel.is_set():
                break
        yield {self.status: "", self.add: None, self.enough: gr.update(visible=False), **self.shelf_updates(desk)}

    def on_enough(self, request: gr.Request) -> str:
        """Those that are there are enough, and the best so far of the one that is looked for."""
        self.studio.desk(request).stop(ADD)
        return parts.line("Stopping.")

    def _found(
        self, desk: Desk, path: str, name: str, search: Search, cancel: threading.Event
    ) -> Iterator[str | Piece]:
        """How far it is, in HTML, and at the end the piece."""
        yield parts.bar(0, f"Reading {name}")
        finding.read(self.studio, desk, path)
        if not desk.faces and finding.needs_face(self.studio):
            gr.Warning(f"No face was found in {said(UsageError(Path(path).name))}, so its centre square is used.")
        piece = finding.kept_piece(self.studio, desk, 0, search)
        if piece is None:
            for item in finding.find(self.studio, desk, 0, search, cancel):
                if isinstance(item, Waiting):
                    yield parts.line(item.text, kind="call")
                elif isinstance(item, Glimpse):
                    yield parts.bar(item.share, name)
                else:
                    piece = item
        if piece is not None:
            yield piece

    def on_take(self, request: gr.Request) -> dict[Any, Any]:
        """Shelve what is edited, as edited."""
        from editkit.edits import apply_edits
        from editkit.page.editing import piece_of, recipe_of

        desk = self.studio.desk(request)
        piece, recipe = piece_of(desk), recipe_of(self.studio, desk)
        if recipe.transform is not None:
            gr.Info("The shelf takes the face in its place: move, turn and zoom stay on the Edit tab.", duration=6)
        edited = apply_edits(piece.latent, recipe)
        shown = render(self.studio.painter(piece), edited).clamp(-1, 1)
        desk.shelve(
            Piece(name=piece.name, latent=edited, transform=None, picture=shown, tuning=piece.tuning,
                  from_photo=piece.of_photo)
        )  # fmt: skip
        return {self.status: "", **self.shelf_updates(desk)}

    def on_pick(self, request: gr.Request, event: gr.SelectData) -> None:
        """One of the shelf was clicked."""
        desk = self.studio.desk(request)
        desk.bag["on shelf"] = parts.clicked(list(desk.shelf), event.index)

    def _picked(self, desk: Desk) -> str:
        name = desk.bag.get("on shelf")
        if name not in desk.shelf:
            raise UsageError("click a face of the shelf first")
        return str(name)

    def _mover(self, by: int) -> Callable[..., dict[Any, Any]]:
        """What moves the clicked face by one place; a walk goes in the order of the shelf."""

        def on_move(request: gr.Request, *chosen: Any) -> dict[Any, Any]:
            desk = self.studio.desk(request)
            name, names = self._picked(desk), list(desk.shelf)
            place = names.index(name)
            names.insert(min(max(place + by, 0), len(names) - 1), names.pop(place))
            desk.shelf = {one: desk.shelf[one] for one in names}
            return self.shelf_updates(desk, chosen)

        return on_move

    def on_off(self, request: gr.Request, *chosen: Any) -> dict[Any, Any]:
        """The clicked face leaves the shelf."""
        desk = self.studio.desk(request)
        del desk.shelf[self._picked(desk)]
        return self.shelf_updates(desk, chosen)

    def shelf_updates(self, desk: Desk, chosen: Sequence[Any] | None = None) -> dict[Any, Any]:
        """The shelf as it is; ``chosen``: the two faces of the blend and the stops of the walk that stay chosen."""
        names, picked = list(desk.shelf), desk.bag.get("on shelf")
        shown = [(pictures.show(desk, piece.picture), name) for name, piece in desk.shelf.items()]
        first, second, stops = chosen or (None, None, names)
        if first not in names:
            first = next(iter(names), None)
        if second not in names:
            second = next((name for name in names if name != first), None)
        place = names.index(picked) if picked in names else None
        return {
            self.shelf: gr.update(value=shown, selected_index=place),
            self.first: gr.update(choices=names, value=first),
            self.second: gr.update(choices=names, value=second),
            self.stops: gr.update(choices=names, value=[name for name in names if name in stops]),
        }

    def follows(self, desk: Desk) -> dict[Any, Any]:
        """Updates of what depends on the generator, for when another one draws."""
        last = self.studio.G.spec.num_ws - 1
        return {self.row_first: gr.update(value=0, maximum=last), self.row_last: gr.update(value=last, maximum=last)}

    def on_blend(self, request: gr.Request, *chosen: Any) -> tuple[str | None, str]:
        """The picture of the blend, and what draws it; nothing while only one is chosen."""
        desk = self.studio.desk(request)
        if not (chosen[0] and chosen[1]):
            return None, ""
        piece = blended(self.studio, desk, *chosen)
        return pictures.show(desk, piece.picture), parts.line(drawn_by(desk, chosen[:2]))

    def on_edit(self, request: gr.Request, *chosen: Any) -> dict[Any, Any]:
        """The blend goes to the Edit tab."""
        desk = self.studio.desk(request)
        piece = blended(self.studio, desk, *chosen)
        desk.photo, desk.faces = None, []
        return {self.edit.tabs: gr.Tabs(selected="edit"), **self.edit.show_piece(desk, piece)}

    def on_walk(
        self, request: gr.Request, stops: list[str], seconds: float, loop: bool, smooth: bool
    ) -> Iterator[dict[Any, Any]]:
        """The video through the chosen pieces."""
        desk = self.studio.desk(request)
        pieces = [piece for name, piece in desk.shelf.items() if name in stops]
        if len(pieces) < 2:
            raise UsageError("a walk takes two faces at least; add more to the shelf, or tick more of them")
        cancel, path = desk.start(WALK), desk.path("walk.mp4", lasting=True)
        frames = render_path(
            self.studio.G,
            [piece.latent.as_w_plus() for piece in pieces],
            frames=max(len(pieces) + 1, int(seconds * FPS)),
            curve=Spline() if smooth else None,
            easing=ease_in_out,
            loop=loop,
            tunings=[piece.tuning for piece in pieces],
            batch=BATCH,
        )

        def work(tell: Tell) -> str:
            write_video(path, told_frames(frames, tell, cancel), fps=FPS, size=max(256, self.studio.G.spec.resolution))
            return str(path)

        for item in live(work, cancel, self.studio.line):
            if isinstance(item, Waiting):
                yield {self.walk_status: parts.line(item.text, kind="call")}
            elif isinstance(item, News):
                number, total = item.value
                yield {self.walk_status: parts.bar(number / total, f"Frame {number} of {total}")}
            else:
                yield {self.video: item.value}
        yield {self.walk_status: ""}

    def on_stop(self, request: gr.Request) -> str:
        """The frames so far are enough."""
        self.studio.desk(request).stop(WALK)
        return parts.line("Stopping.")

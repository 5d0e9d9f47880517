"""The Drag tab: put a handle, put its target, paint what may change, and pull."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gradio as gr
import numpy as np
import torch
from torch import Tensor

from editkit.errors import UsageError
from editkit.page import parts, pictures
from editkit.page.desk import Desk, Piece
from editkit.page.edit_tab import EditTab
from editkit.page.live import News, Tell, Waiting, live
from editkit.page.studio import Studio
from editkit.page.toasts import toasted
from editkit.rendering import render
from projector import Drag, DragStep, drag

DRAG = "drag"
"""The long work of this tab, see ``Desk.start``."""
SIDE = 512
"""Pixels a side of the picture that is clicked on."""


class DragTab:
    """The picture, its points and its mask."""

    def __init__(self, studio: Studio, edit: EditTab, tabs: gr.Tabs) -> None:
        self.studio, self.edit = studio, edit
        parts.heading(
            "Pull points of the picture",
            "Click a point, then where it should go. Paint a mask to keep the rest of the picture still.",
        )
        with gr.Row(equal_height=False):
            with gr.Column(scale=6, min_width=320):
                self.picture = gr.Image(
                    show_label=False, interactive=False, elem_id="ek-drag-picture", elem_classes="ek-mat", buttons=[]
                )
            with gr.Column(scale=5, min_width=300):
                with gr.Row():
                    self.take = gr.Button("Take the picture of the Edit tab", size="sm", elem_id="ek-drag-take")
                    self.random = gr.Button("Take a face that nobody has", size="sm", elem_id="ek-drag-random")
                self.status = gr.HTML(parts.line("No picture yet."), elem_id="ek-drag-status")
                with gr.Row():
                    # not gr.Number, which shows an empty one as 0, so that the point would be put at 0, 0
                    self.x = gr.Textbox(label=self._axis("x"), elem_id="ek-drag-x", min_width=80, max_length=12)
                    self.y = gr.Textbox(label=self._axis("y"), elem_id="ek-drag-y", min_width=80, max_length=12)
                    self.put = gr.Button("Put point", size="sm", elem_id="ek-drag-put", min_width=90)
                self.steps = gr.Slider(
                    5, 300, value=Drag().steps, step=5, label="Steps at most", elem_id="ek-drag-steps"
                )
                with gr.Row():
                    self.go = gr.Button("Pull", variant="primary", elem_id="ek-drag-go", min_width=80)
                    self.stop = gr.Button("Stop", elem_id="ek-drag-stop", min_width=80)
                    self.undo = gr.Button("Undo", elem_id="ek-drag-undo", min_width=80)
                    self.clear = gr.Button("Clear points", elem_id="ek-drag-clear", min_width=100)
                with gr.Accordion("What may change (mask)", open=False, elem_id="ek-drag-mask-box"):
                    gr.HTML('<p class="ek-about">Paint over what may change; nothing painted: everything may.</p>')
                    self.mask = gr.ImageEditor(
                        show_label=False, type="numpy", image_mode="RGBA", sources=[], transforms=[], layers=False,
                        brush=gr.Brush(colors=["#e8562a"], default_size=60, color_mode="fixed"),
                        elem_id="ek-drag-mask", height=380, canvas_size=(SIDE, SIDE),
                    )  # fmt: skip
                self.keep = gr.Button("Go on with it on the Edit tab", size="sm", elem_id="ek-drag-keep")
        both, shown = [self.picture, self.status], [self.picture, self.status, self.mask, self.x, self.y]
        self.take.click(toasted(self.on_take), None, shown, **parts.QUICK)
        self.random.click(toasted(self.on_random), None, shown, **parts.QUICK)
        self.picture.select(toasted(self.on_click), None, both, **parts.QUICK)
        self.put.click(toasted(self.on_put), [self.x, self.y], both, **parts.QUICK)
        self.clear.click(toasted(self.on_clear), None, both, **parts.QUICK)
        self.go.click(toasted(self.on_go), [self.steps, self.mask], both, **parts.SEARCH)
        self.stop.click(toasted(self.on_stop), None, [self.status], queue=False, **parts.PRIVATE)
        self.undo.click(toasted(self.on_undo), None, both, **parts.QUICK)
        self.keep.click(toasted(self.on_keep), None, [tabs, *edit.laid], **parts.QUICK)

    def on_take(self, request: gr.Request) -> dict[Any, Any]:
        """What is edited, as edited, where it was found."""
        from editkit.edits import apply_edits
        from editkit.page.editing import piece_of, recipe_of

        desk = self.studio.desk(request)
        piece = piece_of(desk)
        edited = apply_edits(piece.latent, recipe_of(self.studio, desk))
        return self._laid(desk, replace(piece, latent=edited))

    def on_random(self, request: gr.Request) -> dict[Any, Any]:
        """The next seed."""
        from editkit.sampling import sample_w

        desk = self.studio.desk(request)
        seed = desk.bag["drag-seed"] = desk.bag.get("drag-seed", 0) + 1
        latent = sample_w(self.studio.G, [seed], truncation_psi=0.7).to("cpu")
        return self._laid(desk, Piece(name=f"seed {seed}", latent=latent, transform=None, picture=torch.zeros(0)))

    def _laid(self, desk: Desk, piece: Piece) -> dict[Any, Any]:
        latent = piece.latent.require("w", "w+").as_w_plus()
        desk.bag["drag"] = {"piece": piece, "latents": [latent], "points": [], "half": None}
        shown = self._shown(desk, "Click a point of the picture, then where it should go.")
        return {
            **shown,
            self.mask: {"background": shown[self.picture], "layers": [], "composite": None},
            self.x: gr.update(label=self._axis("x")),
            self.y: gr.update(label=self._axis("y")),
        }

    def _axis(self, name: str) -> str:
        return f"{name} (0 to {self.studio.G.spec.resolution})"

    def _work(self, desk: Desk) -> dict[str, Any]:
        work = desk.bag.get("drag")
        if work is None:
            raise UsageError("take a picture first: the one of the Edit tab, or a face that nobody has")
        return work

    def _shown(self, desk: Desk, text: str) -> dict[Any, Any]:
        work = self._work(desk)
        image = render(self.studio.painter(work["piece"]), work["latents"][-1]).clamp(-1, 1)
        marks = [*work["points"], *([work["half"]] if work["half"] else [])]
        return {self.picture: pictures.enlarged(desk, image, side=SIDE, marks=marks), self.status: parts.line(text)}

    def on_click(self, request: gr.Request, event: gr.SelectData) -> dict[Any, Any]:
        """A point of the picture was clicked; its pixels are those of the enlarged picture."""
        desk = self.studio.desk(request)
        scale = self.studio.G.spec.resolution / SIDE
        x, y = event.index
        return self._point(desk, (x + 0.5) * scale, (y + 0.5) * scale)

    def on_put(self, request: gr.Request, x: str, y: str) -> dict[Any, Any]:
        """The same by its numbers, in pixels of the generator's picture."""
        try:
            across, down = (float(text.strip().replace(",", ".")) for text in (x, y))
        except ValueError as problem:
            most = self.studio.G.spec.resolution
            raise UsageError(f"type both numbers, 0 to {most}, or click the picture; got {x!r} and {y!r}") from problem
        return self._point(self.studio.desk(request), across, down)

    def _point(self, desk: Desk, x: float, y: float) -> dict[Any, Any]:
        work, most = self._work(desk), self.studio.G.spec.resolution
        if not (0 <= x <= most and 0 <= y <= most):
            raise UsageError(f"points lie within the picture, 0 to {most} both ways, got {x:g}, {y:g}")
        if work["half"] is None:
            work["half"] = (x, y)
            return self._shown(desk, f"From {x:.1f}, {y:.1f}. Now click where it should go.")
        work["points"].append((*work["half"], x, y))
        work["half"] = None
        return self._shown(desk, f"{len(work['points'])} point(s). Pull, or put another.")

    def on_clear(self, request: gr.Request) -> dict[Any, Any]:
        """No points."""
        desk = self.studio.desk(request)
        self._work(desk).update(points=[], half=None)
        return self._shown(desk, "No points.")

    def on_undo(self, request: gr.Request) -> dict[Any, Any]:
        """The picture before the last pull."""
        desk = self.studio.desk(request)
        work = self._work(desk)
        if len(work["latents"]) > 1:
            work["latents"].pop()
        return self._shown(desk, f"{len(work['latents']) - 1} pull(s) are left.")

    def on_go(self, request: gr.Request, steps: float, mask: Any) -> Iterator[dict[Any, Any]]:
        """Pull, showing the way."""
        desk = self.studio.desk(request)
        work = self._work(desk)
        if not work["points"]:
            raise UsageError("put a point and its target first: two clicks on the picture")
        pairs = [((x, y), (to_x, to_y)) for x, y, to_x, to_y in work["points"]]
        cancel, start = desk.start(DRAG), work["latents"][-1]
        allowed, painter = self._mask(mask), self.studio.painter(work["piece"])

        def act(tell: Tell) -> Any:
            def on_step(step: DragStep) -> bool:
                tell(step)
                return not cancel.is_set()

            return drag(painter, start, pairs, mask=allowed, options=Drag(steps=int(steps)), on_step=on_step)

        yield {self.status: parts.bar(0, "The first step")}
        ended = self._shown(desk, "Not begun; the points are where they were.")
        for item in live(act, cancel, self.studio.line):
            if isinstance(item, Waiting):
                yield {self.status: parts.line(item.text, kind="call")}
            elif isinstance(item, News):
                step: DragStep = item.value
                image = render(painter, step.latent).clamp(-1, 1)
                marks = [(*at, *to) for at, (_, to) in zip(step.positions.tolist(), pairs, strict=True)]
                share = (step.index + 1) / step.total
                yield {
                    self.picture: pictures.enlarged(desk, image, side=SIDE, marks=marks),
                    self.status: parts.bar(share, f"Step {step.index + 1}, {step.distance:.1f} px to go"),
                }
            else:
                result = item.value
                work["latents"].append(result.latent)
                work["points"] = []
                arrived = f"{sum(result.reached)} of {len(result.reached)} arrived"
                ended = self._shown(desk, f"{arrived}, {result.steps} step(s): {result.stop.advice}")
        yield ended

    def _mask(self, painted: Any) -> Tensor | None:
        """[R, R] in 0 to 1 of what was painted, None where nothing was."""
        layers = [np.asarray(layer) for layer in (painted or {}).get("layers", []) if layer is not None]
        layers = [layer[..., 3] for layer in layers if layer.ndim == 3 and layer.shape[2] == 4 and layer[..., 3].any()]
        if not layers:
            return None
        from PIL import Image

        resolution = self.studio.G.spec.resolution
        covered = Image.fromarray(layers[0]).resize((resolution, resolution), Image.Resampling.BOX)
        return torch.from_numpy(np.asarray(covered, dtype=np.float32) / 255)

    def on_stop(self, request: gr.Request) -> str:
        """The nearest so far is enough."""
        self.studio.desk(request).stop(DRAG)
        return parts.line("Stopping.")

    def on_keep(self, request: gr.Request) -> dict[Any, Any]:
        """It goes to the Edit tab, with its photo, if it has one."""
        desk = self.studio.desk(request)
        work = self._work(desk)
        latent = work["latents"][-1]
        piece: Piece = work["piece"]
        if piece.face is None or desk.photo is not piece.face.photo:
            desk.photo, desk.faces = None, []
        before = piece.picture if piece.unpulled is None else piece.unpulled
        shown = render(self.studio.painter(piece), latent, transform=piece.transform).clamp(-1, 1)
        pulled = replace(piece, latent=latent, picture=shown, unpulled=before, told="pulled into shape")
        return {self.edit.tabs: gr.Tabs(selected="edit"), **self.edit.show_piece(desk, pulled)}

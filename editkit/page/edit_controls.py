"""The controls of the Edit tab: sliders of the directions by group, placement, rows, undo.

How many sliders there are is settled when the page is built; which directions they stand for follows the generator, so
that another one, a recipe or a direction made here needs no new page.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from editkit.page.desk import Desk
from editkit.page.grouping import FACE, GROUPS, LIGHT, SPARE, Slider, grouped
from editkit.page.settings import MOVES, ZOOMS, Settings
from editkit.page.studio import Studio

PLACED_BY_RECIPE = (
    '<p class="ek-about">Placed by the recipe, in a way that these sliders cannot show; they go on from there. '
    "Reset all takes it away.</p>"
)


class Controls:
    """``inputs`` are what the settings are read from, ``outputs`` everything that ``shown`` updates."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        there = grouped(studio.directions.values())
        with gr.Row(elem_id="ek-history"):
            self.undo = gr.Button("Undo", size="sm", interactive=False, elem_id="ek-undo", min_width=70)
            self.redo = gr.Button("Redo", size="sm", interactive=False, elem_id="ek-redo", min_width=70)
            self.reset = gr.Button("Reset all", size="sm", elem_id="ek-reset", min_width=90)
        self.groups: dict[str, gr.Accordion] = {}
        self.sliders: dict[str, list[gr.Slider]] = {}
        for group in GROUPS:
            have = there[group]
            with gr.Accordion(group, open=group in (FACE, LIGHT), visible=bool(have), elem_classes="ek-group") as box:
                self.sliders[group] = [
                    gr.Slider(**_props(have[index] if index < len(have) else None), elem_classes="ek-slider")
                    for index in range(max(SPARE, len(have)))
                ]
            self.groups[group] = box
        with gr.Accordion("Placement", open=False, elem_id="ek-placement", elem_classes="ek-group"):
            gr.HTML(
                '<p class="ek-about">The generator draws the face anew where you put it, detail and all. '
                "In the whole photo, a face that is moved goes back whole.</p>"
            )
            self.under = gr.HTML(PLACED_BY_RECIPE, visible=False, elem_id="ek-placed")
            self.x = gr.Slider(*MOVES, value=0, step=0.01, label="Move right", elem_id="ek-x")
            self.y = gr.Slider(*MOVES, value=0, step=0.01, label="Move down", elem_id="ek-y")
            self.turn = gr.Slider(-180, 180, value=0, step=1, label="Turn (degrees)", elem_id="ek-turn")
            self.zoom = gr.Slider(*ZOOMS, value=1, step=0.01, label="Zoom", elem_id="ek-zoom")
        last = studio.G.spec.num_ws - 1
        with gr.Accordion("Layers, for experts", open=False, elem_id="ek-layers", elem_classes="ek-group"):
            gr.HTML(
                '<p class="ek-about">Early rows of the latent are coarse (pose, shape), late ones fine (colour).</p>'
            )
            self.first_row = gr.Slider(0, last, value=0, step=1, label="From row", elem_id="ek-row-first")
            self.last_row = gr.Slider(0, last, value=last, step=1, label="To row", elem_id="ek-row-last")
        self.flat = [slider for group in GROUPS for slider in self.sliders[group]]
        self.inputs = [*self.flat, self.x, self.y, self.turn, self.zoom, self.first_row, self.last_row]
        self.marks = [self.undo, self.redo]
        self.outputs = [*self.inputs, *self.marks, self.under, *self.groups.values()]

    def _grouped(self, desk: Desk | None) -> dict[str, list[Slider]]:
        if desk is None:
            return grouped(self.studio.directions.values())
        photo = desk.piece is not None and desk.piece.of_photo
        return grouped(self.studio.directions_of(desk).values(), photo=photo, at=desk.history.now.strengths)

    def assigned(self, desk: Desk | None) -> list[Slider | None]:
        """What each of ``flat`` stands for; None: it is hidden."""
        there = self._grouped(desk)
        return [
            there[group][index] if index < len(there[group]) else None
            for group in GROUPS
            for index in range(len(self.sliders[group]))
        ]

    def moved(self, desk: Desk, control: Any, value: float) -> Settings:
        """The current settings with what one of ``inputs`` says now."""
        now, last = desk.history.now, self.studio.G.spec.num_ws - 1
        first_row, last_row = now.rows or (0, last)
        if control in (self.first_row, self.last_row):
            one, other = int(value), last_row if control is self.first_row else first_row
            rows = (min(one, other), max(one, other))
            return replace(now, rows=None if rows == (0, last) else rows)
        for name in ("x", "y", "turn", "zoom"):
            if control is getattr(self, name):
                placed: dict[str, Any] = {name: float(value)}
                return replace(now, **placed)
        slider = self.assigned(desk)[self.flat.index(control)]
        if slider is None:
            return now
        strengths = {name: strength for name, strength in now.strengths.items() if name != slider.name}
        return replace(now, strengths={**strengths, slider.name: float(value)} if value else strengths)

    def shown(self, desk: Desk) -> dict[Any, Any]:
        """Updates that make the controls say what the desk's settings are."""
        now, last = desk.history.now, self.studio.G.spec.num_ws - 1
        assigned = self.assigned(desk)
        there = self._grouped(desk)
        first_row, last_row = now.rows or (0, last)
        return {
            **{
                slider: gr.update(**_props(one, now.strengths.get(one.name, 0.0) if one else 0.0))
                for slider, one in zip(self.flat, assigned, strict=True)
            },
            self.x: now.x,
            self.y: now.y,
            self.turn: now.turn,
            self.zoom: now.zoom,
            self.under: gr.update(visible=now.under is not None),
            self.first_row: gr.update(value=first_row, maximum=last),
            self.last_row: gr.update(value=last_row, maximum=last),
            **dict(zip(self.marks, self.mark_updates(desk), strict=True)),
            **{box: gr.update(visible=bool(there[group])) for group, box in self.groups.items()},
        }

    def mark_updates(self, desk: Desk) -> list[Any]:
        """Whether undo and redo can be pressed."""
        return [gr.update(interactive=desk.history.can_undo), gr.update(interactive=desk.history.can_redo)]


def _props(slider: Slider | None, value: float = 0.0) -> dict[str, Any]:
    if slider is None:
        return {"minimum": -1, "maximum": 1, "value": 0, "step": 0.1, "label": "–", "visible": False}
    return {
        "minimum": slider.low, "maximum": slider.high, "value": value, "step": slider.step, "label": slider.title,
        "info": slider.about or None, "visible": True,
    }  # fmt: skip

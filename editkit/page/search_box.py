"""How a photo is searched, for experts: the method and what it takes, in a box that stays shut for everybody else."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import gradio as gr

from editkit.page import classes, methods, parts
from editkit.page.finding import CROP_AUTO, CROP_CENTRE, Search
from editkit.page.studio import Studio

ALL_CLASSES = "All of them together"
EXTRAS = tuple(field.name for field in fields(methods.Extras))
"""Each has a control of its name."""
LONGEST = 600
"""Seconds of one search: others wait for it."""


class SearchBox:
    """The controls of a search. ``inputs`` go to a handler, which has ``search_of`` read them."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        with gr.Accordion("The search, for experts", open=False, elem_id="ek-search-box"):
            self.method = gr.Dropdown(methods.titles(), value=methods.AUTO, label="Method", elem_id="ek-method")
            self.steps = gr.Slider(
                5, 1000, value=studio.options.steps, step=5, label="Steps",
                info="More come closer, but take longer", elem_id="ek-steps",
            )  # fmt: skip
            shown = methods.taken(methods.AUTO, studio.G)
            self.budget = gr.Number(
                0, label="Seconds", precision=0, minimum=0, maximum=LONGEST, info="0: as many steps as set above",
                elem_id="ek-budget",
            )  # fmt: skip
            self.classes = classes.chooser(studio, ALL_CLASSES, elem_id="ek-class")
            self.crop = gr.Radio([CROP_AUTO, CROP_CENTRE], value=CROP_AUTO, label="Crop", elem_id="ek-crop")
            self.placement = gr.Checkbox(
                False, label="Seek where it lies in the crop", elem_id="ek-placement",
                info="Shift, angle and size, for what is not upright; takes a quarter of a minute more",
                visible="placement" in shown,
            )  # fmt: skip
            self.noise_maps = gr.Checkbox(
                False, label="Fit the noise maps", info="Skin and hair, in a StyleGAN2", elem_id="ek-noise-maps",
                visible="noise_maps" in shown,
            )  # fmt: skip
            self.locality = gr.Checkbox(
                False, label="Tune for this photo alone", elem_id="ek-locality", visible="locality" in shown,
                info="Other pictures of the tuned generator stay as they are; slower",
            )  # fmt: skip
            self.seed = gr.Number(0, label="Seed", precision=0, minimum=0, elem_id="ek-seed")
            self.again = gr.Button("Search again", size="sm", elem_id="ek-search")
        self.extras = [getattr(self, name) for name in EXTRAS]
        self.inputs = [self.method, self.steps, self.seed, self.crop, self.classes, *self.extras]
        self.method.change(self._taken, [self.method], self.extras, queue=False, **parts.PRIVATE)

    def _taken(self, method: str) -> list[Any]:
        taken = methods.taken(method, self.studio.G)
        return [gr.update(visible=name in taken) for name in EXTRAS]

    def follows(self) -> dict[Any, Any]:
        """Updates for when another generator draws: its classes, and the first method with what it takes there."""
        shown = dict(zip(self.extras, self._taken(methods.AUTO), strict=True))
        return {self.classes: classes.update(self.studio, ALL_CLASSES), self.method: methods.AUTO, **shown}


def search_of(method: str, steps: float, seed: float | None, crop: str, kind: str | None, *extras: Any) -> Search:
    """What ``SearchBox.inputs`` say."""
    told = dict(zip(EXTRAS, extras, strict=True))
    return Search(
        method=method, steps=int(steps), seed=int(seed or 0), crop=crop, classes=classes.chosen(kind),
        extras=methods.Extras(**told | {"budget": told["budget"] or None}),
    )  # fmt: skip

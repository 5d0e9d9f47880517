"""The Explore tab: what the generator makes of seeds, what directions do, and a direction of one's own taste."""

from __future__ import annotations

import re
from html import escape
from typing import Any

import gradio as gr

from directions.boundary import LEAST
from directions.measurement import EFFECT, HIGH, LOW
from directions.preference import from_examples, judged, told
from directions.strips import strip
from editkit.direction import Direction
from editkit.edit_options import first_of
from editkit.errors import UsageError
from editkit.latent import concatenate
from editkit.page import classes, own, parts, pictures
from editkit.page.desk import Desk, Piece
from editkit.page.edit_tab import EditTab
from editkit.page.studio import Studio
from editkit.page.toasts import toasted
from editkit.rendering import render
from editkit.sampling import sample_w

COUNT = 24
DRAWN_CLASS = "Drawn for each number"
EDIT, LIKE, DISLIKE, SHELVE = "Edit it", "Like it", "Dislike it", "Put it on the shelf"


class ExploreTab:
    """Seeds, likes and strips."""

    def __init__(self, studio: Studio, edit: EditTab, tabs: gr.Tabs) -> None:
        self.studio, self.edit = studio, edit
        parts.heading("Faces that nobody has", "Every number makes one. Choose what a click does, then click.")
        with gr.Row(elem_id="ek-explore-bar", equal_height=False):
            self.first = gr.Number(0, label="First seed", precision=0, minimum=0, elem_id="ek-first", min_width=110)
            self.psi = gr.Slider(
                0.0, 1.2, value=0.7, step=0.05, label="Truncation", elem_id="ek-psi",
                info="Lower is more ordinary, higher more varied",
            )  # fmt: skip
            self.classes = classes.chooser(studio, DRAWN_CLASS, elem_id="ek-explore-class", min_width=140)
            self.more = gr.Button("More faces", elem_id="ek-more", min_width=120)
        self.click = gr.Radio([EDIT, LIKE, DISLIKE, SHELVE], value=EDIT, label="A click", elem_id="ek-click")
        self.grid = gr.Gallery(
            show_label=False, columns=8, height="auto", allow_preview=False, elem_id="ek-grid", buttons=[],
            object_fit="cover",
        )  # fmt: skip
        with gr.Row(equal_height=False):
            with gr.Column(min_width=320):
                parts.heading(
                    "A direction of your taste",
                    f"From what you like, away from what you dislike. With {LEAST} of each it is fitted and tested.",
                )
                self.taste = gr.HTML(_taste([], []), elem_id="ek-taste")
                with gr.Row():
                    self.name = gr.Textbox(
                        "mine", label="Its name", max_length=40, elem_id="ek-taste-name", min_width=120
                    )
                    self.make = gr.Button("Make it", variant="primary", elem_id="ek-taste-make", min_width=100)
                    self.clear = gr.Button("Start over", elem_id="ek-taste-clear", min_width=100)
            with gr.Column(min_width=320):
                parts.heading(
                    "What a direction does", "A row a face, a column a strength; beside it what was measured."
                )
                self.which = gr.Dropdown(
                    sorted(studio.directions), value=first_of(studio.directions), label="Direction", elem_id="ek-which"
                )
                self.strip = gr.Image(show_label=False, interactive=False, elem_id="ek-strip", buttons=["fullscreen"])
                self.scores = gr.HTML(elem_id="ek-scores")
                self.forget = gr.Button("Delete this direction", size="sm", visible=False, elem_id="ek-forget")
        self._wire(tabs)

    def _wire(self, tabs: gr.Tabs) -> None:
        drawn = self.drawn = [self.first, self.psi, self.classes]
        self.told = [self.strip, self.scores, self.forget]
        made = [self.which, self.taste, *self.edit.controls.outputs]
        self.more.click(toasted(self.on_more), drawn, [self.first, self.grid], **parts.QUICK)
        self.psi.release(toasted(self.on_draw), drawn, [self.grid], **parts.QUICK)
        self.classes.input(toasted(self.on_draw), drawn, [self.grid], **parts.QUICK)
        self.first.submit(toasted(self.on_draw), drawn, [self.grid], **parts.QUICK)
        self.grid.select(  # every click counts: sixteen thumbs are given faster than they are answered
            toasted(self.on_click), [self.click, *drawn], [self.taste, tabs, *self.edit.laid],
            trigger_mode="multiple", **parts.QUICK,
        )  # fmt: skip
        self.make.click(toasted(self.on_make), [self.name], made, **parts.QUICK)
        self.forget.click(toasted(self.on_forget), [self.which], made, **parts.QUICK)
        self.clear.click(toasted(self.on_clear), None, [self.taste], **parts.QUICK)
        self.which.change(toasted(self.on_which), [self.which], self.told, **parts.QUICK)

    def seeds(self, first: float | None) -> list[int]:
        """The numbers of the grid."""
        start = int(first or 0)
        if not 0 <= start <= 2**31 - COUNT:
            raise UsageError(f"seeds are 0 to {2**31 - COUNT}, got {start}")
        return list(range(start, start + COUNT))

    def on_draw(self, request: gr.Request, first: float | None, psi: float, kind: str | None) -> Any:
        """The grid of these seeds."""
        desk, seeds = self.studio.desk(request), self.seeds(first)
        latents = sample_w(self.studio.G, seeds, truncation_psi=psi, classes=self._class(kind))
        shown = render(self.studio.G, latents).clamp(-1, 1)
        made = [(pictures.show(desk, image), str(seed)) for seed, image in zip(seeds, shown, strict=True)]
        return gr.update(value=made, selected_index=None)

    def on_more(self, request: gr.Request, first: float | None, psi: float, kind: str | None) -> tuple[int, Any]:
        """The next ones."""
        start = self.seeds(first)[-1] + 1
        return start, self.on_draw(request, start, psi, kind)

    def on_click(
        self, request: gr.Request, event: gr.SelectData, click: str, first: float | None, psi: float, kind: str | None
    ) -> dict[Any, Any]:
        """A face was clicked."""
        desk, seed = self.studio.desk(request), self.seeds(first)[int(event.index)]
        piece = self.piece(seed, psi, self._class(kind))
        liked, disliked = _lists(desk)
        if click == EDIT:
            desk.photo, desk.faces = None, []
            return {self.edit.tabs: gr.Tabs(selected="edit"), **self.edit.show_piece(desk, piece)}
        if click == SHELVE:
            gr.Info(f"“{desk.shelve(piece)}” is on the shelf; Mix and walk has it.", duration=4)
        else:
            chosen, other = (liked, disliked) if click == LIKE else (disliked, liked)
            other[:] = [one for one in other if one.name != piece.name]
            if piece.name not in [one.name for one in chosen]:
                chosen.append(piece)
        return {self.taste: _taste(*_shown(desk, liked, disliked))}

    def _class(self, kind: str | None) -> int | None:
        """The class that was chosen; None also where the generator has been changed meanwhile for one without."""
        index = classes.chosen(kind)
        return index if index is not None and index < self.studio.G.spec.c_dim else None

    def piece(self, seed: int, psi: float, kind: int | None = None) -> Piece:
        """A seed as a piece."""
        latent = sample_w(self.studio.G, [seed], truncation_psi=psi, classes=kind).to("cpu")
        shown = render(self.studio.G, latent).clamp(-1, 1)
        return Piece(name=f"seed {seed}", latent=latent, transform=None, picture=shown, told="a face that nobody has")

    def on_make(self, request: gr.Request, name: str) -> dict[Any, Any]:
        """A direction of what is liked."""
        desk = self.studio.desk(request)
        liked, disliked = _lists(desk)
        if not liked:
            raise UsageError("nothing is liked yet: choose “Like it” above, then click some faces")
        key = re.sub(r"[^A-Za-z0-9_+.-]+", "_", name.strip()).strip("_.-+") or "mine"
        own.check_name(self.studio, desk, key[:60])
        away = concatenate(one.latent for one in disliked) if disliked else None
        made = from_examples(self.studio.G, key[:60], concatenate(one.latent for one in liked), away)
        if (found := judged(self.studio.G, made)) is not None:
            made = found.applied(made)
        stays = "and kept for next time" if own.add(self.studio, desk, made) else "until this page is closed"
        gr.Info(f"“{made.name}” is among the sliders of the Edit tab, under Yours, {stays}.", duration=6)
        said = _taste(*_shown(desk, liked, disliked), told(made, found))
        return {self.which: self._names(desk, made.name), self.taste: said, **self.edit.controls.shown(desk)}

    def on_forget(self, request: gr.Request, name: str | None) -> dict[Any, Any]:
        """A direction of one's own is deleted."""
        desk = self.studio.desk(request)
        own.remove(self.studio, desk, name or "")
        gr.Info(f"“{name}” is deleted.", duration=4)
        return {self.which: self._names(desk), **self.edit.controls.shown(desk)}

    def _names(self, desk: Desk, chosen: str | None = None) -> Any:
        known = self.studio.directions_of(desk)
        return gr.update(choices=sorted(known), value=chosen or first_of(known))

    def follows(self, desk: Desk) -> dict[Any, Any]:
        """Updates of what depends on the generator, for when another one draws."""
        return {self.which: self._names(desk), self.classes: classes.update(self.studio, DRAWN_CLASS)}

    def on_clear(self, request: gr.Request) -> str:
        """Forget what was liked."""
        for one in _lists(self.studio.desk(request)):
            one.clear()
        return _taste([], [])

    def on_which(self, request: gr.Request, name: str | None) -> tuple[Any, str, Any]:
        """The strip of a direction, and its scores."""
        desk = self.studio.desk(request)
        direction = self.studio.directions_of(desk).get(name or "")
        if direction is None:
            return None, "", gr.update(visible=False)
        latents = sample_w(self.studio.G, range(3), truncation_psi=0.7)
        image = strip(self.studio.G, direction, latents, steps=7).clamp(-1, 1)
        mine = gr.update(visible=own.is_own(direction))
        hides = own.hides(self.studio, direction)
        return pictures.show(desk, image, f"strip-{direction.name}"), scores_table(direction, hides), mine


def scores_table(direction: Direction, hides: str = "") -> str:
    """What was measured of a direction: effects as bars, then the rest; first that it ``hides`` a bundled one."""
    low, high = direction.strength
    rows = [
        ("of yours", hides),
        ("range", f"{low:+g} to {high:+g}"),
        ("unit", direction.unit),
        ("found by", direction.method),
    ]
    rows += [("judged by", direction.target)]
    measured = (EFFECT, LOW, HIGH)
    rows += [(name, f"{value:.2f}") for name, value in direction.scores.items() if not name.startswith(measured)]
    effects = {name.removeprefix(EFFECT): v for name, v in direction.scores.items() if name.startswith(EFFECT)}
    largest = max((abs(value) for value in effects.values()), default=1.0) or 1.0
    bars = "".join(
        f'<tr><td>{escape(name)}</td><td><span class="ek-meter" style="width:{abs(value) / largest * 90:.0f}px">'
        f"</span> {value:+.2f}</td></tr>"
        for name, value in sorted(effects.items(), key=lambda item: -abs(item[1]))
    )
    plain = "".join(f"<tr><td>{escape(key)}</td><td>{escape(value)}</td></tr>" for key, value in rows if value)
    head = '<tr><th colspan="2">effect in standard deviations a unit, in the half of the range that counts</th></tr>'
    table = head + bars if bars else ""
    return f'<div class="ek-wide"><table class="ek-scores">{plain}{table}</table></div>'


def _lists(desk: Desk) -> tuple[list[Piece], list[Piece]]:
    return desk.bag.setdefault("liked", []), desk.bag.setdefault("disliked", [])


def _shown(desk: Desk, liked: list[Piece], disliked: list[Piece]) -> tuple[list[str], list[str]]:
    return [one.name for one in liked], [one.name for one in disliked]


def _taste(liked: list[str], disliked: list[str], said: str = "") -> str:
    def row(mark: str, names: list[str]) -> str:
        shown = ", ".join(escape(name) for name in names) or "none yet"
        return f'<p class="ek-note"><b>{mark}</b> {shown}</p>'

    made = f'<p class="ek-note">{escape(said)}</p>' if said else ""
    return row("Liked:", liked) + row("Disliked:", disliked) + made

"""The Models tab: which generator draws, what its card says, and which others there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html import escape
from typing import Any

import gradio as gr

from editkit.checkpoints import catalogue
from editkit.errors import UsageError
from editkit.generator import MODELS, bundled_generators
from editkit.page import parts, turns
from editkit.page.desk import Desk
from editkit.page.edit_tab import EditTab
from editkit.page.studio import Studio
from editkit.page.toasts import toasted

LOAD = "load"
"""The long work of this tab, see ``Desk.start``."""


class ModelsTab:
    """A choice of models, a file, the card, the catalogue."""

    def __init__(self, studio: Studio, edit: EditTab, head: gr.HTML) -> None:
        self.studio, self.edit, self.head = studio, edit, head
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                parts.heading("The model that draws", _who(studio))
                self.which = gr.Dropdown(
                    choices(), value=studio.G.spec.name if studio.source is None else None, label="At hand",
                    elem_id="ek-model", interactive=studio.options.alone,
                )  # fmt: skip
                self.file = gr.File(
                    label="A file: .safetensors or official .pkl",
                    file_types=[".safetensors", ".pkl"], height=160, elem_id="ek-model-file",
                    visible=studio.options.alone,
                )  # fmt: skip
                self.facts = gr.HTML(facts(studio), elem_id="ek-model-facts")
            with gr.Column(scale=3, min_width=320):
                with gr.Tabs():
                    with gr.Tab("Its card"):
                        self.card = gr.Markdown(card(studio), elem_id="ek-card", container=False)
                    with gr.Tab("Published networks"):
                        self.catalogue = gr.HTML(catalogue_table(), elem_id="ek-catalogue")

    def wire(self, follow: Callable[[Desk], dict[Any, Any]], followed: list[Any]) -> None:
        """Connect the choice with ``followed``, what the other tabs show of the model; ``follow`` updates it."""
        self.follow, edit = follow, self.edit
        edited = [edit.start, edit.bench, edit.drop, edit.recent, *edit.controls.outputs, *followed]
        outputs = [self.facts, self.card, self.head, *edited]
        self.which.input(toasted(self.on_choice), [self.which], [self.file, *outputs], **parts.SEARCH)
        self.file.upload(toasted(self.on_file), [self.file], [self.file, *outputs], **parts.SEARCH)

    def on_choice(self, request: gr.Request, name: str) -> Iterator[dict[Any, Any]]:
        """A model that is at hand."""
        if name not in choices():  # the page offers names only; a path of this server is none
            raise UsageError(f"there is no model {name!r} at hand")
        if name == self.studio.G.spec.name and self.studio.source in (name, None):  # it draws already
            yield {self.facts: facts(self.studio)}
            return
        yield from self._loaded(request, name)

    def on_file(self, request: gr.Request, path: str) -> Iterator[dict[Any, Any]]:
        """A file that was dropped: read by the safe importer."""
        yield from self._loaded(request, path)

    def _loaded(self, request: gr.Request, source: str) -> Iterator[dict[Any, Any]]:
        """In its turn, so that no search loses its generator."""
        cancel = self.studio.desk(request).start(LOAD)
        with self.studio.line.place() as place:
            for before in place.ahead(cancel):
                yield {self.facts: parts.line(turns.said(before), kind="call")}
            if cancel.is_set():  # another one was chosen meanwhile, or the page was closed
                return
            try:
                self.studio.load(source)
            except Exception:
                yield {self.file: None, self.facts: facts(self.studio)}
                raise
            changed = self._changed(request)
        yield {self.file: None, **changed}

    def _changed(self, request: gr.Request) -> dict[Any, Any]:
        from editkit.page.layout import header

        desk = self.studio.desk(request)
        desk.stop()
        desk.start()
        desk.photo, desk.piece, desk.faces = None, None, []
        desk.shelf.clear()
        gr.Info(f"{self.studio.G.spec.name} draws now. Drop a photo again: latents belong to their model.", duration=6)
        return {
            self.facts: facts(self.studio),
            self.card: card(self.studio),
            self.head: header(self.studio),
            self.edit.start: gr.update(visible=True),
            self.edit.bench: gr.update(visible=False),
            self.edit.drop: None,
            self.edit.recent: self.edit.recent_update(desk),
            **self.follow(desk),
        }


def choices() -> list[str]:
    """Names of the models that can be chosen without a download."""
    return sorted(bundled_generators()) + [network.name for network in catalogue.published() if network.at_hand]


def card(studio: Studio) -> str:
    """The card that lies beside a bundled model, or what is known of another."""
    spec = studio.G.spec
    path = MODELS / f"{spec.name}.md"
    if path.is_file() and (studio.source is None or studio.source in choices()):
        return path.read_text(encoding="utf-8")
    network = catalogue.find(spec.name)
    if network is not None:
        return (
            f"# {network.name}\n\n{network.domain}. Paper: {network.paper}. Licence: {network.licence or 'not stated'}."
        )
    return f"# {spec.name}\n\nA file of yours; it comes without a card. Licence: {spec.licence or 'not stated'}."


def facts(studio: Studio) -> str:
    """What is known of the model, as a table."""
    spec = studio.G.spec
    rows = {
        "name": spec.name,
        "kind": spec.kind,
        "picture": f"{spec.resolution} × {spec.resolution} pixels",
        "shows": spec.domain or "not stated",
        "crop": spec.alignment,
        "rows of W+": str(spec.num_ws),
        "directions": str(len(studio.directions)),
        "licence": spec.licence or "not stated",
        "id": spec.id[:16],
    }
    body = "".join(f"<tr><td>{escape(key)}</td><td>{escape(value)}</td></tr>" for key, value in rows.items())
    return f'<table class="ek-table">{body}</table>'


def catalogue_table() -> str:
    """The published networks, which of them are here, and how one gets another."""
    body = "".join(
        f"<tr><td>{escape(network.name)}{' · here' if network.at_hand else ''}</td>"
        f"<td>{network.resolution}&nbsp;px</td><td>{escape(network.domain)}</td>"
        f"<td>{escape(network.licence or 'not stated')}</td></tr>"
        for network in catalogue.published()
    )
    about = (
        "Nothing is downloaded from here. <code>editkit models download NAME</code> fetches one from its authors, "
        "under their terms; then it is at hand."
    )
    head = "<tr><th>Name</th><th>Size</th><th>Shows</th><th>Licence</th></tr>"
    return f'<p class="ek-about">{about}</p><div class="ek-wide"><table class="ek-table">{head}{body}</table></div>'


def _who(studio: Studio) -> str:
    if studio.options.alone:
        return "One is in memory at a time, for every window."
    return "Visitors share one; editkit app --generator chooses it."

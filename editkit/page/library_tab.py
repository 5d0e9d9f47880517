"""The Library tab: what was found before opens at once, and is deleted for good."""

from __future__ import annotations

from typing import Any

import gradio as gr

from editkit.errors import UsageError
from editkit.page import parts, pictures
from editkit.page.desk import Desk
from editkit.page.edit_tab import EditTab
from editkit.page.library import STOPPED, Kept, Library
from editkit.page.studio import Studio
from editkit.page.toasts import toasted

MOST = 60


class LibraryTab:
    """Pictures of the entries; a click chooses one."""

    def __init__(self, studio: Studio, edit: EditTab, tabs: gr.Tabs) -> None:
        self.studio, self.edit = studio, edit
        parts.heading("Found before", "Photos and what was found of them lie in your user folder, on this machine.")
        with gr.Row(equal_height=True):
            self.search = gr.Textbox(
                show_label=False, placeholder="Search by name", elem_id="ek-library-search", max_length=80, scale=3,
                container=False,
            )  # fmt: skip
            self.refresh = gr.Button("Look again", size="sm", elem_id="ek-library-refresh", scale=0, min_width=120)
        self.grid = gr.Gallery(
            show_label=False, columns=6, height="auto", allow_preview=False, elem_id="ek-library", buttons=[],
            object_fit="cover",
        )  # fmt: skip
        self.chosen = gr.HTML(elem_id="ek-library-chosen")
        with gr.Row():
            self.open = gr.Button("Open it", variant="primary", elem_id="ek-library-open", interactive=False)
            self.shelve = gr.Button("Put it on the shelf", elem_id="ek-library-shelve", interactive=False)
            self.delete = gr.Button(
                "Delete it for good", variant="stop", elem_id="ek-library-delete", interactive=False
            )
        self.outputs = [self.grid, self.chosen, self.open, self.shelve, self.delete]
        self.search.change(
            toasted(self.on_search), [self.search], self.outputs, **parts.QUICK, trigger_mode="always_last"
        )
        self.refresh.click(toasted(self.on_search), [self.search], self.outputs, **parts.QUICK)
        self.grid.select(toasted(self.on_pick), None, self.outputs[1:], **parts.QUICK)
        self.open.click(toasted(self.on_open), None, [tabs, *edit.laid], **parts.QUICK)
        self.shelve.click(toasted(self.on_shelve), None, None, **parts.QUICK)
        self.delete.click(toasted(self.on_delete), [self.search], self.outputs, **parts.QUICK)

    def _library(self, desk: Desk) -> Library:
        library = self.studio.library(desk)
        if library is None:
            raise UsageError(
                "nothing is kept here: the page was started with --share, --no-library, or without sign-in"
            )
        return library

    def listed(self, desk: Desk, search: str) -> dict[Any, Any]:
        """The entries whose name holds the words, the latest first."""
        entries = self._library(desk).entries(search=search, generator=self.studio.G.spec.id)[:MOST]
        desk.bag["listed"], desk.bag["picked"] = entries, None
        shown = [(pictures.copied(desk, one.thumbnail), one.title) for one in entries]
        text = (
            ""
            if entries
            else "Nothing here yet. What is found on the Edit tab is kept by itself, stopped searches too."
        )
        off = gr.update(interactive=False)
        return {
            self.grid: gr.update(value=shown, selected_index=None),
            self.chosen: parts.line(text if not search or entries else "Nothing has that name."),
            self.open: off,
            self.shelve: off,
            self.delete: off,
        }

    def on_search(self, request: gr.Request, search: str) -> dict[Any, Any]:
        """Look for a name."""
        return self.listed(self.studio.desk(request), search)

    def on_pick(self, request: gr.Request, event: gr.SelectData) -> dict[Any, Any]:
        """One was clicked."""
        desk = self.studio.desk(request)
        kept: Kept = parts.clicked(desk.bag.get("listed"), event.index)
        desk.bag["picked"] = kept
        near = "" if kept.psnr is None else f", {kept.psnr:.1f} dB"
        near += f", {STOPPED}: dropping the photo again searches anew" if kept.stopped else ""
        on = gr.update(interactive=True)
        return {
            self.chosen: parts.line(f"{kept.name}, {kept.when[:16].replace('T', ' ')} UTC{near}", kind="call"),
            self.open: on,
            self.shelve: on,
            self.delete: on,
        }

    def _picked(self, desk: Desk) -> Kept:
        kept = desk.bag.get("picked")
        if kept is None:
            raise UsageError("choose a picture first")
        return kept

    def on_open(self, request: gr.Request) -> dict[Any, Any]:
        """It goes to the Edit tab."""
        desk = self.studio.desk(request)
        return {self.edit.tabs: gr.Tabs(selected="edit"), **self.edit.open_kept(desk, self._picked(desk))}

    def on_shelve(self, request: gr.Request) -> None:
        """It goes to the shelf."""
        desk = self.studio.desk(request)
        name = desk.shelve(self._library(desk).open(self._picked(desk)))
        gr.Info(f"“{name}” is on the shelf; Mix and walk has it.", duration=4)

    def on_delete(self, request: gr.Request, search: str) -> dict[Any, Any]:
        """Files and row are removed."""
        desk = self.studio.desk(request)
        kept = self._picked(desk)
        self._library(desk).delete(kept.key)
        gr.Info(f"“{kept.name}” is deleted: photo, latent and pictures.", duration=4)
        return self.listed(desk, search)

"""The page as a whole: head, tabs, foot."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from editkit import __version__
from editkit.page import api, parts
from editkit.page.batch_tab import BatchTab
from editkit.page.desk import Desk
from editkit.page.drag_tab import DragTab
from editkit.page.edit_tab import EditTab, example_files
from editkit.page.explore_tab import ExploreTab
from editkit.page.library_tab import LibraryTab
from editkit.page.mix_tab import MixTab
from editkit.page.models_tab import ModelsTab
from editkit.page.studio import Studio
from editkit.page.toasts import toasted

CLEAN_EVERY, CLEAN_OLDER = 600, 7200
"""Seconds: how often files that the browser was given are looked at, and from what age on they are removed."""


def build(studio: Studio) -> gr.Blocks:
    """The page over ``studio``; ``serve`` serves it."""
    with gr.Blocks(title="editkit", analytics_enabled=False, delete_cache=(CLEAN_EVERY, CLEAN_OLDER)) as page:
        head = gr.HTML(header(studio), elem_id="ek-head")
        with gr.Tabs(elem_id="ek-tabs") as tabs:
            with gr.Tab("Edit", id="edit"):
                edit = EditTab(studio, example_files(studio), tabs)
            with gr.Tab("Mix and walk", id="mix") as mix_place:
                mix = MixTab(studio, edit, tabs)
            with gr.Tab("Explore", id="explore") as explore_place:
                explore = ExploreTab(studio, edit, tabs)
            with gr.Tab("Batch", id="batch"):
                batch = BatchTab(studio)
            with gr.Tab("Drag", id="drag"):
                DragTab(studio, edit, tabs)
            with gr.Tab("Library", id="library", visible=studio.options.keeps) as library_place:
                library = LibraryTab(studio, edit, tabs)
            with gr.Tab("Models", id="models"):
                models = ModelsTab(studio, edit, head)
        gr.HTML(_foot(studio), elem_id="ek-foot")
        api.offer(studio)
        followers: list[Any] = [edit, mix, explore, batch]
        followed = [*edit.search.follows(), explore.which, explore.classes, batch.which,
                    batch.strength, batch.classes, mix.row_first, mix.row_last]  # fmt: skip

        def follow(desk: Desk) -> dict[Any, Any]:
            """What depends on the generator says what draws now."""
            return {part: update for tab in followers for part, update in tab.follows(desk).items()}

        models.wire(follow, followed)

        def arrive(request: gr.Request) -> dict[Any, Any]:
            desk = studio.desk(request)
            return {head: header(studio), edit.recent: edit.recent_update(desk), **follow(desk)}

        def leave(request: gr.Request) -> None:
            studio.desks.leave(str(request.session_hash))

        def to_shelf(request: gr.Request) -> dict[Any, Any]:
            return mix.shelf_updates(studio.desk(request))

        page.load(toasted(arrive), None, [head, edit.recent, *edit.controls.outputs, *followed], **parts.QUICK)
        page.unload(leave)
        mix_place.select(toasted(to_shelf), None, mix.shown, **parts.QUICK)
        explore_place.select(toasted(explore.on_draw), explore.drawn, [explore.grid], **parts.QUICK)
        explore_place.select(toasted(explore.on_which), [explore.which], explore.told, **parts.QUICK)
        library_place.select(toasted(library.on_search), [library.search], library.outputs, **parts.QUICK)
    return page


def header(studio: Studio) -> str:
    """The head of the page: whose it is, and which model draws."""
    facts = studio.facts()
    return (
        '<header class="ek-header"><span class="ek-mark" aria-hidden="true"></span><span class="ek-name">editkit</span>'
        f'<span class="ek-model" title="the generator that draws">{escape(str(facts["name"]))} · '
        f"{facts['resolution']} px</span></header>"
    )


def _foot(studio: Studio) -> str:
    kept = "What is found is kept in your library." if studio.options.keeps else "Nothing is kept here."
    where = (
        "Everything happens on this machine." if studio.options.alone else "Photos are worked on where this page runs."
    )
    return f'<footer class="ek-footer">{where} {kept} <span>editkit {escape(__version__)}</span></footer>'

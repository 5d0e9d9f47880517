"""The page as a whole: head, tabs, foot."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from editkit import __version__
from editkit.page import parts
from editkit.page.edit_tab import EditTab, example_files
from editkit.page.studio import Studio
from editkit.page.toasts import toasted

CLEAN_EVERY, CLEAN_OLDER = 600, 7200
"""Seconds: how often files that the browser was given are looked at, and from what age on they are removed."""


def build(studio: Studio) -> gr.Blocks:
    """The page over ``studio``; ``serve`` serves it."""
    with gr.Blocks(title="editkit", analytics_enabled=False, delete_cache=(CLEAN_EVERY, CLEAN_OLDER)) as page:
        head = gr.HTML(_head(studio), elem_id="ek-head")
        with gr.Tabs(elem_id="ek-tabs") as tabs:
            with gr.Tab("Edit", id="edit"):
                edit = EditTab(studio, example_files(studio))
        gr.HTML(_foot(studio), elem_id="ek-foot")

        def arrive(request: gr.Request) -> dict[Any, Any]:
            desk = studio.desk(request)
            return {head: _head(studio), edit.recent: edit.recent_update(desk), **edit.controls.shown(desk)}

        def leave(request: gr.Request) -> None:
            studio.desks.leave(str(request.session_hash))

        page.load(toasted(arrive), None, [head, edit.recent, *edit.controls.outputs], **parts.QUICK)
        page.unload(leave)
        assert tabs is not None
    return page


def _head(studio: Studio) -> str:
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

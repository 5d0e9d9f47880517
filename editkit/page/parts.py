"""Pieces of interface that several tabs use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, TypeVar

import gradio as gr

from editkit.errors import UsageError
from editkit.page.turns import MOST

T = TypeVar("T")
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress_on": []}
"""For every handler. Gradio's browser side would tell every output that was ever used how it goes, at each event
anew, and copy all that is in it to do so (0.1 s a slider's move); our own progress bars say it.
"""
QUICK: dict[str, Any] = {**PRIVATE, "show_progress": "hidden", "concurrency_id": "draw", "concurrency_limit": 2}
"""For handlers that answer in a fraction of a second: they do not wait for searches."""
SEARCH: dict[str, Any] = {
    **PRIVATE,
    "show_progress": "hidden",
    "concurrency_id": "search",
    "concurrency_limit": MOST + 8,
}
"""For searches and videos. They take turns in ``editkit.page.live``, where who waits is told so."""

SAVE_JS = "() => { setTimeout(() => document.querySelector('#%s')?.click(), 60); }"


def photo_drop(**options: Any) -> gr.Image:
    """A place for a photo whose file reaches the handler as it was given: our reader decides, and its errors say why.

    Gradio would open the file itself first. Its check that the file was uploaded by this page stays.
    """
    drop = gr.Image(type="filepath", sources=["upload", "webcam", "clipboard"], image_mode=None, **options)
    drop.preprocess = lambda payload: None if payload is None else payload.path
    return drop


def download(
    button: gr.Button, name: str, make: Callable[..., Any], inputs: list[Any] | None = None, *,
    told: Sequence[Any] = (), how: Mapping[str, Any] = QUICK,
) -> None:  # fmt: skip
    """Make ``button`` write a file with ``make`` and hand it to the browser.

    told: what ``make`` gives besides the file, after it; it may then be a generator, whose last file counts.
    """
    hidden = gr.DownloadButton("↓", elem_id=f"ek-file-{name}", elem_classes="ek-offstage")
    done = button.click(make, inputs or [], [hidden, *told], **how)
    done.success(None, js=SAVE_JS % f"ek-file-{name}", **PRIVATE)


def bar(share: float, text: str) -> str:
    """A progress bar with a word beside it."""
    percent = round(100 * min(max(share, 0.0), 1.0))
    return (
        f'<div class="ek-bar" role="progressbar" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{percent}" '
        f'aria-label="{escape(text)}"><span style="width:{percent}%"></span></div>'
        f'<div class="ek-bar-text"><span>{escape(text)}</span><span>{percent} %</span></div>'
    )


def line(text: str, *, kind: str = "note") -> str:
    """One line of text."""
    return f'<div class="ek-{kind}" role="status">{escape(text)}</div>' if text else ""


def heading(text: str, about: str = "") -> gr.HTML:
    """The title of a part of a tab."""
    return gr.HTML(
        f'<h3 class="ek-h">{escape(text)}</h3>' + (f'<p class="ek-about">{escape(about)}</p>' if about else "")
    )


def clicked(shown: Sequence[T] | None, index: Any) -> T:
    """What was clicked of what is shown. Raises UsageError where the server knows it no more (it was restarted)."""
    if shown is None or not 0 <= int(index) < len(shown):
        raise UsageError("this window is older than the server; load the page again")
    return shown[int(index)]

"""Errors as toasts: a short message that says what to do, without the server's paths or markup of others."""

from __future__ import annotations

import functools
import inspect
import logging
import re
from collections.abc import Callable
from html import escape
from typing import Any

import gradio as gr

from editkit.errors import EditkitError

log = logging.getLogger(__name__)

_FOLDERS = re.compile(r"(?<![\w:/\\.])(?:[A-Za-z]:)?(?:[\\/][^\\/\s:,;'\"]+)+[\\/](?=[^\\/\s])")
_COMMAND_WORDS = (
    (re.compile(r"; --align centre takes the centre square, --box x,y,w,h says where the face is"), ""),
    (re.compile(r"; the limit is ([\d,]+) pixels: shrink the picture first"), r": at most \1 pixels. Shrink it first"),
)


def said(error: BaseException) -> str:
    """The message for a visitor: one line, escaped; folders of this machine are left out of file names."""
    text = " ".join(str(error).split())
    for pattern, instead in _COMMAND_WORDS:
        text = pattern.sub(instead, text)
    return escape(_FOLDERS.sub("", text), quote=False)


def toast(error: BaseException) -> gr.Error:
    """The toast of an error; of one that nobody foresaw it says that the log has it.

    The message says all: Gradio's browser side (6.31) leaves ``title`` out, and writes "Error" above each.
    """
    if isinstance(error, gr.Error):
        return error
    if isinstance(error, EditkitError):
        return gr.Error(said(error), duration=15, print_exception=False)
    log.error("the page failed", exc_info=error)
    return gr.Error(
        f"Something went wrong here ({type(error).__name__}). Try again; if it comes back, the window in which editkit "
        "app runs has the details.",
        print_exception=False,
    )


def toasted(function: Callable[..., Any]) -> Callable[..., Any]:
    """A handler (or a generator of updates) whose errors become toasts."""
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def updates(*args: Any, **options: Any) -> Any:
            try:
                yield from function(*args, **options)
            except GeneratorExit:
                raise
            except Exception as error:
                raise toast(error) from error

        return updates

    @functools.wraps(function)
    def handler(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except Exception as error:
            raise toast(error) from error

    return handler

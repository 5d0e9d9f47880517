"""The web page: edit a photo, mix, explore, work on many, keep what was found. The roof of the house.

It calls the public API and holds no maths; a file a tab. Nothing in editkit imports it: the command finds it by its
entry point, ``app.py`` starts it. Names are loaded on first use (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from editkit.lazy import lazy_names

if TYPE_CHECKING:
    from editkit.page.layout import build
    from editkit.page.options import Options
    from editkit.page.server import serve

__all__ = ["Options", "build", "serve"]

_HOMES = {
    "Options": "editkit.page.options",
    "build": "editkit.page.layout",
    "serve": "editkit.page.server",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)

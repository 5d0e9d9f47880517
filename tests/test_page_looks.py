"""How the page looks, in chromium: every tab in light, in dark and on a phone; what a key and a reader find in it.

Screenshots go to the folder that EDITKIT_SCREENSHOTS names, else to pytest's temporary folder.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from page_browser import CHROMIUM, Watched
from PIL import Image

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")
TABS = ("Edit", "Mix and walk", "Explore", "Batch", "Drag", "Library", "Models")
VISITS = {  # how one comes, and the looks that are then looked at without coming again
    ("light", "dark"): {},
    ("phone",): {"viewport": {"width": 390, "height": 844}, "has_touch": True},
}


def test_every_tab_in_light_dark_and_on_a_phone(
    visit: Callable[..., Watched], page_files: Path, screenshots: Path
) -> None:
    for looks, options in VISITS.items():
        watched = visit(reduced_motion="reduce", **options)
        page = watched.page
        page.locator("#ek-examples img").first.wait_for()
        _look(watched, screenshots, looks, "start")
        watched.drop(page_files / "me.jpg")
        watched.found()
        for tab in TABS:
            watched.tab(tab)
            if tab == "Explore":
                page.locator("#ek-grid img").nth(23).wait_for()
                page.locator("#ek-strip img").wait_for()
            if tab == "Library":
                page.locator("#ek-library img").first.wait_for()
            _look(watched, screenshots, looks, tab.split()[0].lower())
    for tab in ("start", *(name.split()[0].lower() for name in TABS)):
        light, dark = (np.asarray(Image.open(screenshots / f"{look}-{tab}.png")).mean() for look in ("light", "dark"))
        assert dark < 0.6 * light, f"{tab} is not dark"


def _look(watched: Watched, folder: Path, looks: tuple[str, ...], name: str) -> None:
    """A screenshot in each look; nothing may be wider than the page, and no picture cut off at the side."""
    page = watched.page
    for look in looks:
        page.emulate_media(color_scheme="dark" if look == "dark" else "light")
        page.wait_for_function("dark => document.body.classList.contains('dark') == dark", arg=look == "dark")
        watched.settled()
        page.screenshot(path=folder / f"{look}-{name}.png", full_page=True)
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{name} is {wide} px wider than the page ({looks})"
    cut = page.evaluate(
        "[...document.querySelectorAll('.grid-wrap')].filter(g => g.scrollWidth > g.clientWidth + 1).length"
    )
    assert not cut, f"{name}: pictures are cut off at the side ({looks})"

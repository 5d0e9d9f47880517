"""The page's tutorial, followed in chromium: the text says what is pressed, in which order, and by which name."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from documents import editkit_commands, names_in_bold, tutorial
from page_browser import CHROMIUM, Watched
from PIL import Image
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Locator

from editkit.edits import Recipe
from editkit.latent_file import read_latent
from editkit.page.server import FIRST_PORT

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")
TABS = ("Edit", "Mix and walk", "Explore", "Batch", "Drag", "Library", "Models")


class Reader:
    """Someone who does what the tutorial says. Each act finds what it presses by the name that the text gives."""

    def __init__(self, watched: Watched, folder: Path) -> None:
        self.watched, self.page, self.folder = watched, watched.page, folder
        self.files: dict[str, Path] = {}
        self.acts: dict[str, Callable[[str], None]] = {
            **dict.fromkeys(TABS, self.go_to),
            "Drop a photo here": self.drop,
            "Stop and keep the best so far": self.stop,
            "Smile width": self.move,
            **dict.fromkeys(("Undo", "Redo", "Reset all"), self.press_and_see),
            "Placement": self.open,
            "Turn (degrees)": self.move,
            "before the edit": self.compare,
            "Whole photo": self.whole,
            **dict.fromkeys(
                ("Face (PNG)", "Whole photo (PNG)", "Video of the change", "Recipe (the edits)", "Latent (the face)"),
                self.download,
            ),
            "Go on from a file": self.go_on,
            "Add what is on the Edit tab": self.shelve,
            "Take the picture of the Edit tab": self.take,
            "Open it": self.open_kept,
        }

    def follow(self, names: list[str]) -> None:
        for name in names:
            try:
                self.acts[name](name)
            except (PlaywrightError, AssertionError) as error:
                pytest.fail(f"the tutorial says **{name}**: {error}")

    def button(self, name: str) -> Locator:
        found = self.page.locator("button:visible").filter(has_text=re.compile(rf"^\s*{re.escape(name)}\s*▼?\s*$"))
        found.wait_for()
        return found

    def go_to(self, name: str) -> None:
        self.watched.tab(name)
        if name == "Explore":
            self.page.locator("#ek-grid button:has(img)").nth(5).click()
            self.page.locator("#ek-stage").wait_for()
            self.watched.found()

    def drop(self, name: str) -> None:
        assert name in self.page.inner_text("#ek-drop")
        self.watched.drop(self.folder / "photo.jpg")

    def stop(self, name: str) -> None:
        button = self.button(name)
        with contextlib.suppress(PlaywrightError):  # on a quick machine the search has ended meanwhile
            button.click(timeout=5000)
        self.watched.found()

    def move(self, name: str) -> None:
        seen = self.watched.pictures()
        self.watched.press(self.page.get_by_role("slider", name=name).locator("visible=true").first, "PageUp")
        self.watched.changed(seen)

    def press_and_see(self, name: str) -> None:
        seen = self.watched.pictures()
        self.button(name).click()
        self.watched.changed(seen)
        if name == "Reset all":
            self.page.wait_for_function(
                "[...document.querySelectorAll('#ek-controls .ek-slider input[type=range]')].every(s => +s.value == 0)"
            )
            self.move("Smile width")  # something to take away

    def open(self, name: str) -> None:
        self.button(name).click()

    def compare(self, name: str) -> None:
        before = self.watched.pictures()[0]
        self.page.get_by_label(name, exact=True).check()
        self.watched.first_changed(before)

    def whole(self, name: str) -> None:
        self.page.get_by_role("tab", name=name, exact=True).click()
        self.watched.changed([], "#ek-whole")
        self.page.get_by_role("tab", name="Face", exact=True).click()

    def download(self, name: str) -> None:
        with self.page.expect_download() as coming:
            self.button(name).click()
        self.files[name] = self.folder / coming.value.suggested_filename
        coming.value.save_as(self.files[name])

    def go_on(self, name: str) -> None:
        self.button("Reset all").click()
        self.button(name).click()
        for file, told in (("Latent (the face)", "Latent"), ("Recipe (the edits)", "Recipe")):
            self.page.set_input_files("#ek-continue input[type=file]", str(self.files[file]))
            self.page.wait_for_function(
                "told => document.querySelector('#ek-status').innerText.startsWith(told)", arg=told
            )

    def shelve(self, name: str) -> None:
        self.button(name).click()
        self.page.locator("#ek-shelf img").wait_for()

    def take(self, name: str) -> None:
        self.button(name).click()
        self.watched.changed([], "#ek-drag-picture")

    def open_kept(self, name: str) -> None:
        self.page.locator("#ek-library button:has(img)").first.click()
        self.button(name).click()
        self.watched.found()
        assert "from your library" in self.page.inner_text("#ek-status")


def test_the_tutorial_of_the_page_is_followed_word_by_word(
    visit: Callable[..., Watched], page_files: Path, tmp_path: Path
) -> None:
    assert list(editkit_commands(tutorial("page.md"))) == [["app"]]  # which the server of these tests was started with
    assert f"http://127.0.0.1:{FIRST_PORT}" in tutorial("page.md")
    with Image.open(page_files / "me.jpg") as photo:  # not yet in the library
        photo.crop((8, 0, 500, 492)).save(tmp_path / "photo.jpg", quality=95)
    reader = Reader(visit(), tmp_path)
    names = names_in_bold(tutorial("page.md"))
    assert set(names) == set(reader.acts), "the tutorial and its test know other names"
    reader.follow(names)

    for name in ("Face (PNG)", "Whole photo (PNG)"):
        with Image.open(reader.files[name]) as picture:
            assert picture.size == ((64, 64) if "Face" in name else (492, 492))
    assert Recipe.load(reader.files["Recipe (the edits)"]).edits[0].name == "smile_width"
    assert len(read_latent(reader.files["Latent (the face)"]).latent) == 1
    assert reader.files["Video of the change"].stat().st_size > 1000

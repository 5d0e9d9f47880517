"""Waiting, stopping and seeing how far it is, in chromium; and ways in that the other tests do not take: camera, mask,
tuning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_browser import CHROMIUM, FLAGS, Server, Watched
from PIL import Image

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")


def searching_long(watched: Watched, photo: Path) -> None:
    """A search of a thousand steps that has begun."""
    page = watched.page
    watched.drop(photo)
    watched.found()
    page.get_by_role("button", name="The search, for experts").click()
    watched.press(page.locator("#ek-steps input[type=range]"), "End")
    page.click("#ek-search")
    begun(page)


def begun(page: Any) -> None:
    """The search says how far it is."""
    page.wait_for_function("/Step \\d+ of 1000/.test(document.querySelector('#ek-status')?.innerText)")


def new_photo(folder: Path, number: int) -> Path:
    """The sample face, brighter each time: a photo that no library has."""
    from editkit.photo import sample_photo, write_image

    path = folder / f"new-{number}.png"
    write_image(path, (sample_photo().image + 0.02 * (number + 1)).clamp(-1, 1))
    return path


def test_who_waits_for_another_visitors_search_is_told_so(
    visit: Callable[..., Watched], page_files: Path, tmp_path: Path
) -> None:
    first, second, third = visit(), visit(), visit()
    searching_long(first, page_files / "me.jpg")
    second.drop(new_photo(tmp_path, 1))
    status = second.page.locator("#ek-status")
    status.get_by_text("one search is before yours").wait_for()
    third.drop(new_photo(tmp_path, 2))
    third.page.locator("#ek-status").get_by_text("2 searches are before yours").wait_for()
    assert "Step" in first.page.inner_text("#ek-status"), "the first goes on meanwhile"
    second.page.get_by_role("button", name="Do not wait").click()
    second.page.wait_for_selector("#ek-start", state="visible")
    third.page.locator("#ek-status").get_by_text("one search is").wait_for()
    third.tab("Explore")  # the rest of the page does not wait
    third.page.locator("#ek-grid img").nth(3).wait_for()
    third.tab("Edit")
    first.page.click("#ek-stop")
    first.found()
    third.found()
    assert "dB" in third.page.inner_text("#ek-status")


def test_another_photo_ends_a_search_for_good_and_a_stopped_one_is_in_the_library(
    visit: Callable[..., Watched], page_files: Path, tmp_path: Path
) -> None:
    watched = visit()
    page = watched.page
    searching_long(watched, page_files / "me.jpg")
    page.click("#ek-another")
    page.wait_for_selector("#ek-start", state="visible")
    page.wait_for_timeout(1500)
    assert page.locator("#ek-start").is_visible(), "the search that ended does not come back"
    watched.drop(new_photo(tmp_path, 3))
    begun(page)
    page.click("#ek-stop")
    watched.found()
    watched.tab("Library")
    page.locator("#ek-library").get_by_text("new-3 (stopped early)").wait_for()
    page.locator("#ek-library button:has(img)").first.click()
    page.locator("#ek-library-chosen").get_by_text("searches anew").wait_for()
    page.locator("#ek-library-open:not([disabled])").click()
    watched.found()
    assert "stopped early, from your library" in page.inner_text("#ek-status")
    page.click("#ek-search")  # and it goes on from there, at the face
    begun(page)
    page.click("#ek-stop")
    watched.found()
    page.wait_for_function("document.querySelector('#ek-status').innerText.includes('stopped by you')")


def test_a_video_says_how_far_it_is(visit: Callable[..., Watched], page_files: Path, tmp_path: Path) -> None:
    watched = visit()
    page = watched.page
    watched.drop(page_files / "me.jpg")
    watched.found()
    said = page.inner_text("#ek-status")
    seen = watched.pictures()
    watched.press(page.locator("#ek-controls .ek-slider input[type=range]").first, "PageUp", 2)
    watched.changed(seen)
    page.evaluate(
        """() => {
            const status = document.querySelector('#ek-status'), all = {subtree: true, childList: true};
            window.said = [];
            new MutationObserver(() => said.push(status.innerText)).observe(status, {...all, characterData: true});
        }"""
    )
    video = watched.saved("video", tmp_path)
    assert video.stat().st_size > 1000
    shown = page.evaluate("window.said")
    assert any("Frame" in one and "of 48" in one for one in shown), shown
    page.wait_for_function("said => document.querySelector('#ek-status').innerText == said", arg=said)
    assert not page.locator("#ek-stop").is_visible()


def test_a_photo_from_the_camera(chromium: Any, page_server: Server) -> None:
    """Chromium's own test picture: there is no face in it, so the centre is used, and it says so."""
    flags = (*FLAGS, "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    browser = chromium.browser_type.launch(executable_path=CHROMIUM, args=list(flags))
    watched = Watched(browser.new_context(permissions=["camera"]).new_page(), page_server.address)
    page = watched.page
    page.locator("#ek-drop button[aria-label='Capture from camera']").click()
    page.locator("#ek-drop").get_by_text("Click to Access Webcam").click()
    page.wait_for_function("document.querySelector('#ek-drop video')?.videoWidth > 0")
    page.locator("#ek-drop .button-wrap button").first.click()
    assert "No face was found" in watched.toast()
    watched.found()
    assert "dB" in page.inner_text("#ek-status")
    watched.check()
    browser.close()


def test_a_tuned_face_goes_from_tab_to_tab_as_it_was_found(visit: Callable[..., Watched], tmp_path: Path) -> None:
    watched = visit()
    page = watched.page
    page.locator("#ek-examples img").first.wait_for()
    watched.drop(new_photo(tmp_path, 4))
    watched.found()
    page.get_by_role("button", name="The search, for experts").click()
    page.locator("#ek-method input").click()
    page.get_by_role("option", name="then tune the generator").click()
    seen = watched.pictures()
    page.click("#ek-search")
    page.wait_for_selector("#ek-stop", state="visible")
    watched.found()
    watched.changed(seen)
    with page.expect_download() as coming:
        page.click("#ek-save-latent")
    assert coming.value.suggested_filename.endswith(".zip")
    watched.tab("Mix and walk")
    page.click("#ek-mix-take")
    page.locator("#ek-shelf img").first.wait_for()
    watched.tab("Explore")
    page.get_by_label("Put it on the shelf", exact=True).check()
    page.locator("#ek-grid button:has(img)").nth(2).click()
    watched.toast()
    watched.tab("Mix and walk")
    page.locator("#ek-mix-note").get_by_text("was found by tuning the generator").wait_for()
    page.locator("#ek-mix-picture img").wait_for()


def test_a_mask_holds_the_rest_of_the_picture_still(visit: Callable[..., Watched], tmp_path: Path) -> None:
    """Painted over the left side only, a pull changes the right side less than it does without a mask."""
    watched = visit()
    page = watched.page
    watched.tab("Drag")
    page.click("#ek-drag-random")
    watched.changed([], "#ek-drag-picture")
    start, moved = _picture(watched, tmp_path / "start.png"), {}
    watched.press(page.locator("#ek-drag-steps input[type=range]"), "Home")
    watched.press(page.locator("#ek-drag-steps input[type=range]"), "ArrowRight", 2)  # 15 steps
    for way in ("none", "mask"):
        if way == "mask":
            page.get_by_role("button", name="What may change (mask)").click()
            page.locator("#ek-drag-mask canvas").first.wait_for()
            _paint(watched, 0.27, 0.4)
        for point, said in ((20, "Now click"), (26, "1 point")):
            page.fill("#ek-drag-x :is(input, textarea)", str(point))
            page.fill("#ek-drag-y :is(input, textarea)", "32")
            page.click("#ek-drag-put")
            page.locator("#ek-drag-status").get_by_text(said).wait_for()
        page.click("#ek-drag-go")
        page.locator("#ek-drag-status").get_by_text("arrived").wait_for()
        moved[way] = np.abs(_picture(watched, tmp_path / f"{way}.png") - start)[:, 320:].mean()
        page.click("#ek-drag-undo")
        page.locator("#ek-drag-status").get_by_text("0 pull(s)").wait_for()
    assert moved["mask"] < 0.7 * moved["none"], moved


def _paint(watched: Watched, left: float, right: float) -> None:
    """Lines between two shares of the canvas's width; the picture takes its middle, 0.21 to 0.79, 0.08 to 0.92."""
    page = watched.page
    page.wait_for_timeout(1000)  # the canvas fits itself into its place
    canvas = page.locator("#ek-drag-mask canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    for row in range(8):
        y = box["y"] + box["height"] * (0.15 + 0.1 * row)
        page.mouse.move(box["x"] + box["width"] * left, y)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * right, y, steps=4)
        page.mouse.up()


def _picture(watched: Watched, path: Path) -> np.ndarray:
    source = watched.pictures("#ek-drag-picture")[0]
    path.write_bytes(watched.page.request.get(source).body())
    return np.asarray(Image.open(path).convert("RGB")).astype(float)

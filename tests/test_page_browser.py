"""The page in a real browser: chromium, driven by Playwright, against the server that `editkit app` starts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from page_browser import CHROMIUM, Server, Watched, claim_of_pixels, hostile_pickle, proxy
from PIL import Image
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from editkit.edits import Recipe
from editkit.latent_file import read_latent

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def test_a_photo_is_edited_from_beginning_to_end(
    visit: Callable[..., Watched], page_files: Path, tmp_path: Path
) -> None:
    watched = visit()
    page = watched.page
    page.get_by_role("button", name="Example: astronaut").wait_for()
    watched.drop(page_files / "me.jpg")
    page.wait_for_selector("#ek-status .ek-bar")
    watched.found()
    assert "me: " in page.inner_text("#ek-status") and "dB" in page.inner_text("#ek-status")
    alts = "found => found.map(image => image.alt)"
    page.wait_for_function("document.querySelectorAll('#ek-stage img')[1].alt != ''")
    assert page.eval_on_selector_all("#ek-stage img", alts) == ["The face before the edit", "The edited face"]
    hidden = "found => found.map(button => getComputedStyle(button).visibility)"
    assert page.eval_on_selector_all("[id^=ek-file-]", hidden) == ["hidden"] * 5, "no Tab stops that nobody sees"
    seen = watched.pictures()
    for number in range(3):
        slider = page.locator("#ek-controls .ek-slider input[type=range]").nth(number)
        watched.press(slider, "PageUp", 2)
        seen = watched.changed(seen)
    first = watched.saved("face", tmp_path)
    page.get_by_role("button", name="Placement").click()
    watched.press(page.locator("#ek-turn input[type=range]"), "PageUp", 2)
    seen = watched.changed(seen)
    turned = watched.saved("face", tmp_path / "turned")
    assert pixels(first).shape == (64, 64, 3) and not np.array_equal(pixels(first), pixels(turned))

    for label in ("before the edit", "the photo"):
        compared = watched.pictures()[0]
        page.get_by_label(label, exact=True).check()
        watched.first_changed(compared)  # the picture on the left; the right one may still follow a slider
    seen = watched.pictures()
    edge = page.locator("#ek-stage [data-testid=slider]")
    middle = edge.bounding_box()
    watched.press(page.locator("#ek-reveal input[type=range]"), "Home")  # a key moves the edge as the mouse does
    page.wait_for_function(
        "/translateX.0px/.test(document.querySelector('#ek-stage [data-testid=slider]').style.transform)"
    )
    assert edge.bounding_box()["x"] < middle["x"] - 100
    page.click("#ek-undo")
    seen = watched.changed(seen)
    page.click("#ek-redo")
    watched.changed(seen)

    whole, photo = watched.saved("whole", tmp_path), pixels(page_files / "me.jpg")
    assert pixels(whole).shape == photo.shape
    assert np.array_equal(pixels(whole)[400:], photo[400:]), "far from the face no pixel changes"
    assert not np.array_equal(pixels(whole), photo)
    recipe = Recipe.load(watched.saved("recipe", tmp_path))
    assert len(recipe.edits) == 3 and recipe.transform is not None
    assert Recipe.from_json(Image.open(turned).text["recipe"]).summary == recipe.summary  # type: ignore[attr-defined]
    held = read_latent(watched.saved("latent", tmp_path))
    assert held.alignment is not None and len(held.latent) == 1
    video = watched.saved("video", tmp_path)
    import av

    with av.open(str(video)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 48

    page.get_by_role("tab", name="Whole photo").click()
    seen = watched.changed([], "#ek-whole")
    watched.press(page.locator("#ek-controls .ek-slider input[type=range]").first, "PageDown")
    watched.changed(seen, "#ek-whole")
    page.get_by_role("tab", name="Face", exact=True).click()
    page.click("#ek-reset")
    page.wait_for_function(
        "[...document.querySelectorAll('#ek-controls .ek-slider input[type=range]')].every(s => +s.value == 0)"
    )
    page.get_by_role("button", name="Go on from a file").click()
    seen = watched.pictures()
    page.set_input_files("#ek-continue input[type=file]", str(next(tmp_path.glob("*.recipe.json"))))
    watched.changed(seen)
    assert "Recipe" in page.inner_text("#ek-status")

    page.get_by_role("tab", name="Whole photo").click()
    page.click("#ek-another")  # and the latent is enough to go on from, on another day
    page.get_by_role("button", name="Go on from a latent").click()
    page.set_input_files("#ek-resume input[type=file]", str(next(tmp_path.glob("*.safetensors"))))
    page.wait_for_function("document.querySelector('#ek-status')?.innerText.startsWith('Latent')")
    watched.found()
    assert page.locator("#ek-stage").is_visible(), "not the whole photo, which this one has not"


def test_a_search_is_stopped_midway_and_the_best_is_kept(visit: Callable[..., Watched], page_files: Path) -> None:
    watched = visit()
    page = watched.page
    watched.drop(page_files / "me.jpg")
    watched.found()  # of the library, or searched
    _many_steps(watched)
    page.click("#ek-search")
    page.wait_for_function("/Step \\d+ of 1000/.test(document.querySelector('#ek-status').innerText)")
    page.click("#ek-stop")
    watched.found()
    assert "stopped by you" in page.inner_text("#ek-status")


def test_a_reload_midway_starts_afresh_and_frees_the_server(visit: Callable[..., Watched], page_files: Path) -> None:
    watched = visit()
    page = watched.page
    watched.drop(page_files / "me.jpg")
    watched.found()
    _many_steps(watched)
    page.click("#ek-search")
    page.wait_for_function("/Step \\d+ of 1000/.test(document.querySelector('#ek-status').innerText)")
    page.reload()
    page.wait_for_selector("#ek-drop", state="visible")
    assert not page.locator("#ek-controls").is_visible()
    watched.errors.clear()  # Gradio says in the console that the page which was left lost its connection
    watched.drop(page_files / "two.png")  # searches take turns: this one begins since the other was ended
    page.wait_for_selector("#ek-faces", state="visible")


def test_two_visitors_do_not_wait_for_or_see_each_other(visit: Callable[..., Watched], page_files: Path) -> None:
    first, second = visit(), visit()
    first.drop(page_files / "me.jpg")
    first.found()
    _many_steps(first)
    first.page.click("#ek-search")
    first.page.wait_for_function("/Step \\d+ of 1000/.test(document.querySelector('#ek-status').innerText)")
    assert second.page.locator("#ek-start").is_visible() and not second.page.locator("#ek-bench").is_visible()
    second.tab("Explore")
    second.page.locator("#ek-grid img").nth(3).wait_for()
    second.page.locator("#ek-grid button.thumbnail-item, #ek-grid .thumbnail-lg").nth(3).click()
    second.found()
    seen = second.pictures()
    second.press(second.page.locator("#ek-controls .ek-slider input[type=range]").first, "PageUp", 2)
    second.changed(seen)
    assert "Step" in first.page.inner_text("#ek-status"), "the first is still searching"
    with contextlib.suppress(PlaywrightTimeout):  # on a quick machine it may have ended meanwhile
        first.page.click("#ek-stop", timeout=5000)
    first.found()


def test_bad_files_become_toasts_that_say_what_to_do(
    visit: Callable[..., Watched], page_files: Path, tmp_path: Path
) -> None:
    watched = visit()
    text = tmp_path / "letter.jpg"
    text.write_text("dear picture")
    watched.drop(text)
    assert "letter.jpg is not a picture; give a JPEG" in watched.toast()
    watched.drop(claim_of_pixels(tmp_path / "huge.png", 20_000, 10_000))
    said = watched.toast()
    assert "200,000,000 pixels" in said and "Shrink it" in said
    sign = tmp_path / "executed"
    watched.tab("Models")
    watched.page.set_input_files("#ek-model-file input[type=file]", str(hostile_pickle(tmp_path / "evil.pkl", sign)))
    said = watched.toast()
    assert "evil.pkl" in said and str(tmp_path) not in said and not sign.exists()
    assert "faces64" in watched.page.inner_text(".ek-model")
    watched.tab("Edit")
    watched.drop(page_files / "me.jpg")
    watched.found()


def test_of_several_faces_one_is_picked(visit: Callable[..., Watched], page_files: Path) -> None:
    watched = visit()
    watched.drop(page_files / "two.png")
    watched.page.wait_for_selector("#ek-faces", state="visible")
    faces = watched.page.locator("#ek-faces button:has(img)")
    assert faces.count() == 2 and "2 faces" in watched.page.inner_text("#ek-status")
    faces.nth(1).click()
    watched.found()


def test_the_library_opens_at_once_and_deletes(
    visit: Callable[..., Watched], page_files: Path, page_server: Server
) -> None:
    watched = visit()
    watched.drop(page_files / "me.jpg")
    watched.found()
    page = watched.page
    watched.tab("Library")
    page.locator("#ek-library img").first.wait_for()
    page.fill("#ek-library-search textarea, #ek-library-search input", "nothing like it")
    page.wait_for_function("document.querySelectorAll('#ek-library img').length == 0")
    page.fill("#ek-library-search textarea, #ek-library-search input", "ME")
    page.locator("#ek-library button:has(img)").first.click()
    page.locator("#ek-library-open:not([disabled])").click()
    watched.found()
    assert "from your library" in page.inner_text("#ek-status")
    folder = page_server.home / "library" / "own"
    before = len(list(folder.glob("*/latent.safetensors")))
    watched.tab("Library")
    page.locator("#ek-library button:has(img)").first.click()
    page.locator("#ek-library-delete:not([disabled])").click()
    assert "deleted" in watched.toast()
    assert len(list(folder.glob("*/latent.safetensors"))) == before - 1


def test_it_works_behind_a_proxy_at_a_path(
    visit: Callable[..., Watched], page_files: Path, page_at_a_path: Server
) -> None:
    with proxy(page_at_a_path.wait().port, "/editkit") as address:
        watched = visit(address)
        watched.drop(page_files / "me.jpg")
        watched.found()
        seen = watched.pictures()
        assert all("/editkit/" in source for source in seen)
        watched.press(watched.page.locator("#ek-controls .ek-slider input[type=range]").first, "PageUp", 2)
        watched.changed(seen)
        assert watched.page.get_by_role("tab", name="Library", exact=True).count() == 0
        watched.page.close()


def test_a_restart_of_the_server_is_survived(
    visit: Callable[..., Watched], page_files: Path, page_server: Server
) -> None:
    watched = visit()
    page = watched.page
    watched.drop(page_files / "me.jpg")
    watched.found()
    # Toasts leave after a while; on a slow machine before the server is up again.
    page.evaluate(
        """() => new MutationObserver(() => {
            if (document.querySelector("[data-testid=toast-body]")) window.toastSeen = true;
        }).observe(document.body, {childList: true, subtree: true})"""
    )
    assert page_server.stop() == 0, page_server.said()
    page_server.start()
    watched.press(page.locator("#ek-controls .ek-slider input[type=range]").first, "PageUp", 2)
    page.wait_for_function("window.toastSeen")
    page.reload()
    watched.errors.clear()  # the browser says that the page which was left lost its connection
    page.wait_for_selector("#ek-recent img")
    page.locator("#ek-recent button:has(img)").first.click()
    watched.found()
    assert "from your library" in page.inner_text("#ek-status")


def _many_steps(watched: Watched) -> None:
    watched.page.get_by_role("button", name="The search, for experts").click()
    watched.press(watched.page.locator("#ek-steps input[type=range]"), "End")


def test_helpers_see_what_they_should(tmp_path: Path) -> None:
    sign = tmp_path / "executed"
    import pickle

    pickle.loads(hostile_pickle(tmp_path / "x.pkl", sign).read_bytes())
    assert sign.exists(), "the hostile file is one"
    assert Image.open(claim_of_pixels(tmp_path / "x.png", 200, 100)).size == (200, 100)

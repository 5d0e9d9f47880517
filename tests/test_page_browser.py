"""The page in a real browser: chromium, driven by Playwright, against the server that `editkit app` starts."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from page_browser import CHROMIUM, FLAGS, Server, Watched, claim_of_pixels, hostile_pickle, proxy
from PIL import Image

from editkit.edits import Recipe
from editkit.latent_file import read_latent
from editkit.photo import sample_photo, write_image

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def test_a_photo_is_edited_from_beginning_to_end(
    visit: Callable[..., Watched], page_files: Path, tmp_path: Path
) -> None:
    watched = visit()
    page = watched.page
    watched.drop(page_files / "me.jpg")
    page.wait_for_selector("#ek-status .ek-bar")
    watched.found()
    assert "me: " in page.inner_text("#ek-status") and "dB" in page.inner_text("#ek-status")
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
    first.page.click("#ek-stop")
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


def test_explore_mix_and_walk(visit: Callable[..., Watched]) -> None:
    watched = visit()
    page = watched.page
    watched.tab("Explore")
    page.locator("#ek-grid img").nth(23).wait_for()
    thumbnails = page.locator("#ek-grid button:has(img)")
    for act, index in (("Like it", 0), ("Like it", 1), ("Dislike it", 2)):
        page.get_by_label(act, exact=True).check()
        thumbnails.nth(index).click()
        page.wait_for_function(
            "seed => document.querySelector('#ek-taste').innerText.includes(seed)", arg=f"seed {index}"
        )
    page.click("#ek-taste-make")
    assert "among the sliders" in watched.toast()
    page.locator("#ek-strip img").wait_for()
    page.get_by_label("Put it on the shelf").check()
    for index in (3, 4):
        thumbnails.nth(index).click()
        assert f"seed {index}" in watched.toast()
    watched.tab("Mix and walk")
    page.locator("#ek-shelf img").nth(1).wait_for()
    seen = watched.changed([], "#ek-mix-picture")
    watched.press(page.locator("#ek-mix-share input[type=range]"), "End")
    watched.changed(seen, "#ek-mix-picture")
    watched.press(page.locator("#ek-walk-seconds input[type=range]"), "Home")
    page.click("#ek-walk-go")
    page.locator("#ek-walk-video video").wait_for(state="attached")
    watched.tab("Explore")
    page.get_by_label("Edit it", exact=True).check()
    thumbnails.nth(5).click()
    watched.found()
    page.get_by_role("button", name="Yours").click()
    page.locator("#ek-controls .ek-slider", has_text="Mine").wait_for()  # the direction made above


def test_a_batch_ends_with_a_table_and_a_zip(visit: Callable[..., Watched], page_files: Path, tmp_path: Path) -> None:
    watched = visit()
    page = watched.page
    broken = tmp_path / "broken.jpg"
    broken.write_bytes((page_files / "me.jpg").read_bytes()[:3000])
    watched.tab("Batch")
    page.set_input_files("#ek-batch-files input[type=file]", [str(page_files / "me.jpg"), str(broken)])
    page.wait_for_selector("#ek-batch-files .file-preview")
    watched.press(page.locator("#ek-batch-steps input[type=range]"), "Home")
    page.click("#ek-batch-go")
    page.wait_for_selector("#ek-batch-zip a")
    table = page.inner_text("#ek-batch-table")
    assert "me.jpg" in table and "dB" in table and "broken.jpg" in table and "failed" in table
    with page.expect_download() as coming:
        page.locator("#ek-batch-zip a").first.click()
    coming.value.save_as(tmp_path / "batch.zip")
    names = zipfile.ZipFile(tmp_path / "batch.zip").namelist()
    assert any(name.endswith("edited.png") for name in names) and "editkit/report.html" in names
    assert not any("sqlite" in name for name in names)


def test_points_are_dragged_and_undone(visit: Callable[..., Watched]) -> None:
    watched = visit()
    page = watched.page
    watched.tab("Drag")
    page.click("#ek-drag-random")
    seen = start = watched.changed([], "#ek-drag-picture")
    for place in ({"x": 120, "y": 200}, {"x": 150, "y": 200}):
        page.locator("#ek-drag-picture img").click(position=place)
        seen = watched.changed(seen, "#ek-drag-picture")
    watched.press(page.locator("#ek-drag-steps input[type=range]"), "Home")
    page.click("#ek-drag-go")
    page.wait_for_function("/arrived/.test(document.querySelector('#ek-drag-status').innerText)")
    pulled = watched.pictures("#ek-drag-picture")
    page.click("#ek-drag-undo")
    undone = watched.changed(pulled, "#ek-drag-picture")
    assert _digest(undone) == _digest(start), "the picture is as it was, bit for bit"


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
    assert page_server.stop() == 0, page_server.said()
    page_server.start()
    watched.press(page.locator("#ek-controls .ek-slider input[type=range]").first, "PageUp", 2)
    page.locator("[data-testid=toast-body]").first.wait_for()
    watched.errors.clear()  # the browser says that the connection was lost
    page.reload()
    page.wait_for_selector("#ek-recent img")
    page.locator("#ek-recent button:has(img)").first.click()
    watched.found()
    assert "from your library" in page.inner_text("#ek-status")


def _many_steps(watched: Watched) -> None:
    watched.page.get_by_role("button", name="The search, for experts").click()
    watched.press(watched.page.locator("#ek-steps input[type=range]"), "End")


def _digest(sources: list[str]) -> str:
    """The server names a file by the hash of its content."""
    return sources[0].split("/")[-2]


def test_helpers_see_what_they_should(tmp_path: Path) -> None:
    sign = tmp_path / "executed"
    import pickle

    pickle.loads(hostile_pickle(tmp_path / "x.pkl", sign).read_bytes())
    assert sign.exists(), "the hostile file is one"
    assert Image.open(claim_of_pixels(tmp_path / "x.png", 200, 100)).size == (200, 100)

"""Making things on the page, in chromium: explore, mix and walk, directions of taste, a batch, a drag."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from page_browser import CHROMIUM, Server, Watched

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")


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
    page.wait_for_selector("#ek-forget", state="visible")  # it is one's own
    page.get_by_label("Put it on the shelf").check()
    for index in (3, 4):
        thumbnails.nth(index).click()
        assert f"seed {index}" in watched.toast()
    watched.tab("Mix and walk")
    page.locator("#ek-shelf img").nth(1).wait_for()
    stops = page.locator("#ek-walk-stops label")
    assert stops.all_inner_texts() == ["seed 3", "seed 4"]
    page.locator("#ek-shelf button:has(img)").nth(1).click()
    page.click("#ek-shelf-earlier")
    page.wait_for_function("document.querySelector('#ek-walk-stops label').innerText == 'seed 4'")
    assert stops.all_inner_texts() == ["seed 4", "seed 3"]
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


def test_a_direction_of_taste_is_there_next_time_until_it_is_deleted(
    visit: Callable[..., Watched], page_server: Server
) -> None:
    watched = visit()
    page = watched.page
    watched.tab("Explore")
    page.get_by_label("Like it", exact=True).check()
    page.locator("#ek-grid button:has(img)").nth(7).click()
    page.wait_for_function("document.querySelector('#ek-taste').innerText.includes('seed 7')")
    page.fill("#ek-taste-name input, #ek-taste-name textarea", "lucky")
    page.click("#ek-taste-make")
    assert "kept for next time" in watched.toast()
    page.wait_for_function("document.querySelector('#ek-taste').innerText.includes('too few to test')")
    page.fill("#ek-taste-name input, #ek-taste-name textarea", "yaw")
    page.click("#ek-taste-make")
    assert "choose another name" in watched.toast()
    for act, indices in (("Like it", range(8)), ("Dislike it", range(8, 16))):
        page.get_by_label(act, exact=True).check()
        for index in indices:
            page.locator("#ek-grid button:has(img)").nth(index).click()
            page.wait_for_function(
                "seed => document.querySelector('#ek-taste').innerText.includes(seed)", arg=f"seed {index}"
            )
    page.fill("#ek-taste-name input, #ek-taste-name textarea", "tested")
    page.click("#ek-taste-make")
    page.wait_for_function("document.querySelector('#ek-taste').innerText.includes('held-out samples apart')")
    assert "A linear SVM between 8 liked, 8 disliked" in page.inner_text("#ek-taste")
    assert list((page_server.home / "directions").rglob("lucky.safetensors"))

    later = visit()
    page = later.page
    later.tab("Explore")
    page.locator("#ek-which input").click()
    page.get_by_role("option", name="lucky").click()
    page.locator("#ek-forget").click()
    assert "deleted" in later.toast()
    assert not list((page_server.home / "directions").rglob("lucky.safetensors"))


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


def _digest(sources: list[str]) -> str:
    """The server names a file by the hash of its content."""
    return sources[0].split("/")[-2]

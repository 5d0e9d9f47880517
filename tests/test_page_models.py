"""The page in chromium with another model: a file through the safe importer, its classes, a search without encoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from page_browser import CHROMIUM, Watched

from editkit.generator import random_generator, save_generator

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")


def test_a_conditional_model_of_ones_own_is_loaded_and_its_classes_are_chosen(
    visit: Callable[..., Watched], page_files: Path, tmp_path: Path
) -> None:
    save_generator(random_generator(resolution=32, c_dim=3, output_scale=0.8), tmp_path / "mine.safetensors")
    watched = visit()
    page = watched.page
    watched.tab("Explore")
    page.locator("#ek-grid img").nth(23).wait_for()
    assert not page.locator("#ek-explore-class").is_visible(), "the bundled model has no classes"
    assert page.locator("#ek-which input").input_value() != ""
    watched.tab("Models")
    bundled = page.locator("#ek-model input").input_value()
    page.set_input_files("#ek-model-file input[type=file]", str(tmp_path / "mine.safetensors"))
    try:
        page.wait_for_function("document.querySelector('.ek-model').innerText.includes('32 px')")
        watched.tab("Explore")
        page.wait_for_selector("#ek-explore-class", state="visible")
        page.wait_for_function("document.querySelector('#ek-which input').value == ''")  # it has no directions
        seen = watched.changed([], "#ek-grid")
        page.locator("#ek-explore-class input").click()
        page.get_by_role("option", name="Class 2").click()
        watched.changed(seen, "#ek-grid")
        watched.tab("Edit")
        watched.drop(page_files / "me.jpg")  # it has no encoder either: the search begins elsewhere
        watched.found()
        assert "dB" in page.inner_text("#ek-status")
    finally:
        watched.tab("Models")
        page.locator("#ek-model input").click()
        page.get_by_role("option", name=bundled, exact=True).click()
        page.wait_for_function("!document.querySelector('.ek-model').innerText.includes('32 px')")

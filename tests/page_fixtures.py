"""One server and one browser for all tests of the page; imported by conftest.py, so that test files share them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from page_browser import CHROMIUM, FLAGS, Server, Watched

from editkit.photo import sample_photo, write_image


@pytest.fixture(scope="session")
def page_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """``editkit app``, up."""
    up = Server(tmp_path_factory.mktemp("home")).start()
    yield up
    if up.process is not None and up.process.poll() is None:
        assert up.stop() == 0


@pytest.fixture(scope="session")
def page_at_a_path(page_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same below /editkit, keeping nothing. It starts beside the first tests; ``wait`` before it is used."""
    up = Server(tmp_path_factory.mktemp("other-home"), "--root-path", "/editkit").launch()
    yield up
    assert up.wait().stop() == 0


@pytest.fixture(scope="module")  # not longer: what other tests fork would hold the pipe whose end its driver waits for
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason='needs Playwright: pip install -e ".[dev]"')
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield opened
        opened.close()


@pytest.fixture
def visit(chromium: Any, page_server: Server, page_at_a_path: Server) -> Iterator[Callable[..., Watched]]:
    """``visit()`` opens the page in a browser of its own; at the end nothing may have gone wrong in it."""
    contexts, pages = [], []

    def open_page(address: str = page_server.address, **options: Any) -> Watched:
        options = {"viewport": {"width": 1360, "height": 900}, "accept_downloads": True, **options}
        contexts.append(chromium.new_context(**options))
        pages.append(Watched(contexts[-1].new_page(), address))
        return pages[-1]

    yield open_page
    for page in pages:
        page.check()
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def page_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """me.jpg, and two.png with the same face twice, once small."""
    folder = tmp_path_factory.mktemp("files")
    photo = sample_photo().image
    write_image(folder / "me.jpg", photo)
    small = torch.nn.functional.interpolate(photo[:, :, :256, 100:356], scale_factor=0.9, mode="area")
    both = torch.nn.functional.pad(photo, (0, 300))
    both[:, :, 40 : 40 + small.shape[2], 540 : 540 + small.shape[3]] = small
    write_image(folder / "two.png", both)
    return folder


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that EDITKIT_SCREENSHOTS names (CI keeps it), else one of pytest's."""
    named = os.environ.get("EDITKIT_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder

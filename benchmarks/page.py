"""How long from a slider's move to the new picture in the browser, and from the address to a page that can be used.

    python benchmarks/page.py [--moves 30] [--json]

On a machine that others use as well, the wall times are upper bounds; the processor time of server and browser a move,
and the load, are told beside them.

Chromium is driven by Playwright against the server that `editkit app` starts: the bundled generator, and an untrained
one of 128 px with the default's widths. A move is one key on a slider; its picture has come when the browser has
decoded it. What is measured is the whole way: event, queue, edit, rendering, PNG, HTTP, decoding.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

WATCH = """() => {
  const shown = () => [...document.querySelectorAll('#ek-stage img')].map(i => i.src).join();
  window.ekTimes = []; window.ekBefore = null; window.ekStart = 0;
  document.addEventListener('input', e => {
    if (!e.target.matches('#ek-controls input[type=range]')) return;
    window.ekStart = performance.now(); window.ekBefore = shown();
  }, true);
  const look = () => {
    if (window.ekBefore !== null && shown() !== window.ekBefore) {
      const start = window.ekStart; window.ekBefore = null;
      const last = [...document.querySelectorAll('#ek-stage img')].pop();
      last.decode().catch(() => 0).then(() => window.ekTimes.push(performance.now() - start));
    }
    requestAnimationFrame(look);
  };
  look();
}"""


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far (Linux; 0 elsewhere): what a move costs, also on a busy machine."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def browser_seconds() -> float:
    """Processor time so far of all processes of the browser that this one drives (Linux; 0 elsewhere)."""
    parents, chromium = {}, set()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "stat").read_text().rpartition(")")[2].split()
            if "chromium" in (place / "cmdline").read_text():
                chromium.add(int(place.name))
        except OSError:
            continue
        parents[int(place.name)] = int(words[1])

    def ours(pid: int) -> bool:
        while pid > 1:
            if pid == os.getpid():
                return True
            pid = parents.get(pid, 0)
        return False

    return sum(cpu_seconds(pid) for pid in chromium if ours(pid))


def timed(page: Any, server: int, moves: int) -> dict[str, Any]:
    """Move the slider that has the focus, and say how long it took. ``server``: its process."""
    before = page.evaluate("window.ekTimes.length")
    for move in range(moves + 3):
        if move == 3:
            busy, drawing = cpu_seconds(server), browser_seconds()
        page.keyboard.press("ArrowRight")
        page.wait_for_function(f"window.ekTimes.length > {before + move}")
        page.wait_for_timeout(120)
    busy, drawing = cpu_seconds(server) - busy, browser_seconds() - drawing
    times = page.evaluate("window.ekTimes")[before + 3 :]
    return {
        "median_ms": round(statistics.median(times)),
        "p90_ms": round(sorted(times)[int(0.9 * len(times))]),
        "server_cpu_ms": round(1000 * busy / moves),
        "browser_cpu_ms": round(1000 * drawing / moves),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "moves": len(times),
    }


@contextmanager
def searching(browser: Any, address: str, home: Path) -> Iterator[None]:
    """Another visitor, whose search of 1000 steps goes on meanwhile."""
    from page_browser import Watched

    from editkit.photo import sample_photo, write_image

    write_image(home / "me.jpg", sample_photo().image)
    other = Watched(browser.new_page(), address)
    other.page.get_by_role("tab", name="Edit", exact=True).click()
    other.drop(home / "me.jpg")
    other.found()
    other.page.get_by_role("button", name="The search, for experts").click()
    other.press(other.page.locator("#ek-steps input[type=range]"), "End")
    other.page.click("#ek-search")
    other.page.wait_for_function("/Step \\d+ of 1000/.test(document.querySelector('#ek-status').innerText)")
    yield
    still = "Step" in other.page.inner_text("#ek-status")
    other.page.close()
    if not still:
        raise SystemExit("the other visitor's search ended too early; lower --moves")


def measure(browser: Any, generator: Path | None, home: Path, moves: int) -> dict[str, Any]:
    """Times of ``moves`` moves, in milliseconds, and of the page."""
    from page_browser import PATIENCE, Server

    server = Server(home, *(() if generator is None else ("--generator", str(generator)))).start()
    try:
        page = browser.new_page(viewport={"width": 1360, "height": 900})
        page.set_default_timeout(PATIENCE)
        started = time.perf_counter()
        page.goto(server.address)
        page.locator("#ek-drop input[type=file]").wait_for(state="attached")
        page.locator("#ek-examples img").first.wait_for()
        usable = time.perf_counter() - started
        page.get_by_role("tab", name="Explore", exact=True).click()
        page.locator("#ek-grid img").nth(3).wait_for()
        page.locator("#ek-grid button:has(img)").nth(3).click()
        page.wait_for_selector("#ek-controls", state="visible")
        page.wait_for_function("document.querySelectorAll('#ek-stage img').length == 2")
        if generator is not None:  # no directions are at hand: the placement is moved
            page.get_by_role("button", name="Placement").click()
        where = "#ek-controls .ek-slider input[type=range]" if generator is None else "#ek-turn input[type=range]"
        before = page.eval_on_selector_all("#ek-stage img", "found => found[1].src")
        page.locator(where).first.focus()
        page.keyboard.press("Home")  # from its end on, every step is another picture
        page.wait_for_function("was => document.querySelectorAll('#ek-stage img')[1].src != was", arg=before)
        page.evaluate(WATCH)
        found = {"usable_s": round(usable, 2), **timed(page, server.process.pid, moves)}
        if generator is None:
            page.keyboard.press("Home")  # there are not steps enough for twice the moves
            page.wait_for_timeout(2000)
            with searching(browser, server.address, home):
                beside = timed(page, server.process.pid, moves)
            found["median_ms beside a search"] = beside["median_ms"]
        page.close()
        return found
    finally:
        server.stop()


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=30, choices=range(5, 41), metavar="5-40")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    from page_browser import CHROMIUM, FLAGS
    from playwright.sync_api import sync_playwright

    from editkit.generator import random_generator, save_generator

    found = {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        home = Path(folder)
        large = home / "random128.safetensors"
        widths: dict[str, Any] = {"channel_base": 4096, "channel_max": 128, "z_dim": 64, "w_dim": 256}
        save_generator(random_generator(resolution=128, **widths), large)
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        for name, generator in (("64 px, bundled", None), ("128 px, untrained", large)):
            found[name] = measure(browser, generator, home, args.moves)
            if not args.json:
                print(f"{name}: {found[name]}", flush=True)
        browser.close()
    if args.json:
        print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

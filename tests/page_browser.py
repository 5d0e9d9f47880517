"""Shared by the tests of the page in a browser: the server as a process, pages that watch what goes wrong, files."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--force-color-profile=srgb",
)  # fmt: skip
STEPS = 20
PATIENCE = 180_000
"""Milliseconds that a browser waits for what is bound to happen, also on a busy machine."""


class Server:
    """``editkit app`` as its user starts it, in a process of its own."""

    def __init__(self, home: Path, *options: str, port: int | None = None) -> None:
        self.home, self.options = home, options
        self.port = port or free_port()
        self.process: subprocess.Popen[str] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> Server:
        return self.launch().wait()

    def launch(self) -> Server:
        environment = {**os.environ, "EDITKIT_HOME": str(self.home), "EDITKIT_PAGE_STEPS": str(STEPS)}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", "editkit", "app", "--port", str(self.port), "--device", "cpu", *self.options]
        self.log = (self.home / f"server-{time.monotonic_ns()}.log").open("w+")
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=self.log, stderr=subprocess.STDOUT)
        return self

    def wait(self) -> Server:
        """Until it answers."""
        assert self.process is not None
        deadline = time.monotonic() + 180
        while "editkit is at" not in self.said():
            assert self.process.poll() is None and time.monotonic() < deadline, self.said()
            time.sleep(0.2)
        return self

    def said(self) -> str:
        return Path(self.log.name).read_text()

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self.log.close()


class Watched:
    """A browser page, and what it should never do: errors in its console, requests to elsewhere."""

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.address = page, address
        self.errors: list[str] = []
        self.outside: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._seen(request.url))
        page.goto(address)
        page.wait_for_selector("#ek-drop")

    def settled(self) -> None:
        """Wait until pictures and fonts are there, and nothing moves any more."""
        self.page.wait_for_function(
            """[...document.images].every(i => i.complete || i.loading == 'lazy') && document.fonts.status == 'loaded'
                && document.getAnimations().every(a => a.playState != 'running' || a.effect?.getTiming().iterations > 9)
            """
        )
        self.page.wait_for_timeout(60)

    def _said(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")

    def _seen(self, url: str) -> None:
        if not url.startswith((self.address.rstrip("/"), "data:", "blob:")):
            self.outside.append(url)

    def check(self) -> None:
        assert not self.outside, f"requests to elsewhere: {self.outside}"
        assert not self.errors, f"errors in the console: {self.errors}"

    def drop(self, path: Path) -> None:
        self.page.set_input_files("#ek-drop input[type=file]", str(path))

    def found(self) -> None:
        """Wait until the sliders are there."""
        self.page.wait_for_selector("#ek-controls", state="visible")
        self.page.wait_for_function("document.querySelectorAll('#ek-stage img').length == 2")

    def pictures(self, where: str = "#ek-stage") -> list[str]:
        return self.page.eval_on_selector_all(f"{where} img", "found => found.map(image => image.src)")

    def changed(self, before: list[str], where: str = "#ek-stage") -> list[str]:
        """Wait until other pictures are shown, and loaded."""
        self.page.wait_for_function(
            """([where, before]) => {
                const found = [...document.querySelectorAll(where + ' img')];
                return found.length && JSON.stringify(found.map(i => i.src)) != JSON.stringify(before)
                    && found.every(i => i.complete && i.naturalWidth > 0);
            }""",
            arg=[where, before],
        )
        return self.pictures(where)

    def first_changed(self, before: str, where: str = "#ek-stage") -> None:
        """Wait until the first picture is another one."""
        self.page.wait_for_function(
            "([where, before]) => document.querySelector(where + ' img').src != before", arg=[where, before]
        )

    def slider(self, label: str) -> Any:
        return self.page.locator(f"#ek-controls input[type=range][aria-label*='{label}']").first

    def press(self, slider: Any, key: str, times: int = 1) -> None:
        """Press a key on a slider that it moves; one that is being drawn just now does not hear the first."""
        for _ in range(times):
            was, deadline = slider.input_value(), time.monotonic() + 20
            while slider.input_value() == was:
                assert time.monotonic() < deadline, f"{key} moves nothing"
                slider.focus()
                self.page.keyboard.press(key)
                self.page.wait_for_timeout(30)

    def toast(self) -> str:
        """The text of the toast that comes; it is closed."""
        body = self.page.locator("[data-testid=toast-body]").first
        body.wait_for()
        text = body.inner_text()
        body.locator("button").first.click()
        self.page.wait_for_function("document.querySelectorAll('[data-testid=toast-body]').length == 0")
        return text

    def tab(self, name: str) -> None:
        """Go to a tab, also where a narrow page has it behind its menu."""
        shown = self.page.get_by_role("tab", name=name, exact=True)
        if not shown.first.is_visible():
            self.page.locator("#ek-tabs > .tab-wrapper .overflow-menu > button").click()
            self.page.locator(".overflow-dropdown button", has_text=name).first.click()
            return
        shown.first.click()

    def saved(self, name: str, folder: Path) -> Path:
        with self.page.expect_download() as coming:
            self.page.click(f"#ek-save-{name}")
        path = folder / coming.value.suggested_filename
        coming.value.save_as(path)
        return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def claim_of_pixels(path: Path, width: int, height: int) -> Path:
    """A PNG whose header claims so many pixels, and which holds none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )
    return path


def hostile_pickle(path: Path, sign: Path) -> Path:
    """A pickle that makes the file ``sign`` where anyone executes it."""
    path.write_bytes(b"cos\nsystem\n(S'touch " + str(sign).encode() + b"'\ntR.")
    return path


@contextmanager
def proxy(port: int, prefix: str) -> Iterator[str]:
    """A proxy that shows the server at ``port`` below ``prefix``, and nothing above it. Gives the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def _pass(self) -> None:
            self.close_connection = True
            if not self.path.startswith(prefix):
                # a browser looks for the icon of the whole site, which is not ours
                self.send_response(204 if self.path == "/favicon.ico" else 404)
                self.send_header("Connection", "close")
                self.end_headers()
                return
            length = int(self.headers.get("Content-Length") or 0)
            given = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            behind = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
            try:
                behind.request(self.command, self.path[len(prefix) :] or "/", self.rfile.read(length), given)
                answer = behind.getresponse()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(name, value)
                self.send_header("Connection", "close")
                self.end_headers()
                while part := answer.read1(65536):
                    self.wfile.write(part)
                    self.wfile.flush()
            except (OSError, http.client.HTTPException):
                pass  # the browser has left
            finally:
                behind.close()

        do_GET = do_POST = do_HEAD = do_OPTIONS = _pass

    front = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=front.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{front.server_port}{prefix}/"
    finally:
        front.shutdown()
        front.server_close()

"""Serving the page: limits, headers, temporary files, and the end of all of it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editkit.errors import OutputError, UsageError
from editkit.page.options import Options

FIRST_PORT, PORTS = 7860, 100
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'"
)
"""What the browser may load: this server and nothing else, whatever a library would like."""


@dataclass(kw_only=True, slots=True)
class Served:
    """A page that is up: its address, its shared state, and ``close``."""

    address: str
    studio: Any
    close: Callable[[], None]


def serve(options: Options, *, on_ready: Callable[[str], object] | None = None) -> None:
    """Serve the page until Ctrl-C, or SIGTERM. ``on_ready`` gets the address once it answers. Raises EditkitError."""
    ended = threading.Event()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda number, frame: ended.set())
    with served(options) as page:
        if on_ready is not None:
            on_ready(page.address)
        try:
            while not ended.wait(0.5):  # not for ever at once: on Windows that would not hear Ctrl-C
                pass
        except KeyboardInterrupt:
            return


@contextmanager
def served(options: Options) -> Iterator[Served]:
    """The page, up within the block; its temporary files are gone after it. One a process at a time.

    Raises:
        OutputError: the port is taken. UsageError: a public address cannot be opened.
    """
    port = _port(options)
    temporary = Path(tempfile.mkdtemp(prefix="editkit-page-"))
    kept = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update({**_ENVIRONMENT, "GRADIO_TEMP_DIR": str(temporary / "served")})
    blocks: Any = None
    try:
        from editkit.page.layout import build
        from editkit.page.studio import Studio
        from editkit.page.theme import CSS, FAVICON, HEAD, theme

        studio = Studio(options, temporary)
        blocks = build(studio)
        blocks.queue(default_concurrency_limit=2, max_size=64)
        from starlette.middleware import Middleware

        from editkit.page.guard import Guard

        guard = Middleware(Guard, policy=POLICY, only_here=options.alone)
        _, address, public = blocks.launch(
            server_name=options.host,
            server_port=port,
            auth=list(options.auth) or None,
            auth_message="Sign in to edit your photos.",
            share=options.share,
            root_path=options.root_path or None,
            prevent_thread_lock=True,
            quiet=True,
            inbrowser=False,
            show_error=False,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
            allowed_paths=[],
            max_file_size=f"{options.max_upload_mb}mb",
            state_session_capacity=128,
            favicon_path=FAVICON,
            theme=theme(),
            css=CSS,
            head=HEAD,
            app_kwargs={"middleware": [guard], "docs_url": None, "redoc_url": None},
        )
        if options.share and not public:
            raise UsageError("Gradio's servers gave no public address; check the network, or leave --share out")
        yield Served(address=public or address, studio=studio, close=blocks.close)
    finally:
        if blocks is not None:
            blocks.close(verbose=False)
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        shutil.rmtree(temporary, ignore_errors=True)


_ENVIRONMENT = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "GRADIO_TEMP_DIR": "",
}


def _port(options: Options) -> int:
    """The port that was asked for, or the first free one. Raises OutputError."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    host = options.host.strip("[]")
    wanted = range(FIRST_PORT, FIRST_PORT + PORTS) if options.port is None else [options.port]
    for port in wanted:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                reason = error.strerror
                continue
            return int(probe.getsockname()[1])
    if options.port is None:
        raise OutputError(f"no free port from {FIRST_PORT} on at {options.host}; name one with --port")
    raise OutputError(
        f"cannot listen on {options.host}, port {options.port}: {reason}; choose another --port or --host"
    )

"""A web server on this machine that misbehaves in one chosen way, for tests of downloads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# A pickle by its first bytes; nothing ever loads it.
PAYLOAD = b"\x80\x04" + bytes(range(256)) * 2000
ETAG = '"first"'


@dataclass
class Plan:
    """What the server does: the body, and how it fails. ``seen`` collects the Range header of each request."""

    body: bytes = PAYLOAD
    etag: str | None = ETAG
    cuts: list[int] = field(default_factory=list)  # bytes after which the next responses end
    statuses: list[int] = field(default_factory=list)  # of the next responses, before all else
    ranges: bool = True
    length: bool = True
    location: str | None = None
    kind: str = "application/octet-stream"
    silent: bool = False  # never answers
    shift: int = 0  # added to where a part begins: a server that lies
    seen: list[str | None] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)  # set: a silent server lets go


@contextmanager
def serve(plan: Plan) -> Iterator[str]:
    """The address of a server that follows ``plan``."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.close_connection = True
            asked = self.headers.get("Range")
            plan.seen.append(asked)
            if plan.silent:
                plan.gate.wait(20)
                return
            if plan.statuses:
                self.send_error(plan.statuses.pop(0))
                return
            if plan.location:
                self.send_response(302)
                self.send_header("Location", plan.location)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            first = 0
            if asked and plan.ranges and self.headers.get("If-Range") == plan.etag:
                first = int(asked.removeprefix("bytes=").rstrip("-"))
                if first >= len(plan.body):
                    self.send_error(416)
                    return
                self.send_response(206)
                shown = first + plan.shift
                self.send_header("Content-Range", f"bytes {shown}-{len(plan.body) - 1}/{len(plan.body)}")
            else:
                self.send_response(200)
            rest = plan.body[first:]
            if plan.etag:
                self.send_header("ETag", plan.etag)
            self.send_header("Content-Type", plan.kind)
            if plan.length:
                self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest[: plan.cuts.pop(0)] if plan.cuts else rest)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/net.pkl"
    finally:
        plan.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()

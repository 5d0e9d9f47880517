"""What stands between the network and Gradio: headers, and two doors that the page does not need."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

# Gradio fetches addresses for its browser (file=http://...), and has a proxy for Spaces: neither is used here.
_CLOSED = re.compile(r"/(?:gradio_api/)?(?:file=\s*https?:|proxy=)", re.IGNORECASE)
_HERE = re.compile(rb"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?", re.IGNORECASE)


class Guard:
    """ASGI middleware: closes doors and adds headers to every answer.

    ``only_here``: answer only requests that name this machine, so that no web page of elsewhere can have its own name
    point here and read what is there (DNS rebinding).
    """

    def __init__(self, app: App, policy: str, *, only_here: bool = False) -> None:
        self.app, self.only_here = app, only_here
        self.headers = [
            (b"content-security-policy", policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"permissions-policy", b"geolocation=(), microphone=(), camera=(self)"),
        ]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        if _CLOSED.search(scope["path"]) or (self.only_here and not _HERE.fullmatch(host)):
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"closed"})
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self.headers]
            await send(message)

        await self.app(scope, receive, answer)

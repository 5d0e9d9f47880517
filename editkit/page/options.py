"""How the page is served: what the command's options say, checked. No heavy import."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from editkit.errors import UsageError

MAX_UPLOAD_MB = 40
MAX_PIXELS = 60_000_000
STEPS = 150
STEPS_VARIABLE = "EDITKIT_PAGE_STEPS"
"""Steps of a search before a visitor changes them; for slow machines and for tests."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What the page is served with.

    Attributes:
        host, port: where it listens; port None takes the first free one from 7860 on, 0 any free one.
        auth: (user, password) pairs; none: nobody is asked.
        share: whether a public address is opened through Gradio's tunnel.
        root_path: where a proxy puts the page, such as "/editkit".
        generator, device: see ``load_generator``.
        library: whether inversions are kept; see ``keeps``.
        max_upload_mb, max_pixels: of one file, and of one picture.
        steps: of a search, unless the visitor says otherwise.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    auth: tuple[tuple[str, str], ...] = ()
    share: bool = False
    root_path: str = ""
    generator: str | None = None
    device: str = "auto"
    library: bool = True
    max_upload_mb: int = MAX_UPLOAD_MB
    max_pixels: int = MAX_PIXELS
    steps: int = STEPS

    def __post_init__(self) -> None:
        if self.port is not None and not 0 <= self.port <= 65535:
            raise UsageError(f"a port is 0 to 65535, got {self.port}")
        if self.root_path and not self.root_path.startswith(("/", "http://", "https://")):
            raise UsageError(f"--root-path begins with / (or is a whole address), got {self.root_path!r}")
        if self.max_upload_mb < 1 or self.max_pixels < 1 or self.steps < 1:
            raise UsageError("the limits of uploads and the number of steps are at least 1")

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def everywhere(self) -> bool:
        """Whether it listens at all of this machine's addresses, none of which it knows (0.0.0.0, ::)."""
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_unspecified
        except ValueError:
            return False

    @property
    def alone(self) -> bool:
        """Whether all visitors are one person: this machine's user, who may load another model for everyone.

        Not behind a proxy (``root_path``): the server listens on loopback there, and the proxy brings anybody.
        """
        return self.on_loopback and not self.share and not self.auth and not self.root_path

    @property
    def keeps(self) -> bool:
        """Whether there is a library: for one person on loopback, for each user who signs in; never with ``share``."""
        return self.library and not self.share and (self.alone or bool(self.auth))


def steps_at_first() -> int:
    """``STEPS``, or what the environment says. Raises UsageError."""
    text = os.environ.get(STEPS_VARIABLE, str(STEPS))
    if not text.isdecimal() or not 1 <= int(text) <= 2000:
        raise UsageError(f"{STEPS_VARIABLE} is a whole number from 1 to 2000, got {text!r}")
    return int(text)


def read_auth(words: Sequence[str] | None) -> tuple[tuple[str, str], ...]:
    """``user:password``, or ``@FILE`` with one a line -> pairs. Raises UsageError."""
    lines: list[str] = []
    for word in words or ():
        if not word.startswith("@"):
            lines.append(word)
            continue
        try:
            found = Path(word[1:]).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--auth {word}: the file cannot be read ({error})") from error
        lines += [line.strip() for line in found if line.strip()]
    pairs = []
    for line in lines:
        user, colon, password = line.partition(":")
        if not (user and colon and password):
            raise UsageError(
                "--auth takes USER:PASSWORD, or @FILE with one of them a line; the colon or a part is missing"
            )
        pairs.append((user, password))
    if len({user for user, _ in pairs}) < len(pairs):
        raise UsageError("--auth names a user twice; give each one password")
    return tuple(pairs)

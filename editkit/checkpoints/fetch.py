"""Fetching one file over HTTP so that a cut connection costs nothing and a wrong file is never kept.

Convention: data go to ``.NAME.part`` beside the target, with ``.NAME.part.json`` saying which version of the file they
belong to; a later attempt or run goes on where the last one ended (RFC 9110, sections 14.2 and 13.1.5: Range with
If-Range). Only a complete, checked file gets the target's name. ``.NAME.lock`` keeps a second download away.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import logging
import os
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from editkit import __version__
from editkit.checkpoints.sniff import describe, is_pickle
from editkit.errors import CheckpointError, OutputError
from editkit.files import ensure_folder
from editkit.locks import locked

log = logging.getLogger(__name__)

CHUNK = 1 << 18
HEAD = 64  # bytes that say what a file is
RETRY_STATUS = {408, 425, 429, 500, 502, 503, 504}
LONGEST_PAUSE = 30.0  # seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What to fetch: an http(s) address, and what is known of the file behind it.

    ``sha256`` is compared in full where given. ``kind`` is what it must be, ``accepts`` judges that by the first 64
    bytes. ``hint`` ends every message of a fetch that failed.
    """

    url: str
    sha256: str | None = None
    kind: str = "a pickle"
    accepts: Callable[[bytes], bool] = is_pickle
    hint: str = ""


class _Cut(Exception):
    """An attempt that failed on the way; the next one may do better."""


def fetch(
    source: Source,
    target: Path,
    *,
    on_progress: Callable[[int, int | None], object] | None = None,
    timeout: float = 30.0,
    retries: int = 5,
    pause: float = 1.0,
) -> Path:
    """Fetch a file to ``target``, or leave one that is there alone; returns ``target``.

    Args:
        on_progress: called with the bytes at hand and their total, None where the server does not say.
        timeout: seconds without any data after which an attempt ends.
        retries: attempts in a row that may fail without coming further than any before.
        pause: seconds before the first new attempt; doubled each time.

    Raises:
        CheckpointError: not found, out of reach, of another kind, or not the file that was asked for; nothing is kept
            of a wrong file, and what came of a right one stays for the next run.
        OutputError: no space or no permission.
    """
    if urlsplit(source.url).scheme not in ("http", "https"):
        raise CheckpointError(f"{source.url} is not an http(s) address; only those are fetched")
    ensure_folder(target.parent)
    with locked(target.with_name(f".{target.name}.lock")):
        if target.is_file() and target.stat().st_size:  # another process was first
            return target
        part = _Part(target)
        failures, furthest = 0, part.size
        while True:
            try:
                total = _attempt(source, part, timeout=timeout, on_progress=on_progress)
                break
            except _Cut as cut:
                failures = 0 if part.size > furthest else failures + 1
                furthest = max(furthest, part.size)
                if failures > retries:
                    raise CheckpointError(_message(source, f"cannot be fetched: {cut}")) from cut
                wait = min(pause * 2 ** max(failures - 1, 0), LONGEST_PAUSE)
                log.info("%s; again in %.0f s, from byte %d", cut, wait, part.size)
                time.sleep(wait)
        _check(source, part, total)
        part.finish()
    return target


def checksum(path: Path) -> str:
    """The sha256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class _Part:
    """The incomplete file, and the note of the version that it belongs to."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(f".{target.name}.part")
        self.note = target.with_name(f".{target.name}.part.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def version(self, url: str) -> str | None:
        """The validator of the version at hand, None where it is unknown or belongs to another address."""
        try:
            known: Any = json.loads(self.note.read_text(encoding="utf-8"))
            version = known["version"] if known["url"] == url else None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return version if isinstance(version, str) else None

    def begin(self, url: str, version: str | None) -> None:
        self.drop()
        if version is not None:
            self.note.write_text(json.dumps({"url": url, "version": version}), encoding="utf-8")

    def drop(self) -> None:
        for path in (self.path, self.note):
            path.unlink(missing_ok=True)

    def finish(self) -> None:
        os.replace(self.path, self.target)
        with suppress(OSError):
            self.note.unlink(missing_ok=True)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http(s) only, and never from https down to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        was, now = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if now not in ("http", "https") or (was == "https" and now == "http"):
            raise CheckpointError(f"{req.full_url} leads to {newurl[:200]}, which is not followed: only https is")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """As urllib's own, without its file, ftp and data handlers."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


def _attempt(
    source: Source, part: _Part, *, timeout: float, on_progress: Callable[[int, int | None], object] | None
) -> int | None:
    """One request, until its end: the total size, where the server said it. Raises _Cut where it may be repeated."""
    headers = {"User-Agent": f"editkit/{__version__}", "Accept-Encoding": "identity"}
    version = part.version(source.url)
    if version is None:
        part.drop()
    if offset := part.size:
        headers |= {"Range": f"bytes={offset}-", "If-Range": str(version)}
    try:
        with _opener().open(urllib.request.Request(source.url, headers=headers), timeout=timeout) as response:
            offset, total = _place(response, source, part)
            _store(response, source, part, offset=offset, total=total, on_progress=on_progress)
            return total
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # what is at hand is not a beginning of the file
            part.drop()
            raise _Cut("the server has no such part of it") from error
        if error.code in RETRY_STATUS:
            raise _Cut(f"the server answered {error.code} {error.reason}") from error
        raise CheckpointError(_message(source, f"the server answered {error.code} {error.reason}")) from error
    except urllib.error.URLError as error:
        reason = f"{urlsplit(source.url).hostname} cannot be reached ({error.reason})"
        if isinstance(error.reason, socket.gaierror | ssl.SSLCertVerificationError):  # no network, or a false one
            raise CheckpointError(_message(source, reason)) from error
        raise _Cut(reason) from error
    except TimeoutError as error:
        raise _Cut(f"no data for {timeout:g} s") from error
    except (http.client.HTTPException, OSError) as error:
        raise _Cut(f"the connection was cut ({type(error).__name__})") from error


def _place(response: Any, source: Source, part: _Part) -> tuple[int, int | None]:
    """(where the body of this response goes, size of the whole file). Begins anew unless the server goes on."""
    length = response.headers.get("Content-Length", "")
    length = int(length) if length.isdecimal() else None
    if response.status == 206:
        unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
        span, _, total = rest.partition("/")
        first = span.partition("-")[0]
        if unit == "bytes" and first == str(part.size) and total.isdecimal():
            return part.size, int(total)
        part.drop()
        raise _Cut("the server sent another part than was asked for")
    etag = response.headers.get("ETag", "")
    version = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")
    try:
        part.begin(source.url, version)
    except OSError as error:
        raise _unwritable(part, error) from error
    return 0, length


def _store(
    response: Any,
    source: Source,
    part: _Part,
    *,
    offset: int,
    total: int | None,
    on_progress: Callable[[int, int | None], object] | None,
) -> None:
    room = shutil.disk_usage(part.target.parent).free
    if total is not None and total - offset > room:
        needed = f"{(total - offset) / 1e6:,.1f} MB are needed, {room / 1e6:,.1f} MB are free"
        raise OutputError(f"cannot write {part.target}: no space left ({needed}); free some or set EDITKIT_HOME")
    at, head = offset, b""
    with _opened(part) as stream:
        while data := response.read1(CHUNK):
            if at < HEAD:
                head += data
                _check_head(source, part, head, total)
            try:
                stream.write(data)
            except OSError as error:
                part.drop()  # a full disk is of no use to anyone
                raise _unwritable(part, error) from error
            at += len(data)
            if on_progress is not None:
                on_progress(at, total)
    if total is not None and at < total:
        raise _Cut(f"the connection was cut after {at:,} of {total:,} bytes")


def _opened(part: _Part) -> Any:
    try:
        return part.path.open("ab", buffering=0)
    except OSError as error:
        raise _unwritable(part, error) from error


def _unwritable(part: _Part, error: OSError) -> OutputError:
    return OutputError(
        f"cannot write {part.target}: {error.strerror or error}; free some space or set EDITKIT_HOME to another folder"
    )


def _check_head(source: Source, part: _Part, head: bytes, total: int | None) -> None:
    """Ends early on a file of another kind: a login page of some proxy is not worth a wait."""
    if len(head) >= 2 and not source.accepts(head[:HEAD]):
        part.drop()
        found = describe(head[:HEAD], total or len(head))
        raise CheckpointError(_message(source, f"it is {found}, not {source.kind}"))


def _check(source: Source, part: _Part, total: int | None) -> None:
    """Drops a file that is not the one asked for."""
    size = part.size
    if size < 2 or (total is not None and size != total):
        part.drop()
        raise CheckpointError(_message(source, f"{size:,} bytes came of {total or 'an unknown number'}"))
    if source.sha256 is None:
        return
    found = checksum(part.path)
    if found != source.sha256.lower():
        part.drop()
        raise CheckpointError(
            _message(source, f"its sha256 is {found}, {source.sha256} is needed; the file is damaged or another one")
        )


def _message(source: Source, problem: str) -> str:
    return f"{source.url}: {problem}. {source.hint}".strip()

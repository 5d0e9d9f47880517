"""What every sub-command of ``editkit`` shares: options, help pages, output.

A command is a module with a light top level (no torch, numpy or PIL there: ``editkit --help`` imports them all) and

    def register(subparsers: argparse._SubParsersAction) -> None:
        parser = add_command(subparsers, "project", "find the latent of a photo", examples=[...])
        parser.add_argument(...)
        parser.set_defaults(run=run)

    def run(args: argparse.Namespace) -> int:
        from projector import project               # heavy imports belong here
        with Output(args) as output:
            output.say("31.2 dB after 200 steps")   # for people
            output.put("psnr", 31.2)                # for programs: one JSON document at the end with --json
        return 0

named in the entry-point group ``editkit.commands`` of pyproject.toml. ``run`` returns 0 (done) or 1 (something failed);
errors are raised as children of ``EditkitError``, which carry their exit code, and ``editkit.cli`` prints them.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

LOGGERS = ("editkit", "projector", "directions", "train")
_SECONDS_IN_A_LOG = 60.0  # between two lines of progress


def add_command(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    summary: str,
    *,
    description: str | None = None,
    examples: Sequence[tuple[str, str]] = (),
) -> argparse.ArgumentParser:
    """Add a sub-command with the common options (``--json``, ``--quiet``, ``--verbose``).

    Args:
        subparsers: what ``register`` was given.
        name: as the user types it; the same as the name of its entry point.
        summary: one line for ``editkit --help``, lower case, no full stop.
        description: what its own help page says above the options; the summary by default.
        examples: (command line, what it does) pairs, shown below the options.
    """
    parser = subparsers.add_parser(
        name,
        help=summary,
        description=description or f"{summary[0].upper()}{summary[1:]}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_examples(parser, examples)
    add_common(parser)
    return parser


def add_action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    summary: str,
    run: Callable[[argparse.Namespace], int],
    *,
    examples: Sequence[tuple[str, str]],
) -> argparse.ArgumentParser:
    """Add an action below a sub-command (``editkit models show``): as ``add_command``, with its ``run``."""
    parser = actions.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", allow_abbrev=False
    )
    add_examples(parser, examples)
    add_common(parser)
    parser.set_defaults(run=run)
    return parser


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options that every command has."""
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    group.add_argument("--quiet", action="store_true", help="print nothing but errors")
    group.add_argument("--verbose", action="store_true", help="log details, and print the traceback of an error")


def add_examples(parser: argparse.ArgumentParser, examples: Sequence[tuple[str, str]]) -> None:
    """Show (command line, what it does) pairs at the end of the help page."""
    if examples:
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.epilog = "examples:\n" + "\n".join(f"  {line}\n      {meaning}" for line, meaning in examples)


class Output:
    """Where a command's results go: text for people, or one JSON document for programs.

    Without ``--json``, ``say`` prints at once; with it, nothing is printed until the ``with`` block ends without an
    error, then everything given to ``put``. With ``--quiet`` neither text nor progress is printed (``--json`` wins).
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.json: bool = getattr(args, "json", False)
        self.quiet: bool = getattr(args, "quiet", False)
        self.document: dict[str, Any] = {}
        self._said: dict[str, float] = {}  # when, of each progress

    @property
    def progress(self) -> bool:
        """Whether a progress bar may be drawn: on a terminal, and nobody asked for quiet or JSON."""
        return not (self.json or self.quiet) and sys.stderr.isatty()

    def say(self, text: str = "") -> None:
        """Print a line for people."""
        if not (self.json or self.quiet):
            print(text, flush=True)

    def counter(self, what: str) -> Callable[[int, int | None], None]:
        """A function of (done, total) that shows progress as "what 3/10": on one line where a bar may be drawn, as a
        line a minute in a log."""
        self._said.setdefault(what, time.monotonic())

        def show(done: int, total: int | None) -> None:
            of = "" if total is None else f"/{total}"
            if self.progress:
                end = "\n" if total is not None and done >= total else ""
                print(f"\r{what} {done}{of}", end=end, file=sys.stderr, flush=True)
            elif not (self.json or self.quiet) and (now := time.monotonic()) - self._said[what] >= _SECONDS_IN_A_LOG:
                self._said[what] = now
                print(f"{what} {done}{of}", file=sys.stderr, flush=True)

        return show

    def put(self, key: str, value: Any) -> None:
        """Keep a value for the JSON document: plain types, paths, dataclass-free mappings, arrays and tensors."""
        self.document[key] = value

    def __enter__(self) -> Output:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self.json:
            print_json(self.document)


def print_json(document: Any) -> None:
    """Print one JSON document: paths as text, arrays as lists, numbers that JSON lacks (NaN, infinity) as null."""
    print(json.dumps(_plain(document), indent=2, ensure_ascii=False, allow_nan=False), flush=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, float):
        return value if value - value == 0 else None  # NaN and infinity differ from themselves when subtracted
    if hasattr(value, "tolist"):  # numpy arrays and scalars, tensors
        return _plain(value.tolist())
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def set_up_logging(args: argparse.Namespace) -> None:
    """Send what our packages log to standard error: errors with ``--quiet``, everything with ``--verbose``."""
    level = logging.INFO
    if getattr(args, "quiet", False):
        level = logging.ERROR
    if getattr(args, "verbose", False):
        level = logging.DEBUG
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.handlers = [handler]

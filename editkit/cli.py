"""The ``editkit`` command.

Sub-commands come from the entry-point group ``editkit.commands`` (see ``editkit.command`` for their contract), so that
no import runs from here to the packages above. A command whose module cannot be imported does not stop the others.

Exit codes: 0 done, 1 something failed, 2 wrong use, 130 interrupted with Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence

from editkit import __version__
from editkit.command import print_json, set_up_logging
from editkit.errors import EditkitError
from editkit.hooks import entry_points, load_target
from editkit.threads import settle_threads

GROUP = "editkit.commands"
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

_EPILOG = """examples:
  editkit project --out out
      align, invert and edit the sample photo
  editkit project me.jpg --out out --seed 1
      the same for a photo of yours
  editkit doctor
      what this machine has: device, weights, memory

"editkit COMMAND --help" shows the options of a command."""


def commands() -> dict[str, str]:
    """Name -> "module:function" of every sub-command, in the order in which help lists them."""
    return entry_points(GROUP)


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser with every sub-command, or with one of them, which saves importing the others.

    Raises:
        EditkitError: the module of the one command asked for cannot be imported. Without ``only``, such a command is
            listed as not available.
    """
    parser = argparse.ArgumentParser(
        prog="editkit",
        description="Align a photo, project it into a generator, edit it, render it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"editkit {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    table = commands()
    for name, target in table.items() if only not in table else [(only, table[only])]:
        try:
            load_target(target)(subparsers)
        except Exception as error:  # whatever a broken command raises, the others must stay usable
            reason = f"{type(error).__name__}: {error}"
            if only in table:
                raise EditkitError(f"the command {name!r} cannot be loaded ({reason}); reinstall editkit") from error
            if name not in subparsers.choices:  # it may have failed after adding its parser
                subparsers.add_parser(name, help=f"not available ({reason})".replace("%", "%%"))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: the arguments after the program's name; those of this process by default.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    args = argparse.Namespace()
    settle_threads()
    try:
        parser = build_parser(only=arguments[0] if arguments else None)
        parser.parse_args(arguments, args)
        if not hasattr(args, "run"):
            parser.print_help(sys.stderr)
            return EXIT_USAGE
        set_up_logging(args)
        code = int(args.run(args))
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # argparse has printed help, the version, or what was wrong
        return stop.code if isinstance(stop.code, int) else EXIT_USAGE
    except KeyboardInterrupt:
        print("editkit: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output is gone (`editkit ... | head`); Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except EditkitError as error:
        return _report(args, error, str(error), error.exit_code)
    except Exception as error:
        hint = "" if getattr(args, "verbose", False) else " (run again with --verbose for the traceback)"
        return _report(args, error, f"{type(error).__name__}: {error}{hint}", EXIT_FAILED)


def _report(args: argparse.Namespace, error: Exception, message: str, code: int) -> int:
    """One line on standard error, the traceback with ``--verbose``, a JSON document with ``--json``."""
    if getattr(args, "verbose", False):
        traceback.print_exception(error)
    print(f"editkit: error: {' '.join(message.split())}", file=sys.stderr)
    if getattr(args, "json", False):
        print_json({"error": {"type": type(error).__name__, "message": str(error)}, "exit_code": code})
    return code

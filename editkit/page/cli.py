"""``editkit app``: the web page."""

from __future__ import annotations

import argparse
import logging
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from editkit.command import Output, add_command
from editkit.option_types import add_generator_options, positive

if TYPE_CHECKING:
    from editkit.page.options import Options

log = logging.getLogger(__name__)


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``editkit app``."""
    parser = add_command(
        subparsers,
        "app",
        "edit photos on a web page",
        description="Serve the web page: edit your own photo, mix, explore, work on many. It listens on this machine "
        "only, works\noffline, and keeps what it found in your user folder. Ctrl-C ends it.",
        examples=[
            ("editkit app", "on this machine; the address is printed"),
            ("editkit app --port 8000 --no-library", "at another port, and nothing is kept"),
            ("editkit app --host 0.0.0.0 --auth me:secret", "for others on the network, who sign in"),
            ("editkit app --root-path /editkit --auth @users.txt", "behind a proxy, at a path; users in a file"),
        ],
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine)")
    parser.add_argument("--port", type=_port, metavar="N", help="port (default: the first free one from 7860; 0: any)")
    parser.add_argument(
        "--auth", action="append", metavar="USER:PASSWORD|@FILE", help="who may come in; may be repeated"
    )
    parser.add_argument(
        "--share", action="store_true", help="open a public address through Gradio's servers (warned of)"
    )
    parser.add_argument("--root-path", default="", metavar="PATH", help="where a proxy puts the page, such as /editkit")
    parser.add_argument("--no-library", action="store_true", help="keep nothing on disk")
    parser.add_argument("--max-upload", type=positive, default=40, metavar="MB", help="of one file (default: 40)")
    add_generator_options(parser, label=False)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    options = options_of(args)
    with Output(args) as output:
        output.say("loading; the address follows, and Ctrl-C ends it")
        from editkit.page.server import serve

        if options.share:
            log.warning(
                "--share: anyone who has the address can use this machine through Gradio's servers, and photos pass "
                "through them" + ("" if options.auth else "; add --auth so that visitors sign in")
            )
        elif not options.on_loopback and not options.auth:
            log.warning(f"anyone who reaches {options.host} can use the page; add --auth so that visitors sign in")
        elif options.root_path and not options.auth:
            log.warning(
                "--root-path: anyone who reaches the proxy can use the page, so nothing is kept and the model stays "
                "as it is; add --auth so that visitors sign in and have a library each"
            )

        def ready(address: str) -> None:
            output.say(f"editkit is at {address}")
            if options.everywhere and not options.share:
                output.say(f"others write this machine's name or address there, perhaps {_from_elsewhere(address)}")
            output.put("address", address)

        serve(options, on_ready=ready)
    return 0


def _from_elsewhere(address: str) -> str:
    """The address with this machine's name in the place of localhost."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=f"{socket.gethostname()}:{parts.port}"))


def options_of(args: argparse.Namespace) -> Options:
    """The command's options, checked. Raises UsageError."""
    from editkit.page.options import Options, read_auth, steps_at_first

    return Options(
        host=args.host,
        port=args.port,
        auth=read_auth(args.auth),
        share=args.share,
        root_path=args.root_path,
        generator=args.generator,
        device=args.device,
        library=not args.no_library,
        max_upload_mb=args.max_upload,
        steps=steps_at_first(),
    )


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, got {text!r}")
    return int(text)

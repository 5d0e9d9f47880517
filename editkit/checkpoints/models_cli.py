"""``editkit models``: the published networks that editkit can read, and downloading them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from editkit.command import Output, add_action, add_command

if TYPE_CHECKING:
    from editkit.checkpoints.catalogue import PublishedNetwork


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``models`` and its actions."""
    parser = add_command(
        subparsers,
        "models",
        "list published networks and download them",
        description="List the published networks that editkit can read, and download them from their authors.\n"
        "Each comes under its authors' terms. Nothing is downloaded unless asked for.",
        examples=[
            ("editkit models", "what there is, and which of it is on this machine"),
            ("editkit models show stylegan3-t-ffhq-1024x1024", "licence, paper, address and place of one"),
            ("editkit models download stylegan3-t-ffhq-1024x1024", "fetch it; a cut download goes on where it ended"),
            ("editkit project me.jpg --out out --generator stylegan3-t-ffhq-1024x1024", "use it by its name"),
        ],
    )
    parser.set_defaults(run=run_list, here=False)  # without an action it lists
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions (default: list)")
    listing = add_action(
        actions,
        "list",
        "list the published networks",
        run_list,
        examples=[("editkit models list --here", "only those on this machine")],
    )
    listing.add_argument("--here", action="store_true", help="only those that are on this machine")
    show = add_action(
        actions,
        "show",
        "show what is known of one network",
        run_show,
        examples=[("editkit models show stylegan3-r-afhqv2-512x512 --json", "as JSON")],
    )
    show.add_argument("name", metavar="NAME", help="as `editkit models list` names it")
    download = add_action(
        actions,
        "download",
        "download networks from their authors",
        run_download,
        examples=[
            ("editkit models download stylegan3-t-ffhqu-256x256", "one of the smaller ones"),
            ("editkit models download stylegan3-t-ffhqu-256x256 --sha256 HEX", "and refuse any other file"),
        ],
    )
    download.add_argument("names", metavar="NAME", nargs="+", help="as `editkit models list` names it")
    download.add_argument("--sha256", metavar="HEX", help="checksum that the file must have; for one NAME")
    download.add_argument("--timeout", type=float, default=30.0, metavar="S", help="without any data (default: 30)")
    path = add_action(
        actions,
        "path",
        "print where a network lies or goes",
        run_path,
        examples=[("editkit models path stylegan3-t-ffhq-1024x1024", "exits 1 where it is not on this machine")],
    )
    path.add_argument("name", metavar="NAME", help="as `editkit models list` names it")


def run_list(args: argparse.Namespace) -> int:
    from editkit.checkpoints.catalogue import cache_folder, published

    with Output(args) as output:
        networks = [network for network in published() if network.at_hand or not args.here]
        width = max((len(network.name) for network in networks), default=0)
        for network in networks:
            mark = "here" if network.at_hand else "    "
            labels = f", {network.classes} classes" if network.classes else ""
            output.say(f"{mark}  {network.name:<{width}}  {network.kind}, {network.domain}{labels}")
        if args.here and not networks:
            output.say("none is on this machine")
        output.say(f"kept in {cache_folder()}; editkit models download NAME fetches one")
        output.put("folder", cache_folder())
        output.put("networks", [_facts(network) for network in networks])
    return 0


def run_show(args: argparse.Namespace) -> int:
    from editkit.checkpoints.catalogue import get

    network = get(args.name)
    with Output(args) as output:
        facts = _facts(network)
        facts["licence"] = facts["licence"] or "not stated"
        facts["sha256"] = facts["sha256"] or "not stated"
        for key, value in facts.items():
            output.say(f"{key:<11} {value}")
        output.put("network", _facts(network))
    return 0


def run_download(args: argparse.Namespace) -> int:
    from editkit.checkpoints.catalogue import get
    from editkit.checkpoints.download import download
    from editkit.checkpoints.fetch import checksum
    from editkit.errors import UsageError

    networks = [get(name) for name in args.names]
    if args.sha256 and len(networks) > 1:
        raise UsageError("--sha256 is the checksum of one file; give one NAME with it")
    if not args.timeout > 0:
        raise UsageError(f"--timeout is in seconds and above 0, got {args.timeout:g}")
    with Output(args) as output:
        found = []
        for network in networks:
            if not network.at_hand:
                output.say(f"{network.name} from {network.url}")
                output.say(f"terms: {network.licence or 'not stated by its authors'}")
            with _Bar(network.name, output) as on_progress:
                path = download(network, sha256=args.sha256, on_progress=on_progress, timeout=args.timeout)
            seen = checksum(path)
            output.say(f"{network.name} is {path} ({path.stat().st_size / 1e6:,.1f} MB), sha256 {seen}")
            found.append({**_facts(network), "found_sha256": seen})
        output.put("networks", found)
    return 0


def run_path(args: argparse.Namespace) -> int:
    from editkit.checkpoints.catalogue import get

    network = get(args.name)
    with Output(args) as output:
        output.say(str(network.path))
        output.put("path", network.path)
        output.put("at_hand", network.at_hand)
    return 0 if network.at_hand else 1


class _Bar:
    """A progress bar where one may be drawn; gives the function to be called with (bytes, total)."""

    def __init__(self, name: str, output: Output) -> None:
        from tqdm import tqdm

        self.bar = tqdm(desc=name, unit="B", unit_scale=True, disable=not output.progress)

    def __enter__(self) -> Callable[[int, int | None], None]:
        return self.update

    def update(self, done: int, total: int | None) -> None:
        self.bar.total = total
        self.bar.update(done - self.bar.n)

    def __exit__(self, *_: object) -> None:
        self.bar.close()


def _facts(network: PublishedNetwork) -> dict[str, Any]:
    names = ("name", "kind", "resolution", "domain", "alignment", "classes", "licence", "paper", "url", "sha256")
    return {
        **{name: getattr(network, name) for name in names},
        "documented": network.documented,
        "path": network.path,
        "at_hand": network.at_hand,
    }

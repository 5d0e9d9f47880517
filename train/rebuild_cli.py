"""``editkit rebuild``: everything that depends on the bundled generator, by one command."""

from __future__ import annotations

import argparse
from pathlib import Path

from editkit.command import Output, add_command
from editkit.option_types import positive


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds ``rebuild``."""
    parser = add_command(
        subparsers,
        "rebuild",
        "rebuild what depends on the bundled generator",
        description="Rebuild the encoder, the directions, the pictures of the documentation, the figures and the card "
        "of the bundled generator. Stopped, the same command goes on: runs/rebuild.json says what is done.",
        examples=[
            (
                "editkit rebuild --data faces128_train.zip --unseen faces128_dev.zip",
                "after editkit/models/faces64.safetensors has changed",
            )
        ],
    )
    parser.add_argument("--data", type=Path, required=True, metavar="ZIP", help="the training faces, with labels.csv")
    parser.add_argument("--unseen", type=Path, required=True, metavar="ZIP", help="faces to invert, never trained on")
    parser.add_argument(
        "--sheets", type=Path, default=Path("docs/images"), metavar="DIR", help="pictures (default: %(default)s)"
    )
    parser.add_argument(
        "--spaces", nargs="+", choices=("w", "w+"), default=["w+"], help="where to invert (default: w+)"
    )
    parser.add_argument("--steps", type=positive, default=200, help="of the inversions (default: %(default)s)")
    parser.add_argument(
        "--encoder-minutes",
        type=float,
        default=60.0,
        metavar="M",
        help="for an encoder, where the bundled one is of another generator; 0 trains none (default: %(default)g)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from train.rebuild import rebuild

    with Output(args) as output:
        rebuild(
            data=args.data,
            unseen=args.unseen,
            sheets=args.sheets,
            spaces=args.spaces,
            steps=args.steps,
            encoder_minutes=args.encoder_minutes,
            on_progress=output.say,
        )
    return 0

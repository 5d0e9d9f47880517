"""``editkit metrics WHAT``: one sub-command for each way of measuring a generator."""

from __future__ import annotations

import argparse

from editkit.command import add_command
from train.metrics import run_cli, sticking_cli


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds ``metrics`` and what it measures."""
    parser = add_command(
        subparsers,
        "metrics",
        "measure how good a generator is",
        examples=[
            ("editkit metrics run --data faces128_train.zip", "distance of its pictures to photos; and much else"),
            ("editkit metrics sticking --picture sticking.png", "whether texture moves with the content"),
        ],
    )
    kinds = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    for module in (run_cli, sticking_cli):
        module.register(kinds)

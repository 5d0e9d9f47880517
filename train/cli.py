"""``editkit train``: a generator for your own pictures; ``editkit train WHAT``: the small networks of the package."""

from __future__ import annotations

import argparse

from editkit.command import add_command
from train import encoder_cli, landmarks_cli, run_cli, scorers_cli, starter_cli


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds ``train`` and what it trains."""
    parser = add_command(
        subparsers,
        "train",
        "train a generator on your own pictures, or the small networks that the package bundles",
        examples=[
            *run_cli.EXAMPLES,
            ("editkit train starter --data faces128_train.zip --minutes 30", "the bundled generator's CPU recipe"),
        ],
    )
    run_cli.add_options(parser)
    kinds = parser.add_subparsers(dest="what", metavar="WHAT", title="instead of a generator (optional)")
    for module in (starter_cli, scorers_cli, landmarks_cli, encoder_cli):
        module.register(kinds)

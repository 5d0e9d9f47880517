"""``editkit train WHAT``: one sub-command for each thing that is trained here."""

from __future__ import annotations

import argparse

from editkit.command import add_command
from train import landmarks_cli, scorers_cli, starter_cli


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds ``train`` and what it trains."""
    parser = add_command(
        subparsers,
        "train",
        "train a generator, or the small networks that the package bundles",
        examples=[
            ("editkit train starter --data faces128_train.zip --minutes 30", "half an hour of the CPU recipe; resumes"),
            ("editkit train scorers --data faces128_train.zip --out features.safetensors", "the perceptual network"),
            ("editkit train landmarks --data faces128_train.zip --out landmarks.safetensors", "the aligner's network"),
        ],
    )
    kinds = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    for module in (starter_cli, scorers_cli, landmarks_cli):
        module.register(kinds)

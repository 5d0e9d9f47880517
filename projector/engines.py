"""``--engine``: who works through a folder, this process or the workers of a Ray cluster."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from editkit.errors import UsageError

if TYPE_CHECKING:
    from projector.folder import Summary
    from projector.folder_entry import Watch
    from projector.job import Job
    from projector.sources import Source


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """``--engine``, ``--workers`` and ``--ray-address``."""
    engine = parser.add_argument_group("engine")
    engine.add_argument(
        "--batch",
        type=_batch,
        default=1,
        metavar="N|auto",
        help="photos of a folder at a time on the device, auto: as many as its memory holds (default: 1)",
    )
    engine.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="of a folder: this process, or workers of a Ray cluster, pip install ray (default: local)",
    )
    engine.add_argument("--workers", type=int, default=2, metavar="N", help="of Ray (default: 2)")
    engine.add_argument("--ray-address", metavar="ADDRESS", help="of a running cluster (default: one on this machine)")


def check_engine(args: argparse.Namespace, *, alone: bool) -> None:
    """Raises UsageError where the options do not go together."""
    if args.engine == "ray" and alone:
        raise UsageError("--engine ray is for a folder; leave it out for one photo")
    if args.engine == "local" and args.ray_address is not None:
        raise UsageError("--ray-address goes with --engine ray")
    if args.engine == "ray" and args.batch != 1:
        raise UsageError("--batch goes with --engine local; a worker of Ray takes one photo at a time")


def run_engine(
    args: argparse.Namespace,
    job: Job,
    make_job: Callable[[], Job],
    sources: Sequence[Source],
    *,
    watch: Watch,
    alone: bool,
) -> Summary:
    """``folder.run`` or ``ray_engine.run``, whose workers call ``make_job``."""
    if args.engine == "ray":
        from projector import ray_engine

        return ray_engine.run(
            make_job,
            sources,
            args.out,
            watch=watch,
            workers=args.workers,
            address=args.ray_address,
            force=args.force,
            retry_failed=args.retry_failed,
        )
    from projector import folder

    options = {"force": args.force, "retry_failed": args.retry_failed, "batch": 1 if alone else args.batch}
    return folder.run(job, sources, args.out, watch=watch, alone=alone, **options)


def _batch(text: str) -> int | str:
    if text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1 on, or auto, got {text!r}")
    return int(text)

"""``editkit dataset``: build a data set to train on, or check one."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from editkit.command import Output, add_action, add_command
from editkit.option_types import positive

if TYPE_CHECKING:
    from train.dataset_report import Survey

_BUILD = (
    ("editkit dataset build photos --out cats.zip --resolution 256", "centre crops, 256 pixels a side"),
    (
        "editkit dataset build photos --out people.zip --resolution 256 --crop face",
        "upright faces; others are left out",
    ),
    (
        "editkit dataset build animals --out animals.zip --resolution 128 --labels folders",
        "a class for each sub-folder",
    ),
    ("editkit dataset build scans --out scans.zip --resolution 512 --channels 1 --labels age.csv", "grey, with labels"),
)
_CHECK = (
    ("editkit dataset check cats.zip", "what training would refuse, and what hurts StyleGAN3"),
    ("editkit dataset check photos --resolution 256 --report photos_report", "with photos_report.html and .json"),
)


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds ``dataset``."""
    parser = add_command(
        subparsers, "dataset", "build or check a data set for training", examples=(_BUILD[0], _CHECK[0])
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    build = add_action(actions, "build", "build a data set as a zip in the official layout", run_build, examples=_BUILD)
    build.add_argument("source", type=Path, metavar="SOURCE", help="a folder, with all below it, or a zip")
    build.add_argument("--out", type=Path, required=True, metavar="ZIP", help="the data set; its report lies beside it")
    build.add_argument(
        "--resolution", type=positive, metavar="PIXELS", help="side of the pictures (default: the one that all have)"
    )
    build.add_argument(
        "--crop",
        choices=("centre", "wide", "face"),
        default="centre",
        help="centre: the largest square; wide: --aspect, between bars of black; face: upright (default: centre)",
    )
    build.add_argument("--aspect", type=_aspect, default=(4, 3), metavar="W:H", help="of wide crops (default: 4:3)")
    build.add_argument(
        "--convention", choices=("faces128", "ffhq"), default="faces128", help="of face crops (default: faces128)"
    )
    build.add_argument(
        "--labels",
        metavar="folders|FILE.csv|FILE.json|none",
        help="classes by sub-folder, or from a file, here or in SOURCE (default: SOURCE's dataset.json, if any)",
    )
    build.add_argument("--label-column", metavar="NAME", help="the column of the CSV that holds the class")
    build.add_argument("--channels", type=int, choices=(1, 3, 4), default=3, help="grey, RGB or RGBA (default: 3)")
    build.add_argument("--format", choices=("png", "webp"), default="png", help="both keep every pixel (default: png)")
    build.add_argument(
        "--min-side", type=positive, default=0, metavar="PIXELS", help="leave out what is smaller before resizing"
    )
    build.add_argument("--force", action="store_true", help="replace the data set if it exists")
    check = add_action(actions, "check", "check a folder or zip as training would read it", run_check, examples=_CHECK)
    check.add_argument("source", type=Path, metavar="DATA", help="a folder or zip")
    check.add_argument("--resolution", type=positive, metavar="PIXELS", help="as training would be given")
    check.add_argument("--report", type=Path, metavar="NAME", help="write NAME.json and NAME.html")
    for action in (build, check):
        action.add_argument(
            "--near",
            type=_bits,
            default=10,
            metavar="BITS",
            help="bits of 256 by which near duplicates differ at most; 0: only equal pixels count (default: 10)",
        )
        action.add_argument("--workers", type=positive, metavar="N", help="threads (default: one a core)")


def run_build(args: argparse.Namespace) -> int:
    from train.dataset_build import build_dataset
    from train.dataset_pixels import Crop
    from train.dataset_report import write_report

    with Output(args) as output:
        survey = build_dataset(
            args.source,
            args.out,
            crop=Crop(kind=args.crop, resolution=args.resolution, aspect=args.aspect, convention=args.convention),
            channels=args.channels,
            labels=args.labels,
            label_column=args.label_column,
            kind=args.format,
            near=args.near,
            min_side=args.min_side,
            workers=args.workers,
            force=args.force,
            on_progress=_progress(output, "pictures"),
        )
        _, page = write_report(survey, args.out.with_name(f"{args.out.stem}.report"))
        output.say(f"{args.out}: {len(survey.entries)} of {survey.total} pictures, {survey.side} x {survey.side}")
        _tell(survey, output)
        output.say(f"report: {page}")
        output.put("report", page)
    return 0


def run_check(args: argparse.Namespace) -> int:
    from train.dataset_build import check_dataset
    from train.dataset_report import write_report

    with Output(args) as output:
        survey = check_dataset(
            args.source,
            resolution=args.resolution,
            near=args.near,
            workers=args.workers,
            on_progress=_progress(output, "pictures"),
        )
        output.say(f"{args.source}: {len(survey.entries)} of {survey.total} pictures can be read")
        _tell(survey, output)
        if args.report is not None:
            _, page = write_report(survey, args.report)
            output.say(f"report: {page}")
    return 1 if survey.problems else 0


def _tell(survey: Survey, output: Output) -> None:
    """Says what was found, and puts it into the JSON document."""
    from train.dataset_labels import printable

    for key, value in survey.to_dict().items():
        output.put(key, value)
    left_out = [f"{len(pairs)} {reason}" for reason, pairs in survey.skipped.items() if pairs]
    if left_out:
        built = survey.out is not None
        keep = " (--near 0 keeps near duplicates)" if built and survey.skipped["near duplicate"] else ""
        output.say(f"{'left out' if built else 'found'}: {', '.join(left_out)}{keep}")
    if survey.classes:
        output.say(f"classes: {len(survey.classes)}, of {min(survey.classes.values())} to "
                   f"{max(survey.classes.values())} pictures")  # fmt: skip
    for finding in survey.warnings:
        output.say(f"warning: {finding.code}: {finding.text}")
        output.say(f"    {finding.advice}")
    for problem in survey.problems:
        output.say(f"problem: {printable(problem)}")


def _progress(output: Output, what: str) -> Callable[[int, int], None]:
    """Shows "pictures 120/4000, 1:05 to go" on one line of a terminal, four times a second."""
    began, shown = time.monotonic(), 0.0

    def show(done: int, total: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if not output.progress or (now - shown < 0.25 and done < total):
            return
        shown = now
        left = round((now - began) * (total - done) / done)
        end = "\n" if done >= total else ""
        text = f"{what} {done}/{total}, {left // 60}:{left % 60:02d} to go"
        print(f"\r{text:<60}", end=end, file=sys.stderr, flush=True)

    return show


def _aspect(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,3}):(\d{1,3})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected an aspect such as 4:3, got {text!r}")
    return int(match[1]), int(match[2])


def _bits(text: str) -> int:
    if not re.fullmatch(r"\d{1,2}", text) or int(text) > 32:
        raise argparse.ArgumentTypeError(f"expected 0 to 32 bits, got {text!r}")
    return int(text)

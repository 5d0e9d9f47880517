"""``editkit project``: a photo, or a folder of them, aligned, inverted and edited."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from editkit.alignment_cli import parse_box
from editkit.command import Output, add_command
from editkit.edit_options import FIRST, add_edit_options, add_paste_option, asked_recipe, first_of
from editkit.errors import UsageError
from projector.engines import add_engine_options, check_engine, run_engine
from projector.search_options import add_search_options, search_options

if TYPE_CHECKING:
    from editkit.edits import Recipe
    from editkit.generator import Generator
    from editkit.labels import Classes
    from projector.folder import Summary
    from projector.job import Job
    from projector.methods import Method
    from projector.result import Step
    from projector.sources import Source

log = logging.getLogger(__name__)

INTERRUPTED = 130
DEFAULT_STRENGTH = 0.35
"""Of the range of a direction, which holds for samples of the generator: the code of a photo falls apart sooner."""
LOG_EVERY = 50
"""Steps from one line of --verbose to the next."""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = add_command(
        subparsers,
        "project",
        "align a photo, find its latent, edit it, render it",
        description="Align a photo, find the latent that renders it, edit that, and render the result. For each photo "
        "--out gets a\nfolder with aligned.png, inverted.png, edited.png, compare.png, pasted.png, latent.safetensors "
        "and report.json;\nabove them report.html, a page to look at, and manifest.sqlite: the same command again goes "
        "on where it ended.",
        examples=[
            ("editkit project --out out", "the sample photo, with an edit as an example"),
            (
                "editkit project me.jpg --out out --edit brightness=+1 --edit mouth_light=-0.5",
                "a photo of yours, two edits",
            ),
            ("editkit project holiday --out out --budget 60s", "every photo in a folder, a minute each"),
            (
                "editkit project me.jpg --out out --method pivotal",
                "closest: tunes a copy of the generator's weights too",
            ),
            ("editkit project cat.jpg --out out --align centre --edit none", "no face needed, no edit"),
            (
                "editkit project group.jpg --out out --face all",
                "every face of a photo, and one picture with all of them",
            ),
            ("editkit project me.jpg --out out --recipe postcard.json --json", "a saved recipe; results as JSON"),
        ],
    )
    parser.add_argument(
        "photo", nargs="?", type=Path, metavar="PHOTO|DIR", help="a photo or a folder; the sample photo by default"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="output folder, made if missing")
    add_edit_options(parser, default=f"{FIRST[0]} where it is at hand, at {DEFAULT_STRENGTH:g} of its range")
    add_search_options(parser)
    crop = parser.add_argument_group("crop")
    crop.add_argument(
        "--align",
        choices=("faces128", "ffhq", "centre"),
        help="how photos are cropped; centre needs no face (default: what the generator expects)",
    )
    crop.add_argument("--box", type=parse_box, metavar="X,Y,W,H", help="where the face, or with centre the square, is")
    crop.add_argument(
        "--face",
        type=_face,
        default=0,
        metavar="N|all",
        help="which face, 0 being the largest, or every one: NAME, NAME-face2, ... and pasted_all.png (default: 0)",
    )
    add_paste_option(parser)
    parser.add_argument("--no-metadata", action="store_true", help="write no note and no recipe into the pictures")
    add_engine_options(parser)
    parser.add_argument("--force", action="store_true", help="work also on photos that are done")
    parser.add_argument("--retry-failed", action="store_true", help="of a folder, try again what failed before")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from editkit.decoding import is_folder
    from projector.sources import sources_of

    alone = args.photo is None or not is_folder(args.photo)
    if args.box is not None and not alone:
        raise UsageError("--box is of one photo; it does not go with a folder")
    if args.face == "all" and (args.box is not None or args.align == "centre"):
        raise UsageError("--face all looks for faces; it does not go with --box or --align centre")
    check_engine(args, alone=alone)
    sources = sources_of(args.photo, out=args.out)
    with Output(args) as output:
        job = job_of(args)
        spec = job.generator.spec
        output.say(f"{spec.name}, {spec.resolution} px, on {job.generator.device}; edit: {job.edits()}")
        if job.note:
            output.say(job.note)
        watch = _Screen(output, job)
        summary = run_engine(args, job, partial(job_of, args), sources, watch=watch, alone=alone)
        output.put("generator", {"id": spec.id, "name": spec.name})
        output.put("perceptual", {"name": job.perceptual.name, "unit": job.perceptual.unit})
        output.put("edits", job.edits())
        output.put("photos", summary.photos)
        for key in ("failed", "interrupted", "page"):
            output.put(key, getattr(summary, key))
        _say_end(output, summary, len(sources), alone=alone)
    return INTERRUPTED if summary.interrupted else 1 if summary.failed else 0


def job_of(args: argparse.Namespace, method: Method | None = None) -> Job:
    """Generator, recipe and the rest, as the options name them; so is the method, if none is given.

    Raises EditkitError.
    """
    from editkit.generator import load_generator
    from editkit.perceptual import best_available
    from projector.job import Job
    from projector.methods import method_named
    from projector.placement import Placement
    from projector.search import check_rgb

    generator = load_generator(args.generator, device=args.device)
    check_rgb(generator)
    if args.placement:
        Placement().check(generator)
    classes = _class(args, generator)
    if method is None:
        method = method_named(args.method, generator, classes=classes, **search_options(args))
    recipe, note = recipe_of(args, generator)
    return Job(
        generator=generator,
        method=method,
        perceptual=best_available(generator.device),
        recipe=recipe,
        classes=classes,
        seed=args.seed,
        convention=args.align or ("centre" if args.placement else None),
        box=args.box,
        face=args.face,
        paste=args.paste,
        metadata=not args.no_metadata,
        note=note,
    )


def recipe_of(args: argparse.Namespace, G: Generator) -> tuple[Recipe, str | None]:
    """The edits that the options ask for, looked up, and a word on how they were chosen where nobody asked.

    Raises:
        UsageError: an unknown direction, or "none" beside others.
        RecipeError, GeneratorMismatchError: of a recipe's file.
    """
    from editkit.edits import Edit, Recipe
    from editkit.hooks import hook

    asked = asked_recipe(args, G)
    if asked is not None:
        return asked, None
    name = first_of(hook("offered_directions")(G)) or first_of(hook("direction_names")(G))
    if name is None:
        note = f"no directions are at hand for {G.spec.name}: the edited picture is the inverted one"
        return Recipe(name="none", edits=()), note
    direction = hook("directions")(G, name)
    end = max(direction.strength, key=abs) if direction.strength[1] == 0 else direction.strength[1]
    found = Recipe(name=name, edits=(Edit(direction, round(DEFAULT_STRENGTH * end, 3) or 1.0),))
    return found, f"no --edit was given: {name}, at {DEFAULT_STRENGTH:g} of its range"


def _class(args: argparse.Namespace, G: Generator) -> Classes | None:
    """The class asked for, checked before any photo is worked on. Raises UsageError."""
    from editkit.labels import label_tensor

    if args.label is not None:
        label_tensor(G.spec, args.label, count=1)
    return args.label


class _Screen:
    """Tells a person what happens: a bar while a search runs, lines when a photo is done."""

    def __init__(self, output: Output, job: Job) -> None:
        self.output, self.job = output, job
        self.bar: Any = None
        self.chosen: str | None = None
        self.place, self.left = "", 0
        self.worked: list[float] = []

    def begin(self, source: Source, index: int, total: int) -> None:
        self.left = total - index - 1
        self.place = f"{source.name} ({index + 1} of {total})" if total > 1 else source.name
        if self.output.progress:
            from tqdm import tqdm

            # In thousandths: with a budget, time moves the bar as well as steps.
            self.bar = tqdm(
                total=1000, desc=self.place, leave=False, bar_format="{desc}: {percentage:3.0f}%|{bar}| {postfix}"
            )

    def step(self, step: Step) -> None:
        if step.index % LOG_EVERY == 0:
            log.debug("%s: step %d, %s", self.place, step.index + 1, step.losses)
        if self.bar is not None:
            self.bar.set_postfix_str(f"step {step.index + 1}, loss {step.losses['loss']:.3f}", refresh=False)
            self.bar.update(round(1000 * step.progress) - self.bar.n)

    def end(self, source: Source, entry: dict[str, Any]) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        if entry["status"] == "failed":
            before = "failed before, --retry-failed tries again: " if entry["skipped"] else ""
            log.error("%s: %s%s", self.place, before, entry["error"])
            return
        metrics = "PSNR {psnr} dB, SSIM {ssim}, {name} {perceptual}".format(
            name=self.job.perceptual.name,
            **{key: "–" if value is None else f"{value:.3g}" for key, value in entry["metrics"].items()},
        )
        if entry["skipped"]:
            self.output.say(f"{self.place}: done before with these settings ({metrics}); --force does it again")
            return
        self.worked.append(entry["seconds"])
        self.output.say(f"{self.place}: {metrics}, in {entry['seconds']:.1f} s{time_left(self.worked, self.left)}")
        if entry.get("chosen") not in (None, self.chosen):
            self.chosen = entry["chosen"]
            self.output.say(f"  auto: {self.chosen}")
        self.output.say(f"  {entry['stop']}: {entry['advice']}")
        self.output.say(f"  {entry['folder'] / 'compare.png'}")


def time_left(worked: Sequence[float], photos: int) -> str:
    """How long ``photos`` more take at the pace of the last ten, for people; nothing where none is left.

    The pace is their median: the first photo, for which code is compiled, would say many times too much.
    """
    if not photos:
        return ""
    seconds = photos * median(worked[-10:])
    return f"; about {seconds:.0f} s left" if seconds < 120 else f"; about {seconds / 60:.0f} min left"


def _say_end(output: Output, summary: Summary, total: int, *, alone: bool) -> None:
    done, total = len(summary.photos) - summary.failed, max(total, len(summary.photos))
    if summary.interrupted:
        log.error("interrupted; the same command goes on from here")
    if not alone:
        output.say(f"{done} of {total} photos done" + (f", {summary.failed} failed" if summary.failed else ""))
    output.say(f"{summary.page}")


def _face(text: str) -> int | str:
    if text == "all":
        return text
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected an index from 0 on, 0 being the largest, or all, got {text!r}")
    return int(text)

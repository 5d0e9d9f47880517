"""``editkit drag``: pull points of a generated picture to where they should be."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from editkit.command import Output, add_command
from editkit.errors import UsageError
from editkit.option_types import accept_negative_values, add_generator_options, number_pair, positive, positive_number

if TYPE_CHECKING:
    from torch import Tensor

    from projector.drag_result import DragStep

PICTURE, LATENT, ANIMATION = "dragged.png", "latent.safetensors", "drag.gif"


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``editkit drag``."""
    parser = add_command(
        subparsers,
        "drag",
        "pull points of a picture to where they should be",
        description="Pull points of the picture of a latent in W or W+ to where they should be. Points are X,Y in\n"
        "pixels of the generator's aligned picture, from its top-left corner; a placement is kept and not drawn.\n"
        f"--out gets {PICTURE}, {LATENT} and {ANIMATION}, and tuning.safetensors where one lies beside the latent.\n"
        "Exit code 1: a handle did not arrive; the nearest that was found is written all the same.",
        examples=[
            ("editkit drag out/astronaut --from 32,40 --to 32,44 --out pulled", "one point, four pixels down"),
            ("editkit drag me.safetensors --from 20,30 --to 18,30 --from 44,30 --to 46,30 --out wide", "two points"),
            ("editkit drag out/me --from 32,45 --to 32,48 --mask mouth.png --out mouth", "the rest is held"),
        ],
    )
    accept_negative_values(parser)
    parser.add_argument(
        "latent", type=Path, metavar="LATENT", help="a latent.safetensors, or a folder that editkit project wrote"
    )
    parser.add_argument(
        "--from", dest="handles", action="append", required=True, type=number_pair, metavar="X,Y", help="a handle"
    )
    parser.add_argument(
        "--to", dest="targets", action="append", required=True, type=number_pair, metavar="X,Y", help="its target"
    )
    parser.add_argument(
        "--mask", type=Path, metavar="PNG", help="of the picture's size: white may change, black is held"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="a folder for the results")
    parser.add_argument("--steps", type=positive, metavar="N", help="at most")
    parser.add_argument(
        "--lr", type=positive_number, metavar="RATE", help="of a step, in standard deviations of W (0.1)"
    )
    parser.add_argument("--sample", type=int, metavar="N", help="which code, from 0 on, where the file holds several")
    add_generator_options(parser, label=False)
    parser.add_argument("--no-metadata", action="store_true", help="write no note into the pictures")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from editkit import weight_delta
    from editkit.edit_cli import latent_path, one_of, tuning_beside
    from editkit.files import ensure_folder
    from editkit.generator import load_generator
    from editkit.photo import write_image
    from editkit.rendering import render
    from editkit.video import write_video
    from projector.dragging import Drag, drag

    if len(args.handles) != len(args.targets):
        raise UsageError(f"every --from needs its --to, got {len(args.handles)} and {len(args.targets)}")
    path = latent_path(args.latent)
    held = one_of(path, args.sample)
    G = load_generator(args.generator, device=args.device)
    tuning = tuning_beside(path)
    G = G if tuning is None else tuning.added_to(G)
    given = {name: getattr(args, name) for name in ("steps", "lr") if getattr(args, name) is not None}
    mask = None if args.mask is None else read_mask(args.mask)
    folder = ensure_folder(args.out)
    steps: list[DragStep] = []
    with Output(args) as output:
        show = output.counter("step")

        def on_step(step: DragStep) -> None:
            steps.append(step)
            show(step.index + 1, step.total)

        points = list(zip(args.handles, args.targets, strict=True))
        result = drag(G, held.latent, points, mask=mask, options=Drag(**given), on_step=on_step)
        shown = [held.latent, *(step.latent for step in steps[: result.best_step])]
        frames = [render(G, one)[0].clamp(-1, 1) for one in shown]
        note = not args.no_metadata
        write_image(folder / PICTURE, result.image.clamp(-1, 1), note=note)
        result.latent.save(folder / LATENT, transform=held.transform, alignment=held.alignment)
        if tuning is not None:
            tuning.save(folder / weight_delta.NAME)
        write_video(folder / ANIMATION, frames, fps=20, size=max(256, G.spec.resolution), note=note)
        for (handle, target), arrived, left in zip(points, result.reached, result.distances, strict=True):
            said = "arrived" if arrived else f"NOT arrived, {left:.1f} px left"
            output.say(f"{handle[0]:g},{handle[1]:g} -> {target[0]:g},{target[1]:g}: {said}")
        output.say(f"{folder}: {result.steps} steps; {result.stop.advice}")
        written = [PICTURE, LATENT, ANIMATION, *([] if tuning is None else [weight_delta.NAME])]
        output.put("files", [folder / name for name in written])
        output.put("reached", result.reached)
        output.put("distances", result.distances)
        output.put("positions", result.positions)
        output.put("stop", result.stop.value)
        output.put("steps", result.steps)
    return 0 if all(result.reached) else 1


def read_mask(path: Path) -> Tensor:
    """[H, W] in 0 to 1 from a picture's brightness. Raises PhotoError."""
    from editkit.photo import read_photo

    return (read_photo(path).image[0].mean(0) + 1) / 2

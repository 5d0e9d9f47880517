"""``editkit video``: a path through codes, as a video."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editkit.command import Output, add_command
from editkit.errors import UsageError
from editkit.option_types import (
    accept_negative_values,
    add_generator_options,
    finite,
    number_list,
    number_pair,
    positive,
    positive_number,
)

if TYPE_CHECKING:
    from torch import Tensor

    from editkit.generator import Generator
    from editkit.latent import Latent
    from editkit.transform import Transform

log = logging.getLogger(__name__)

EASES = ("linear", "in", "out", "in-out")
DEFAULT_SECONDS = 4.0


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``editkit video``."""
    parser = add_command(
        subparsers,
        "video",
        "make a video that leads from code to code",
        description="Make a video that leads through keyframes: seeds, or latents that `editkit project` or `editkit "
        "generate`\nkept. The kind of --out is chosen by its suffix: .mp4, .gif, .webp, or a folder of PNGs. After "
        "Ctrl-C the file holds\nthe frames there were.",
        examples=[
            ("editkit video --seeds 0-3 --loop --out faces.mp4", "four faces and back to the first, without a break"),
            ("editkit video out/a/latent.safetensors out/b/latent.safetensors --out change.mp4", "photo to photo"),
            ("editkit video --seeds 5 --move circle=0.1 --loop --size 256 --out round.gif", "one face, moving round"),
            ("editkit video --seeds 0-5 --spline --seconds 10 --fps 30 --out walk.mp4", "one smooth curve"),
            ("editkit video --seeds 1,2 --space z --ease in-out --turn 360 --out turn.webp", "through Z, turning once"),
        ],
    )
    accept_negative_values(parser)
    parser.add_argument("latents", nargs="*", type=Path, metavar="LATENT", help="keyframes: latents in .safetensors")
    parser.add_argument("--seeds", type=number_list, metavar="SEEDS", help="keyframes: seeds, such as 0-3,8")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FILE", help=".mp4, .gif, .webp, or a folder; its folder is made"
    )
    add_generator_options(parser)
    parser.add_argument("--batch", type=positive, default=8, metavar="N", help="frames at a time (default: 8)")
    time = parser.add_argument_group("time")
    length = time.add_mutually_exclusive_group()
    length.add_argument("--frames", type=positive, metavar="N", help="how many")
    length.add_argument(
        "--seconds", type=positive_number, metavar="S", help=f"how long, instead (default: {DEFAULT_SECONDS:g})"
    )
    time.add_argument("--fps", type=positive_number, default=24.0, help="frames a second (default: 24)")
    time.add_argument("--ease", choices=EASES, default="linear", help="speed between keyframes (default: linear)")
    time.add_argument("--loop", action="store_true", help="go on to the first keyframe, so that it repeats smoothly")
    path = parser.add_argument_group("path")
    path.add_argument(
        "--space", choices=("z", "w"), help="where seeds are joined: w by straight lines, z by arcs (default: w)"
    )
    path.add_argument("--spline", action="store_true", help="along one smooth curve, instead of from each to the next")
    path.add_argument("--psi", type=finite, default=1.0, help="truncation of seeds: 1 is none, 0 the mean (default: 1)")
    path.add_argument("--cutoff", type=int, metavar="N", help="truncate only the first N rows of w (default: all)")
    motion = parser.add_argument_group("movement of the whole picture, with one keyframe or many")
    motion.add_argument(
        "--move", type=_move, metavar="circle=R|X,Y", help="round a circle of this radius, or along; in image widths"
    )
    motion.add_argument(
        "--turn",
        type=finite,
        default=0.0,
        metavar="DEGREES",
        help="counter-clockwise, in all; for StyleGAN3-R",
    )
    motion.add_argument("--zoom", type=positive_number, default=1.0, metavar="FACTOR", help="grow by this, in all")
    files = parser.add_argument_group("file")
    files.add_argument("--size", type=positive, metavar="PIXELS", help="enlarge to this side (default: as rendered)")
    files.add_argument("--no-metadata", action="store_true", help="write no note and no settings into the file")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from editkit.easing import EASINGS
    from editkit.files import ensure_folder
    from editkit.generator import load_generator
    from editkit.motion import Motion
    from editkit.paths import Spline
    from editkit.rendered_path import render_path
    from editkit.video import FramesKept, write_video

    if bool(args.seeds) == bool(args.latents):
        raise UsageError("a video needs keyframes: give latents, or --seeds, and not both")
    G = load_generator(args.generator, device=args.device)
    frames = args.frames or max(1, round((args.seconds or DEFAULT_SECONDS) * args.fps))
    codes, transforms, label = _of_seeds(args, G) if args.seeds else _of_files(args, G)
    circle, shift = args.move or (0.0, (0.0, 0.0))
    path = render_path(
        G,
        codes,
        frames=frames,
        transforms=transforms,
        curve=Spline() if args.spline else None,
        easing=EASINGS[args.ease],
        loop=args.loop,
        motion=Motion(circle=circle, shift=shift, turn=args.turn, zoom=args.zoom),
        label=label,
        truncation_psi=args.psi,
        truncation_cutoff=args.cutoff,
        batch=args.batch,
    )
    with Output(args) as output:
        note = not args.no_metadata
        ensure_folder(args.out.parent)
        try:
            video = write_video(
                args.out,
                path,
                fps=args.fps,
                size=args.size,
                metadata={"path": json.dumps(_settings(args, G))} if note else None,
                note=note,
                on_progress=output.counter("frame"),
            )
        except FramesKept as kept:
            log.error("%s", kept)
            raise
        for key in ("frames", "fps", "width", "height", "seconds"):
            output.put(key, getattr(video, key))
        output.put("generator", {"id": G.spec.id, "name": G.spec.name})
        output.put("file", video.path)
        output.say(
            f"{video.path}: {video.frames} frames, {video.width} x {video.height}, {video.seconds:.1f} s at "
            f"{video.fps:g} a second"
        )
    return 0


def _of_seeds(args: argparse.Namespace, G: Generator) -> tuple[Latent, None, Tensor | None]:
    from editkit.labels import labels_for_seeds
    from editkit.sampling import sample_w, sample_z

    if args.space == "z":
        return sample_z(G, args.seeds), None, labels_for_seeds(G.spec, args.seeds, args.label)
    options: dict[str, Any] = {"truncation_psi": args.psi, "truncation_cutoff": args.cutoff}
    return sample_w(G, args.seeds, classes=args.label, **options), None, None


def _of_files(args: argparse.Namespace, G: Generator) -> tuple[Latent, list[Transform | None] | None, Tensor | None]:
    """Every sample of every file is a keyframe, placed as its file says.

    In z of a conditional generator a keyframe without a class draws one, as the seed of its number does.
    """
    from editkit.labels import labels_for_seeds
    from editkit.latent import concatenate
    from editkit.latent_file import read_latent

    found = [read_latent(path) for path in args.latents]
    codes = concatenate(one.latent for one in found)
    if args.space not in (None, codes.space[0]):
        raise UsageError(f"these latents are in {codes.space}; leave --space {args.space} out")
    if codes.space != "z" and (args.label is not None or args.psi != 1 or args.cutoff is not None):
        raise UsageError(f"--class, --psi and --cutoff are of seeds, not of latents in {codes.space}")
    placed: list[Transform | None] = []
    for one in found:
        moves = None if one.transform is None else one.transform.expand(len(one.latent))
        placed += [None if moves is None else moves[index] for index in range(len(one.latent))]
    label = labels_for_seeds(G.spec, range(len(codes)), args.label) if codes.space == "z" else None
    return codes, None if all(one is None for one in placed) else placed, label


def _settings(args: argparse.Namespace, G: Generator) -> dict[str, Any]:
    """What the video was made from, for its metadata: no paths, only file names."""
    names = ("seeds", "label", "frames", "seconds", "fps", "ease", "loop", "space", "spline", "psi", "cutoff", "move")
    told = {name: getattr(args, name) for name in (*names, "turn", "zoom")}
    return {"generator": G.spec.id, "latents": [path.name for path in args.latents], **told}


def _move(text: str) -> tuple[float, tuple[float, float]]:
    """``circle=0.1`` -> (0.1, (0, 0)); ``0.1,-0.2`` -> (0, (0.1, -0.2))."""
    kind, equals, radius = text.partition("=")
    if equals and kind == "circle":
        return finite(radius), (0.0, 0.0)
    if equals:
        raise argparse.ArgumentTypeError(f"expected circle=R, such as circle=0.1, or X,Y, got {text!r}")
    return 0.0, number_pair(text)

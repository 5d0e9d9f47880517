"""``editkit project-video``: a video, its face followed, inverted, edited and pasted back."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from editkit.command import Output, add_command
from editkit.edit_options import add_edit_options, add_paste_option
from editkit.option_types import add_class_option, add_generator_options

log = logging.getLogger(__name__)


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = add_command(
        subparsers,
        "project-video",
        "edit the face in a video, frame by frame and smoothly",
        description="Follow a face through a video, find latents that change smoothly from frame to frame, edit them, "
        "and paste\nthe result back. --out gets edited.mp4 (with the sound of the video), report.json and a latent a "
        "frame:\nthe same command again goes on where it ended.",
        examples=[
            ("editkit project-video me.mp4 --out out/me --edit brightness=+1", "an edit of the whole video"),
            (
                "editkit project-video me.mp4 --out out/me --edit mouth_light=0.5 --steps 60 --smooth 3",
                "closer, and calmer",
            ),
            ("editkit project-video cat.mp4 --out out/cat --align centre --edit none --paste replace", "what it finds"),
        ],
    )
    parser.add_argument("video", type=Path, metavar="CLIP", help="an mp4, mov, webm or whatever else ffmpeg reads")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="output folder, made if missing")
    add_edit_options(parser, default="as of editkit project")
    search = parser.add_argument_group("search")
    search.add_argument("--steps", type=int, default=30, metavar="N", help="of the search in each frame (default: 30)")
    search.add_argument(
        "--base-steps", type=int, default=150, metavar="N", help="of the search for what all share (default: 150)"
    )
    search.add_argument(
        "--smooth",
        type=float,
        default=2.0,
        metavar="FRAMES",
        help="how far latents and places are smoothed over time, 0 for not at all (default: 2)",
    )
    add_generator_options(search, label=False)
    add_class_option(search, default="the search starts from all of them")
    parser.add_argument("--align", choices=("faces128", "ffhq", "centre"), help="how frames are cropped")
    parser.add_argument("--face", type=int, default=0, metavar="N", help="which face of the first frame (default: 0)")
    add_paste_option(parser)
    parser.add_argument("--no-sound", action="store_true", help="leave the sound of the video out")
    parser.add_argument("--no-metadata", action="store_true", help="write no note and no recipe into the video")
    parser.add_argument("--force", action="store_true", help="do everything again")
    parser.set_defaults(run=run, method="auto", seed=0, budget=None, box=None, placement=False)


def run(args: argparse.Namespace) -> int:
    from editkit.errors import UsageError
    from editkit.video_reader import video_facts
    from projector.cli import job_of
    from projector.clip import VIDEO, project_video
    from projector.clip_search import FrameByFrame
    from projector.optimise import Optimise

    if args.face < 0:
        raise UsageError(f"--face is an index from 0 on, 0 being the largest, got {args.face}")
    method = FrameByFrame(steps=args.steps, base_steps=args.base_steps, sigma=args.smooth)
    video_facts(args.video)  # refused before a network is loaded
    with Output(args) as output:
        job = job_of(args, Optimise())
        output.say(f"{job.generator.spec.name}, {job.generator.spec.resolution} px; edit: {job.edits()}")
        report = project_video(
            job,
            args.video,
            args.out,
            method=method,
            sound=not args.no_sound,
            force=args.force,
            on_progress=lambda stage, done, total: output.counter(stage)(done, total or None),
        )
        if report["skipped"]:
            output.say("done before with these settings; --force does it again")
        output.say(
            f"{report['frames']} frames at {report['fps']:g} a second, PSNR {report['metrics']['psnr_mean']:.1f} dB, "
            f"flicker {report['flicker']:.2f} of 255, in {report['seconds']:.0f} s"
        )
        output.say(f"{args.out / VIDEO}")
        for key, value in report.items():
            output.put(key, value)
        output.put("path", args.out / VIDEO)
    return 0

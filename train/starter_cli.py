"""``editkit train starter``: the compact generator of the package, by the CPU recipe."""

from __future__ import annotations

import argparse
from pathlib import Path

from editkit.command import Output, add_command

EXAMPLES = (
    ("editkit train starter --data faces128_train.zip --minutes 30", "train, or go on, for half an hour"),
    (
        "editkit train starter --data faces128_train.zip --from .training/starter.safetensors --minutes 30",
        "go on from the small half-precision copy, which has no optimizers",
    ),
    (
        "editkit train starter --data faces128_train.zip --minutes 0 --export faces64.safetensors",
        "write the averaged generator of the last snapshot",
    ),
    (
        "editkit train starter --data faces128_train.zip --minutes 0 --transport .training/starter.safetensors",
        "write the small half-precision copy",
    ),
)


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = add_command(
        subparsers, "starter", "train the bundled generator on a CPU; goes on where it stopped", examples=EXAMPLES
    )
    parser.add_argument("--data", type=Path, required=True, metavar="ZIP", help="aligned faces with labels.csv")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/starter"), metavar="DIR", help="snapshots (default: %(default)s)"
    )
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help="a half-precision copy to go on from")
    parser.add_argument("--minutes", type=float, metavar="M", help="stop after this long")
    parser.add_argument("--until-images", type=int, metavar="N", help="stop after N photographs (default: 1,000,000)")
    parser.add_argument("--threads", type=int, metavar="N", help="of torch (default: all cores)")
    parser.add_argument("--transport", type=Path, metavar="FILE", help="at the end, write a half-precision copy here")
    parser.add_argument("--export", type=Path, metavar="FILE", help="at the end, write the averaged generator here")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from train.allocator import keep_freed_memory

    keep_freed_memory()
    import time

    import torch

    from editkit.files import ensure_folder
    from train.faces import load_faces
    from train.starter import StarterTraining, config_of
    from train.starter_export import export_generator
    from train.starter_loop import run as train
    from train.state_file import load_state, load_transport, save_state, save_transport

    if args.threads:
        torch.set_num_threads(args.threads)
    with Output(args) as output:
        snapshot = ensure_folder(args.out) / "state.safetensors"
        state = load_state(snapshot) if snapshot.is_file() else load_transport(args.source) if args.source else None
        config = config_of(state)
        faces = load_faces(args.data, resolution=config.generator["img_resolution"])
        training = StarterTraining(config, faces.images[~faces.is_evaluation])
        if state is not None:
            training.load_state_dict(state)
            output.say(f"going on from {training.seen} images")
        if args.minutes is None or args.minutes > 0:
            train(
                training,
                until_images=args.until_images or 1_000_000,
                save=lambda t: save_state(snapshot, t.state_dict()),
                deadline=None if args.minutes is None else time.monotonic() + 60 * args.minutes,
            )
        output.put("images", training.seen)
        output.say(f"{training.seen} images seen; snapshot in {snapshot}")
        if args.transport:
            save_transport(args.transport, training.state_dict())
            output.say(f"half-precision copy, without optimizers: {args.transport}")
        if args.export:
            export_generator(training, args.export, data=args.data.name)
            output.say(f"averaged generator: {args.export}")
    return 0

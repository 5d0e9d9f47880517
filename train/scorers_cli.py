"""``editkit train scorers``: trains, or judges, the feature network that the package bundles."""

from __future__ import annotations

import argparse
from pathlib import Path

from editkit.command import Output, add_command
from editkit.option_types import positive, whole

EXAMPLES = (
    (
        "editkit train scorers --data faces128_train.zip --out editkit/models/features.safetensors --steps 2050",
        "train and judge the bundled network, as it was made",
    ),
    (
        "editkit train scorers --data faces128_train.zip --out features.safetensors --minutes 10",
        "a complete, weaker one in ten minutes",
    ),
    (
        "editkit train scorers --data faces128_train.zip --evaluate editkit/models/features.safetensors",
        "the figures of its card, without training",
    ),
)


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = add_command(
        subparsers, "scorers", "train the network behind the perceptual distance and the scorers", examples=EXAMPLES
    )
    parser.add_argument("--data", type=Path, required=True, metavar="ZIP", help="aligned faces with labels.csv")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--out", type=Path, metavar="FILE", help="where the trained network goes")
    target.add_argument("--evaluate", type=Path, metavar="FILE", help="judge this network instead of training one")
    parser.add_argument("--steps", type=positive, default=3200, help="length of the run (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=60.0, help="the most it may take (default: %(default)s)")
    parser.add_argument("--batch", type=positive, default=32, help="faces in a step (default: %(default)s)")
    parser.add_argument("--seed", type=whole, default=0, help="of weights, order and views (default: %(default)s)")
    parser.add_argument("--limit", type=positive, metavar="N", help="read only the first N faces, for a quick trial")
    parser.add_argument("--snapshot", type=Path, metavar="FILE", help="write the bare weights here once a minute")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from editkit.perceptual import feature_network
    from train.faces import load_faces
    from train.feature_evaluation import evaluate, summary
    from train.scorers import Progress, ScorerConfig, train_scorers, write_features

    config = ScorerConfig(
        steps=args.steps, minutes=args.minutes, batch=args.batch, seed=args.seed, snapshot=args.snapshot
    )
    with Output(args) as output:
        faces = load_faces(args.data, limit=args.limit)
        if args.evaluate is not None:
            network = feature_network(weights=args.evaluate)
        else:

            def report(progress: Progress) -> None:
                losses = ", ".join(f"{name} {value:.3f}" for name, value in progress.losses.items())
                output.say(f"step {progress.step}, {progress.seconds:.0f} s: {losses}")

            network, progress = train_scorers(faces, config, on_progress=report)
        result = evaluate(network, faces)
        if args.out is not None:
            write_features(args.out, network, faces=faces, data=args.data.name, progress=progress, evaluation=result)
            output.say(f"wrote {args.out}")
            output.put("file", args.out)
        for line in summary(result):
            output.say(line)
        output.put("evaluation", result)
    return 0

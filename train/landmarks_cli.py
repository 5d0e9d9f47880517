"""``editkit train landmarks``: trains, or judges, the five-point network of the aligner."""

from __future__ import annotations

import argparse
from pathlib import Path

from editkit.command import Output, add_command
from editkit.option_types import positive, whole

EXAMPLES = (
    (
        "editkit train landmarks --data faces128_train.zip --out editkit/models/landmarks.safetensors",
        "train and judge the bundled network, as it was made",
    ),
    (
        "editkit train landmarks --data faces128_train.zip --evaluate editkit/models/landmarks.safetensors",
        "the figures of its card, without training",
    ),
)


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = add_command(
        subparsers, "landmarks", "train the network that finds eyes, nose and mouth", examples=EXAMPLES
    )
    parser.add_argument("--data", type=Path, required=True, metavar="ZIP", help="aligned faces with labels.csv")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--out", type=Path, metavar="FILE", help="where the trained network goes")
    target.add_argument("--evaluate", type=Path, metavar="FILE", help="judge this network instead of training one")
    parser.add_argument("--steps", type=positive, default=3000, help="length of the run (default: %(default)s)")
    parser.add_argument("--seed", type=whole, default=0, help="of weights, order and poses (default: %(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from editkit.networks.landmarks import load_landmark_network
    from train.faces import load_faces
    from train.landmarks import LandmarkTraining, evaluate, save, train

    with Output(args) as output:
        faces = load_faces(args.data)
        if args.evaluate is not None:
            report = asdict(evaluate(faces, load_landmark_network(args.evaluate)))
        else:
            config = LandmarkTraining(steps=args.steps, seed=args.seed)
            network = train(faces, config)
            report = asdict(evaluate(faces, network))
            save(args.out, network, training={"config": asdict(config), "evaluation": report})
            output.say(f"wrote {args.out}")
            output.put("file", args.out)
        for name, value in report.items():
            output.say(f"{name:>10} {value:.4g}")
        output.put("evaluation", report)
    return 0

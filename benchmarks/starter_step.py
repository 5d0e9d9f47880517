"""A training step of ``editkit train starter`` on a CPU, with and without what makes it quick, in turn in one process.

    python benchmarks/starter_step.py [--size medium] [--threads 2] [--rounds 8]

Random pictures. Ratios are medians over the rounds of a step's time beside that of the step as it is; on a processor
without AMX precision "half" is "fast", and all are one.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # an uninstalled checkout works

import numpy as np
import torch

from editkit.ops import half_conv
from editkit.ops.backends import half_products, precision
from train.allocator import keep_freed_memory
from train.feature_backbones import read_backbone
from train.starter import StarterTraining
from train.starter_config import SIZES

WAYS = {"as it is": ("half", True), "factors in passes of their own": ("half", False), "float32": ("fast", False)}


def main() -> None:
    """Prints a line a way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="medium")
    parser.add_argument("--features", default="bundled", help="see editkit train starter --help (bundled)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (2)")
    parser.add_argument("--rounds", type=int, default=8, help="steps of each way (8), after two that are not counted")
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(args.threads)
    config = replace(SIZES[args.size](), reconstruction_images=0)
    side = config.generator["img_resolution"]
    images = np.random.default_rng(0).integers(0, 256, (64, side, side, 3), np.uint8)
    training = StarterTraining(config, images, features=read_backbone(args.features))
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(args.rounds + 2):
        for name, (kind, together) in WAYS.items():
            apart = mock.patch.object(half_conv, "supported", lambda *_: False)
            with precision(kind), nullcontext() if together else apart:
                started = time.perf_counter()
                training.step()
                times[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(taken[2:]) for name, taken in times.items()}
    fastest = medians["as it is"]
    print(f"{args.size}, {torch.get_num_threads()} threads, AMX: {'yes' if half_products() else 'no'}")
    for name, median in medians.items():
        print(
            f"{name:32} {config.batch / median:6.1f} pictures/s  {median / fastest:.2f} of a step as it is", flush=True
        )


if __name__ == "__main__":
    main()

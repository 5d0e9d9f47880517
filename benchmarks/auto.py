"""What ``projector.auto.MEASURED`` holds: the loss of every method that ``Auto`` weighs, by steps.

    python benchmarks/auto.py PORTRAITS [--limit 4] [--generator NAME]

The loss is that of ``Auto``'s weights, the mean over photos, the best so far. ``Optimise`` plans its rates by its
length, so that it is run anew for every number of steps; the others are read off one run. Four portraits take some
five minutes of one core.
"""

from __future__ import annotations

import argparse
import sys
from itertools import accumulate
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # an uninstalled checkout works

import torch

import editkit
from editkit.perceptual import best_available
from projector import EncodeThenOptimise, Optimise, Refine
from projector.encoder import fitting_encoder
from projector.losses import EDITABLE
from projector.methods import Method

STEPS = (1, 5, 10, 15, 30, 60, 120, 200)


def main() -> None:
    """Prints a line a method, as the table has it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--limit", type=int, default=4, help="the first so many photos (4)")
    parser.add_argument("--generator", help="another than the bundled one")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (1)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    G = editkit.load_generator(args.generator, device="cpu")
    perceptual = best_available(G.device)
    paths = sorted(path for path in args.photos.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    targets = torch.cat([editkit.align(editkit.read_photo(path), G.spec).image for path in paths[: args.limit]])

    def best_so_far(method: Method) -> list[float]:
        history = method.find(G, targets, perceptual=perceptual).history
        return list(accumulate((step.losses["loss"] for step in history), min))

    runs: dict[str, Method] = {"refine": Refine(steps=STEPS[-1], weights=EDITABLE, patience=0)}
    if fitting_encoder(G) is not None:
        runs["encode+optimise"] = EncodeThenOptimise(steps=STEPS[-1], weights=EDITABLE)
    for name, method in runs.items():
        losses = best_so_far(method)
        print(f'"{name}":', ", ".join(f"({n}, {losses[n - 1]:.3f})" for n in STEPS if n <= len(losses)), flush=True)
    adam = [(n, best_so_far(Optimise(steps=n, weights=EDITABLE, patience=0))[-1]) for n in STEPS if n >= 15]
    print('"w+":', ", ".join(f"({n}, {loss:.3f})" for n, loss in adam))


if __name__ == "__main__":
    main()

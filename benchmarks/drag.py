"""Does dragging bring a handle to its target? Random short moves on samples of a generator, judged in the picture.

    python benchmarks/drag.py [--trials 50] [--json FILE]

A trial: seed i's face, truncated to 0.7, a random handle with texture in the middle of the picture (the smaller
eigenvalue of its structure tensor is in the upper third: elsewhere "where it went" has no answer), a move of 3 to 6
pixels in a random direction. The judge does not know the tracker: it looks for the patch that was round the handle
before, by normalised cross-correlation of colours, in the picture after, everywhere within 10 pixels of the target, and
a trial has succeeded where the best match is at most 2 pixels from the target: 13 of the 317 places it looks at. How
often an undragged picture matches there by chance is measured: the same judge on the pictures before says how often it
finds the handle where it was (must be always), and how often it would call undragged pictures a success (must be
never).
"""

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # an uninstalled checkout works

import torch
import torch.nn.functional as F
from torch import Tensor

import editkit
from editkit.sampling import sample_w
from projector.dragging import Drag, drag

HALF = 4  # a patch is 9 x 9 pixels
REACH = 10
NEAR = 2.0
OPTIONS = {"steps": int, "lr": float, "layer": int, "rows": int, "hold": float, "near": float, "pace": float}


def corner_strength(image: Tensor) -> Tensor:
    """[R, R], the smaller eigenvalue of the structure tensor of the grey picture over 5 x 5 (Shi, Tomasi 1994)."""
    grey = F.pad(image.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    dx = (grey[..., 1:-1, 2:] - grey[..., 1:-1, :-2]) / 2
    dy = (grey[..., 2:, 1:-1] - grey[..., :-2, 1:-1]) / 2
    xx, yy, xy = (F.avg_pool2d(v, 5, 1, 2) for v in (dx * dx, dy * dy, dx * dy))
    return ((xx + yy) / 2 - (((xx - yy) / 2).square() + xy.square()).sqrt())[0, 0]


def choose(
    image: Tensor, random: torch.Generator, move: tuple[float, float]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """A handle and a target, both at least 12 pixels from the edge, at centres of pixels and anywhere."""
    side, edge = image.shape[-1], 12
    inner = corner_strength(image)[edge:-edge, edge:-edge].flatten()
    candidates = inner.topk(len(inner) // 3).indices
    while True:
        pick = int(candidates[torch.randint(len(candidates), (1,), generator=random)])
        x, y = pick % (side - 2 * edge) + edge + 0.5, pick // (side - 2 * edge) + edge + 0.5
        length, turn = torch.rand(2, generator=random).tolist()
        offset = torch.polar(torch.tensor(move[0] + (move[1] - move[0]) * length), torch.tensor(2 * torch.pi * turn))
        target = (x + float(offset.real), y + float(offset.imag))
        if all(edge <= v <= side - edge for v in target):
            return (x, y), target


def find(
    before: Tensor, after: Tensor, handle: tuple[float, float], target: tuple[float, float]
) -> tuple[Tensor, float]:
    """Where in ``after`` the patch of ``before`` round ``handle`` is, and the correlation there."""
    column, row = int(handle[0]), int(handle[1])
    patch = before[0, :, row - HALF : row + HALF + 1, column - HALF : column + HALF + 1]
    patch = patch - patch.mean([1, 2], keepdim=True)
    windows = F.unfold(after, 2 * HALF + 1)[0].view(3, -1, after.shape[-1] - 2 * HALF, after.shape[-2] - 2 * HALF)
    windows = windows - windows.mean(1, keepdim=True)
    score = (windows * patch.reshape(3, -1, 1, 1)).sum([0, 1])
    score = score / (windows.square().sum([0, 1]).sqrt() * patch.norm()).clamp(min=1e-6)  # [H, W]
    y, x = torch.meshgrid(*(torch.arange(n) + HALF + 0.5 for n in score.shape), indexing="ij")
    places = torch.stack([x, y], 2)
    near = (places - torch.tensor(target)).norm(dim=2) <= REACH
    score = score.masked_fill(~near, -2)
    best = int(score.argmax())
    return places.reshape(-1, 2)[best], float(score.max())


def distance(a: Tensor, b: tuple[float, float]) -> float:
    """In pixels."""
    return float((a - torch.tensor(b)).norm())


def main() -> None:
    """Prints a line a trial, and the rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (1)")
    parser.add_argument("--json", type=Path, help="a file for the results")
    parser.add_argument("--move", type=float, nargs=2, default=(3, 6), metavar=("LOW", "HIGH"), help="pixels (3 6)")
    for name, kind in OPTIONS.items():
        parser.add_argument(f"--{name}", type=kind, help="of projector.Drag")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    given = {name: getattr(args, name) for name in OPTIONS}
    options = Drag(**{name: value for name, value in given.items() if value is not None})
    G, rows = editkit.load_generator(device="cpu"), []
    for seed in range(args.first, args.first + args.trials):
        random = torch.Generator().manual_seed(seed)
        latent = sample_w(G, [seed], truncation_psi=0.7)
        with torch.no_grad():
            before = G.synthesize(latent)
        handle, target = choose(before, random, args.move)
        started = time.monotonic()
        result = drag(G, latent, [(handle, target)], options=options)
        place, score = find(before, result.image, handle, target)
        still, _ = find(before, before, handle, target)
        row = {
            "seed": seed,
            "move": distance(torch.tensor(handle), target),
            "off": distance(place, target),
            "correlation": score,
            "tracked": result.distances[0],
            "reached": result.reached[0],
            "stop": result.stop.value,
            "steps": result.steps,
            "seconds": time.monotonic() - started,
            "still_off": distance(still, target),
            "still_found": distance(still, handle) == 0,
        }
        rows.append(row)
        print(" ".join(f"{k} {v:.2f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True)
    count, done = len(rows), [row["off"] <= NEAR for row in rows]
    told = [row["reached"] for row in rows]
    off = sorted(row["off"] for row in rows)[count // 2]
    agreed = sum(a and b for a, b in zip(told, done))
    found, chance = sum(row["still_found"] for row in rows), sum(row["still_off"] <= NEAR for row in rows)
    print(f"within {NEAR:g} px in the picture: {sum(done)} of {count}; median off {off:.2f}")
    print(f"said to have arrived: {sum(told)}, of which the judge agrees in {agreed}")
    print(f"undragged: handle found {found}, success {chance}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

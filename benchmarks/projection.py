"""How near, and in how many steps: every method on the same photos with the same loss, beside a plain yardstick.

    python benchmarks/projection.py PHOTOS [--methods NAME ...] [--out DIR] [--table docs/projection.md]

PHOTOS is a folder of portraits; they are aligned by editkit. A result is kept for each photo and method in
``--out/GENERATOR/METHOD.json`` (the first 12 characters of the generator's id) and never made again, so that the
command can be cut, and started several times at once with different methods. ``--table`` writes the table of what is
there, over the photos that all methods in it have, between the marks of a Markdown file.

The yardstick restates the projection of Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN",
section 5 and appendix D, as StyleGAN2-ADA kept it: 1000 steps of Adam from the mean of W, rate 0.1 with a linear rise
over the first 5 % and a cosine fall over the last 25 %, and noise of 0.05 sigma_w t^2 on w, where t falls from 1 to 0
over the first 75 %. It gets our loss, and in "W+" a row a layer, so that steps are compared and not losses or spaces.
Its noise maps have no counterpart in StyleGAN3.

A step is one picture rendered and one gradient. A look of the encoder is a rendered picture without a gradient. Seconds
are processor seconds a photo, which other programs on the machine do not count into.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # an uninstalled checkout works

import torch
from torch import Tensor

import editkit
from directions.catalog import folder_of
from editkit.files import write_between, write_text
from editkit.generator import Generator
from editkit.latent import Latent
from editkit.perceptual import PerceptualDistance, best_available
from projector import Auto, Encode, EncodeThenOptimise, Optimise, Pivotal, Refine
from projector.driving import Found
from projector.losses import PictureLoss, Weights
from projector.methods import Method
from projector.pivotal import tuned
from projector.result import Step, Stop
from projector.search import measure
from projector.statistics import WStatistics, sample_statistics

START, END = "<!-- table -->", "<!-- end of table -->"
COLUMNS = ("steps", "loss", "PSNR", "MSE", "SSIM", "perceptual", "spread", "seconds")


class Yardstick:
    """The published schedule with our loss; see the head of this file."""

    name = "yardstick"

    def __init__(self, *, space: str, steps: int = 1000, lr: float = 0.1) -> None:
        self.space, self.steps, self.lr = space, steps, lr

    def find(self, G: Generator, targets: Tensor, *, perceptual: PerceptualDistance, **_: Any) -> Found:
        """As every method's; the last step is kept, as published."""
        statistics, weights = statistics_of(G), Weights()
        sigma = statistics.std * math.sqrt(G.spec.w_dim)  # root of E|w - mean|^2
        rows = G.spec.num_ws if self.space == "w+" else 1
        w = statistics.mean.expand(len(targets), rows, -1).clone().requires_grad_()
        loss, adam = PictureLoss(targets, perceptual, weights), torch.optim.Adam([w], lr=self.lr)
        random, history = torch.Generator().manual_seed(0), []
        for index in range(self.steps):
            t = index / self.steps
            ramp = min(1.0, (1 - t) / 0.25)
            adam.param_groups[0]["lr"] = self.lr * (0.5 - 0.5 * math.cos(ramp * math.pi)) * min(1.0, t / 0.05)
            scale = 0.05 * sigma * max(0.0, 1 - t / 0.75) ** 2
            noisy = w + scale * torch.randn(w.shape, generator=random)
            latent = Latent(space="w+", codes=noisy.expand(-1, G.spec.num_ws, -1), generator=G.spec.id)
            total = torch.stack(list(loss(G.synthesize(latent)).values())).sum(0)
            total = total + _regularisers(noisy, G, weights)
            adam.zero_grad()
            total.sum().backward()
            adam.step()
            history.append(Step(index=index, total=self.steps, losses={"loss": float(total.mean())}, progress=t))
        codes = w.detach().expand(-1, G.spec.num_ws, -1).contiguous()
        latent = Latent(space="w+", codes=codes, generator=G.spec.id)
        return Found(latent=latent, history=tuple(history), stop=Stop.MAX_STEPS, seconds=0.0)


METHODS: dict[str, Callable[[], Method | Yardstick]] = {
    "yardstick-w": lambda: Yardstick(space="w"),
    "yardstick-w+": lambda: Yardstick(space="w+"),
    "w": lambda: Optimise(space="w", steps=200, patience=0),
    "w+": lambda: Optimise(steps=200, patience=0),
    "w+500": lambda: Optimise(steps=500, patience=0),
    "refine60": lambda: Refine(patience=0),
    "encoder": lambda: Encode(),
    "encoder+60": lambda: EncodeThenOptimise(),
    "encoder+200": lambda: EncodeThenOptimise(steps=200),
    "pivotal": lambda: Pivotal(),
    "auto": lambda: Auto(),
    "pivotal-auto": lambda: Pivotal(inner=Auto()),
}
"""Name -> a method. A new one needs a line here and one in ``TITLES``."""
TITLES = {
    "yardstick-w": "StyleGAN2's schedule, W",
    "yardstick-w+": "StyleGAN2's schedule, W+",
    "w": 'W: `Optimise(space="w")`',
    "w+": "W+: `Optimise()`",
    "w+500": "W+: `Optimise(steps=500)`",
    "refine60": "W+ from the mean: `Refine()`",
    "encoder": "encoder: `Encode()`",
    "encoder+60": "encoder + 60: `EncodeThenOptimise()`",
    "encoder+200": "encoder + 200: `EncodeThenOptimise(steps=200)`",
    "pivotal": "`Pivotal()`: the generator tuned around the found code",
    "auto": "`Auto()`, `--method auto`: encoder + 200, `Weights(spread=5, prior=0.005)`",
    "pivotal-auto": "`--method pivotal`: the generator tuned around that code",
}


@lru_cache(maxsize=1)
def statistics_of(G: Generator) -> WStatistics:
    """``sample_statistics``, drawn once."""
    return sample_statistics(G)


def _regularisers(ws: Tensor, G: Generator, weights: Weights) -> Tensor:
    """The search's terms on codes [N, rows, w_dim], each sample's sum, [N]."""
    statistics = statistics_of(G)
    codes = statistics.deviations(ws - statistics.mean)
    shared = codes.mean(1, keepdim=True)
    spread = (codes - shared).square().mean([1, 2])
    return weights.prior * shared.square().mean([1, 2]) + weights.spread * spread


def judge(G: Generator, latent: Latent, targets: Tensor, perceptual: PerceptualDistance) -> list[dict[str, float]]:
    """Metrics of each photo, its whole loss, and "spread": how far rows are off their mean, in W's deviations (RMS)."""
    weights, ws = Weights(), latent.as_w_plus().tensor
    statistics = statistics_of(G)
    codes = statistics.deviations(ws - statistics.mean)
    with torch.no_grad():
        images = G.synthesize(latent)
        terms = PictureLoss(targets, perceptual, weights)(images)
        total = torch.stack(list(terms.values())).sum(0) + _regularisers(ws, G, weights)
    rows = []
    for index in range(len(targets)):
        row = measure(images[index : index + 1], targets[index : index + 1], perceptual)
        offsets = codes[index] - codes[index].mean(0)
        rows.append(row | {"loss": float(total[index]), "spread": float(offsets.square().mean().sqrt())})
    return rows


def table(results: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Markdown: a row a method, over the photos that all of them have."""
    shared = set.intersection(*(set(rows) for rows in results.values())) if results else set()
    lines = [f"Means over {len(shared)} photos.", "", "| method | " + " | ".join(COLUMNS) + " |"]
    lines.append("|---" * (len(COLUMNS) + 1) + "|")
    for name in (name for name in TITLES if name in results):
        rows = [results[name][photo] for photo in sorted(shared)]
        mean = (
            {key: sum(row[key] for row in rows) / max(len(rows), 1) for key in rows[0] if key != "curve"}
            if rows
            else {}
        )
        if mean:
            cells = [f"{mean['steps']:.0f}", f"{mean['loss']:.4f}", f"{mean['psnr']:.2f} dB", f"{mean['mse']:.4f}"]
            cells += [f"{mean['ssim']:.3f}", f"{mean['perceptual']:.3f}", f"{mean['spread']:.2f}"]
            lines.append(f"| {TITLES[name]} | " + " | ".join([*cells, f"{mean['seconds']:.1f}"]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Runs what is missing, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS))
    parser.add_argument("--generator", help="another than the bundled one")
    parser.add_argument("--out", type=Path, default=Path("out/projection"))
    parser.add_argument("--batch", type=int, default=4, help="photos at a time (4)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (1)")
    parser.add_argument("--limit", type=int, help="the first so many photos")
    parser.add_argument("--table", type=Path, help="Markdown file whose table is written anew")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    G = editkit.load_generator(args.generator, device="cpu")
    perceptual = best_available(G.device)
    paths = sorted(path for path in args.photos.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    paths = paths[: args.limit]
    faces: dict[Path, Tensor] = {}
    out = folder_of(G.spec.id, args.out)
    out.mkdir(parents=True, exist_ok=True)
    for first in range(0, len(paths), args.batch):
        for name in args.methods:
            file = out / f"{name}.json"
            kept = json.loads(file.read_text()) if file.is_file() else {}
            todo = [path for path in paths[first : first + args.batch] if path.name not in kept]
            if not todo:
                continue
            for path in todo:
                if path not in faces:
                    faces[path] = editkit.align(editkit.read_photo(path), G.spec).image
            method = METHODS[name]()
            for part in [[path] for path in todo] if isinstance(method, Pivotal) else [todo]:
                targets, started = torch.cat([faces[path] for path in part]), time.process_time()
                found = method.find(G, targets, perceptual=perceptual)
                seconds = (time.process_time() - started) / len(part)
                curve = [round(step.losses["loss"], 5) for step in found.history]
                renderer = G if found.tuning is None else tuned(G, found.tuning)
                for path, row in zip(part, judge(renderer, found.latent, targets, perceptual), strict=True):
                    kept[path.name] = row | {"steps": len(found.history), "seconds": seconds, "curve": curve}
                    print(name, path.name, {key: round(value, 4) for key, value in row.items()}, flush=True)
                write_text(file, json.dumps(kept))
    files = {name: out / f"{name}.json" for name in METHODS}
    results = {name: json.loads(file.read_text()) for name, file in files.items() if file.is_file()}
    text = table(results)
    print(text)
    if args.table:
        write_between(args.table, START, END, text)


if __name__ == "__main__":
    main()

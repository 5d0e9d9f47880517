"""Reconstruction against editability: what the regularisers of W+ buy, and what they cost.

    python benchmarks/editability.py PHOTOS [--limit 4] [--points NAME ...] [--out DIR] [--doc docs/projection.md]

PHOTOS is a folder of portraits. Each is inverted (``Refine``, from the mean of W) with several weights of ``spread``,
which ties the rows of W+ together, and of ``prior``, which ties them to the mean of W; "w" is the limit in which rows
are one. Results are kept for each point and photo in ``--out/POINT.json`` and never made again.

Reconstruction is PSNR and the perceptual distance. Editability is judged with the bundled directions of W and W+, one
after the other, each at -1.5, 0 and +1.5 standard deviations of its score over the generator's samples. The scores are
those that directions are judged by (``directions.score``); a slope is in standard deviations a unit of strength.

    kept     the slope of the direction's own score on the inverted code, as a share of its mean slope on samples; the
             mean over photos and directions. 1: the edit does to a photo what it does to samples.
    leakage  root mean square slope of all other scores, as a share of the same; over photos, directions and scores.
             Samples have some too: that line is the floor.

``--doc`` writes the table between the marks of a Markdown file, and the picture beside it in ``images``.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # an uninstalled checkout works

import torch
from PIL import Image, ImageDraw, ImageFont

import directions
import editkit
from directions import score
from directions.catalog import folder_of
from editkit.direction import Direction
from editkit.files import write_between, write_text
from editkit.generator import Generator
from editkit.latent import Latent
from editkit.perceptual import best_available
from projector import Refine
from projector.losses import EDITABLE, Weights
from projector.search import measure
from projector.statistics import sample_statistics

START, END = "<!-- editability -->", "<!-- end of editability -->"
PICTURE = "editability.png"
SPREADS, PRIORS = (0.0, 0.005, 0.05, 0.5, 5.0), (0.01, 0.1)
STRENGTHS = (-1.5, 0.0, 1.5)
SAMPLES = 16
"""Of the generator, that photos are compared with."""


def points() -> dict[str, tuple[str, Weights]]:
    """Name -> space and weights; the default is "spread 0.05"."""
    made = {f"spread {spread:g}": ("w+", Weights(spread=spread)) for spread in SPREADS}
    made |= {f"prior {prior:g}": ("w+", Weights(prior=prior)) for prior in PRIORS}
    made["auto"] = ("w+", EDITABLE)
    return made | {"w": ("w", Weights())}


class Editability:
    """Slopes of every score along every bundled direction, on samples and on codes that are given."""

    def __init__(self, G: Generator, *, samples: int = SAMPLES) -> None:
        self.G, self.scorers = G, score.default_scorers()
        self.baseline = score.baseline(G, self.scorers, samples=max(64, samples))
        known = [directions.load(G, name) for name in directions.names(G)]
        self.directions = [one for one in known if one.space in ("w", "w+") and one.name in self.baseline.deviation]
        self.samples = [
            self._slopes(latent) for latent in _singles(score.sample_latents(G, samples=samples, seed=9000))
        ]
        count = len(self.samples)
        self.usual = {one.name: sum(row[one.name][one.name] for row in self.samples) / count for one in self.directions}

    def _slopes(self, latent: Latent) -> dict[str, dict[str, float]]:
        """Direction -> score -> slope, of one code."""
        return {one.name: self._slope(one, latent) for one in self.directions}

    def _slope(self, direction: Direction, latent: Latent) -> dict[str, float]:
        found = score.measure(
            self.G, direction, self.scorers, against=self.baseline, strengths=STRENGTHS, latents=latent
        )
        return dict(found.means)

    def judge(self, latent: Latent) -> dict[str, float]:
        """ "kept" and "leakage" of one code; see the head of this file."""
        return self._judged(self._slopes(latent))

    def floor(self) -> dict[str, float]:
        """The same of the samples, means; leakages are squared before."""
        return mean([self._judged(row) for row in self.samples])

    def _judged(self, slopes: dict[str, dict[str, float]]) -> dict[str, float]:
        kept, leaked = [], []
        for name, usual in self.usual.items():
            kept.append(slopes[name][name] / usual)
            leaked += [(slope / usual) ** 2 for other, slope in slopes[name].items() if other != name]
        return {"kept": sum(kept) / len(kept), "leakage": math.sqrt(sum(leaked) / len(leaked))}


def mean(rows: list[dict[str, float]]) -> dict[str, float]:
    """Of each figure; of leakage the root of the mean square."""
    made = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
    made["leakage"] = math.sqrt(sum(row["leakage"] ** 2 for row in rows) / len(rows))
    return made


def _singles(latents: Latent) -> list[Latent]:
    return [latents[index] for index in range(len(latents))]


def spread_of(G: Generator, latent: Latent) -> float:
    """How far rows are off their mean, RMS in standard deviations of W."""
    statistics = sample_statistics(G)
    codes = statistics.deviations(latent.as_w_plus().tensor[0] - statistics.mean)
    return float((codes - codes.mean(0)).square().mean().sqrt())


def table(results: dict[str, dict[str, dict[str, float]]], floor: dict[str, float]) -> tuple[str, dict[str, Any]]:
    """Markdown over the photos that all points have, and the means by point."""
    shared = sorted(set.intersection(*(set(rows) for rows in results.values())))
    means = {name: mean([rows[photo] for photo in shared]) for name, rows in results.items()}
    lines = [f"Means over {len(shared)} photos.", "", "| weights | PSNR | perceptual | spread | kept | leakage |"]
    lines.append("|---|---|---|---|---|---|")
    for name, row in means.items():
        title = f"{name} (default)" if name == f"spread {Weights().spread:g}" else name
        cells = [f"{row['psnr']:.2f} dB", f"{row['perceptual']:.3f}", f"{row['spread']:.2f}"]
        lines.append(f"| {title} | " + " | ".join([*cells, f"{row['kept']:.2f}", f"{row['leakage']:.2f}"]) + " |")
    lines.append(f"| generator's samples | | | 0 | {floor['kept']:.2f} | {floor['leakage']:.2f} |")
    return "\n".join(lines), means


def draw(means: dict[str, Any], floor: dict[str, float], path: Path) -> None:
    """PSNR over leakage, a dot a point; the spread weights are joined."""
    width, height, left, bottom = 640, 400, 60, 45
    image = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    xs, ys = [row["leakage"] for row in means.values()] + [floor["leakage"]], [row["psnr"] for row in means.values()]
    low, high = 0.0, 1.1 * max(xs)
    bottom_value, top_value = math.floor(min(ys) - 0.5), math.ceil(max(ys) + 0.5)

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            left + (x - low) / (high - low) * (width - left - 20),
            height - bottom - (y - bottom_value) / (top_value - bottom_value) * (height - bottom - 20),
        )

    for level in range(bottom_value, top_value + 1):
        pen.line([at(low, level), at(high, level)], fill="#dddddd")
        pen.text((8, at(low, level)[1] - 8), f"{level} dB", fill="black", font=font)
    for tenth in range(int(high * 10) + 1):
        x, y = at(tenth / 10, bottom_value)
        pen.text((x - 8, y + 6), f"{tenth / 10:g}", fill="black", font=font)
    pen.text((left + 120, height - 20), "leakage: what else an edit changes (less is better)", fill="black", font=font)
    x, y = at(floor["leakage"], top_value)
    pen.line([(x, y), at(floor["leakage"], bottom_value)], fill="#7799cc")
    pen.text((x + 4, y + 2), "samples", fill="#335588", font=font)
    line = [at(row["leakage"], row["psnr"]) for name, row in means.items() if name.startswith("spread")]
    pen.line(line, fill="#aa5533", width=2)
    for name, row in means.items():
        x, y = at(row["leakage"], row["psnr"])
        pen.ellipse([x - 4, y - 4, x + 4, y + 4], fill="#aa5533" if name.startswith("spread") else "#444444")
        pen.text((x - 60, y + 4) if name.startswith("prior") else (x + 7, y - 16), name, fill="black", font=font)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, optimize=True)


def main() -> None:
    """Runs what is missing, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--points", nargs="*", choices=points(), default=list(points()))
    parser.add_argument("--generator", help="another than the bundled one")
    parser.add_argument("--out", type=Path, default=Path("out/editability"))
    parser.add_argument("--limit", type=int, default=4, help="the first so many photos (4)")
    parser.add_argument("--steps", type=int, default=100, help="of each inversion (100)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (1)")
    parser.add_argument("--doc", type=Path, help="Markdown file whose table is written anew")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    G = editkit.load_generator(args.generator, device="cpu")
    perceptual = best_available(G.device)
    judge = Editability(G)
    paths = sorted(path for path in args.photos.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    paths = paths[: args.limit]
    targets = torch.cat([editkit.align(editkit.read_photo(path), G.spec).image for path in paths])
    out = folder_of(G.spec.id, args.out)
    out.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict[str, dict[str, float]]] = {}
    for name in args.points:
        file, (space, weights) = out / f"{name.replace(' ', '-')}.json", points()[name]
        kept = json.loads(file.read_text()) if file.is_file() else {}
        todo = [index for index, path in enumerate(paths) if path.name not in kept]
        if todo:
            method = Refine(steps=args.steps, space=space, weights=weights, patience=0)  # type: ignore[arg-type]
            latents = method.find(G, targets[todo], perceptual=perceptual).latent
            for latent, index in zip(_singles(latents), todo, strict=True):
                with torch.no_grad():
                    row = measure(G.synthesize(latent), targets[index : index + 1], perceptual)
                row |= judge.judge(latent) | {"spread": spread_of(G, latent)}
                kept[paths[index].name] = row
                print(name, paths[index].name, {key: round(value, 4) for key, value in row.items()}, flush=True)
            write_text(file, json.dumps(kept))
        results[name] = {path.name: kept[path.name] for path in paths}
    floor = judge.floor()
    text, means = table(results, floor)
    print(text)
    if args.doc:
        write_between(args.doc, START, END, text)
        draw(means, floor, args.doc.parent / "images" / PICTURE)


if __name__ == "__main__":
    main()

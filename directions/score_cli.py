"""``editkit directions score``: judge a direction on samples, or on codes of photos."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from editkit.command import Output
from editkit.errors import UsageError
from editkit.option_types import add_class_option, positive, positive_number

if TYPE_CHECKING:
    from directions.judging import Judgement
    from editkit.direction import Direction
    from editkit.generator import Generator

EXAMPLES = [
    ("editkit directions score brightness", "a table: effect, leakage and monotonicity for every score"),
    ("editkit project photos/ --out found; editkit directions score age --photos found", "on codes found from photos"),
    ("editkit directions score age --all", "also what it does to scores that do not count as leakage"),
    ("editkit directions score mine/age.safetensors --image age.png --json", "of a file, with a strip; as JSON"),
]


FEWEST = 24  # samples for figures that are kept


def add_options(score: argparse.ArgumentParser) -> None:
    """The options."""
    score.add_argument("name", metavar="NAME|FILE", help="as `editkit directions list` names it, or a .safetensors")
    score.add_argument(
        "--target",
        metavar="SCORE",
        help="the score that it should move, of those that `editkit directions find --help` lists (default: that of "
        "its name, or the one it moves most)",
    )
    score.add_argument(
        "--photos",
        type=Path,
        metavar="DIR",
        help="edit the photos that `editkit project` wrote there, not samples; units stay those of samples",
    )
    score.add_argument("--range", dest="bound", type=positive_number, metavar="UNITS", help="look no further than this")
    score.add_argument("--samples", type=positive, default=96, metavar="N", help="to edit (default: 96)")
    score.add_argument("--seed", type=int, default=900_000, help="of the first (default: 900000)")
    score.add_argument("--all", action="store_true", help="tell the scores that do not count as leakage, too")
    score.add_argument("--image", type=Path, metavar="FILE", help="write a strip: a row a sample, a column a strength")
    score.add_argument("--rows", type=positive, default=4, metavar="N", help="of the strip (default: 4)")
    score.add_argument("--save", action="store_true", help=f"keep the figures of {FEWEST} samples or more, as yours")
    add_class_option(score)


def run_score(args: argparse.Namespace) -> int:
    """Judge one direction."""
    from directions import catalog
    from directions.cli import load_asked, write_strip
    from directions.judging import judge
    from directions.labels import photo_latents
    from directions.score import all_scorers, sample_latents

    if args.save and (args.photos is not None or args.bound is not None):
        raise UsageError("--save keeps figures of samples over the whole range; leave out --photos and --range")
    if args.save and args.samples < FEWEST:
        raise UsageError(f"--save keeps figures of at least {FEWEST} samples, got {args.samples}: fewer say little")
    G = load_asked(args)
    direction = asked(G, args.name)
    if args.bound is not None:
        low, high = direction.strength
        direction = replace(direction, strength=(max(low, -args.bound), min(high, args.bound)))
    photos = None if args.photos is None else photo_latents(G, args.photos)
    with Output(args) as output:
        found = judge(
            G,
            direction,
            target=args.target,
            samples=args.samples,
            seed=args.seed,
            classes=args.label,
            latents=photos,
            beside=all_scorers(faces="face" in (G.spec.domain or "")) if args.all else (),
            on_progress=output.counter("judging"),
        )
        for line in table(direction, found, of="samples" if photos is None else "photos"):
            output.say(line)
        seen = found.measurement
        output.put("name", direction.name)
        output.put("target", found.target)
        output.put("effects", seen.judged(found.target))
        for word, half in (("low", seen.low), ("high", seen.high)):
            told = None if half is None else {"slopes": half.slopes, "errors": half.errors}
            output.put(word, told)
        output.put("leakage", seen.leakage(found.target))
        output.put("beside", dict(found.beside))
        output.put("monotonicity", dict(seen.monotonicity))
        output.put("kept", found.kept)
        output.put("separability", found.separability)
        output.put("strengths", seen.strengths)
        output.put("samples", seen.samples)
        output.put("failures", found.failures)
        if args.save:
            output.put("file", catalog.save(G, found.applied(direction)))
            output.say(f"kept in {output.document['file']}")
            if hides := catalog.hiding(G, direction.name):
                output.say(hides)
        if args.image is not None:
            shown = sample_latents(G, samples=args.rows, seed=args.seed, classes=args.label)
            write_strip(G, direction, args.image, shown if photos is None else photos[: args.rows])
            output.put("image", args.image)
            output.say(f"wrote {args.image}")
    return 0


def asked(G: Generator, name: str) -> Direction:
    """A direction by its name, or by its file. Raises DirectionError, GeneratorMismatchError."""
    from directions import catalog
    from editkit.direction import Direction

    if name.endswith(".safetensors") or "/" in name or "\\" in name:
        return Direction.load(name).check(G.spec)
    return catalog.load(G, name)


def table(direction: Direction, found: Judgement, *, of: str = "samples") -> list[str]:
    """Lines for people: a row a score, the target first, then the largest leakage; and the verdict.

    ``of``: what was edited. Offered is by samples, so of anything else the bars are only said to be kept or not.
    """
    seen, target = found.measurement, found.target
    leakage = {target: 1.0, **seen.leakage(target)}
    order = sorted(leakage, key=lambda name: (name != target, -leakage[name]))
    lines = [f"{'sd a unit':<22} {'low half':>9} {'high half':>9} {'error':>6}  {'share':>6}  {'monotone':>8}"]
    for name in order:
        share = f"{leakage[name]:6.2f}" if name != target else f"{'target':>6}"
        ends = " ".join(f"{'':>9}" if half is None else f"{half.slopes[name]:>+9.2f}" for half in (seen.low, seen.high))
        lines.append(f"{name:<22} {ends} {seen.errors[name]:>6.3f}  {share}  {seen.monotonicity[name]:>8.0%}")
    strengths = ", ".join(f"{strength:+.1f}" for strength in seen.strengths)
    lines.append(f"{seen.samples} {of}, strengths {strengths}; share: the stronger half, of the target's weaker one")
    if found.beside:
        shares = sorted(found.beside.items(), key=lambda item: -item[1])
        lines.append(f"not counted, share: {', '.join(f'{name} {share:.2f}' for name, share in shares)}")
    if found.kept is not None:
        lines.append(f"kept at one unit: {found.kept:.0%} of the distance to another sample")
    if found.separability is not None:
        lines.append(f"linear separability of {target}: {found.separability:.2f} (1 perfect, 2 none)")
    kept, missed = "offered by default", "not offered"
    if of != "samples":
        kept, missed = f"keeps the bars on these {of}", f"misses bars on these {of}"
    verdict = kept if not found.failures else f"{missed}: {'; '.join(found.failures)}"
    lines.append(f"{direction.name}: {verdict}")
    return lines

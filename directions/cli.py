"""``editkit directions``: list, show, find and rebuild directions."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from directions import disentangle_cli, import_cli, unsupervised_cli
from editkit.command import Output, add_action, add_command
from editkit.option_types import add_class_option, number_list

if TYPE_CHECKING:
    from directions.score import Measurement
    from editkit.direction import Direction
    from editkit.generator import Generator
    from editkit.labels import Classes

METHODS = ("ganspace", *unsupervised_cli.METHODS)


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``editkit directions`` and its actions."""
    parser = add_command(
        subparsers,
        "directions",
        "list, show and find the directions that edits go along",
        examples=[
            ("editkit directions list", "what is at hand for the default generator"),
            ("editkit directions show warmth --image warmth.png", "its figures, and a picture of what it does"),
            ("editkit directions find --method ganspace --count 5", "make directions by PCA and keep them"),
        ],
    )
    parser.set_defaults(run=run_list, generator=None, device="auto")  # without an action it lists
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions (default: list)")
    _add(
        actions,
        "list",
        "list the directions at hand",
        run_list,
        examples=[("editkit directions list --json", "as JSON")],
    )
    show = _add(
        actions,
        "show",
        "show one direction",
        run_show,
        examples=[("editkit directions show yaw --image yaw.png", "with a strip of generated samples")],
    )
    show.add_argument("name", metavar="NAME", help="as `editkit directions list` names it")
    show.add_argument("--image", type=Path, metavar="FILE", help="write a strip: a row a sample, a column a strength")
    show.add_argument("--samples", type=int, default=4, metavar="N", help="rows of the strip (default: 4)")
    show.add_argument("--seed", type=int, default=0, help="of the first sample (default: 0)")
    add_class_option(show)
    find = _add(
        actions,
        "find",
        "find directions, measure what they do and keep them",
        run_find,
        examples=[
            ("editkit directions find --method ganspace --count 5", "the first five components of W"),
            ("editkit directions find --method ganspace --layers 1-4 --out mine", "early rows only, kept in mine/"),
            *unsupervised_cli.EXAMPLES,
        ],
    )
    find.add_argument("--method", choices=METHODS, default=METHODS[0], help="how (default: ganspace, PCA of W)")
    find.add_argument("--count", type=int, default=10, metavar="N", help="how many (default: 10)")
    find.add_argument("--samples", type=int, default=20_000, metavar="N", help="of W (default: 20000)")
    find.add_argument("--seed", type=int, default=0, help="of the first sample (default: 0)")
    add_class_option(find)
    find.add_argument("--layers", type=number_list, metavar="ROWS", help="rows of W+, such as 1-4,7 (default: all)")
    find.add_argument("--out", type=Path, metavar="DIR", help="where to keep them (default: the user's own folder)")
    find.add_argument("--attribute", action="append", metavar="NAME", help="a scorer to look for; repeatable")
    find.add_argument("--name", help="of the direction")
    unsupervised_cli.add_options(find)
    imported = _add(actions, "import", "import published arrays", import_cli.run_import, examples=import_cli.EXAMPLES)
    import_cli.add_options(imported)
    name = _add(
        actions,
        "name",
        "propose names by what goes with a direction",
        disentangle_cli.run_name,
        examples=disentangle_cli.NAME_EXAMPLES,
    )
    disentangle_cli.add_name_options(name)
    alone = _add(
        actions,
        "disentangle",
        "take directions out of each other, and show what leaks",
        disentangle_cli.run_disentangle,
        examples=disentangle_cli.EXAMPLES,
    )
    disentangle_cli.add_options(alone)
    build = _add(
        actions,
        "build",
        "rebuild the directions that are bundled with a generator",
        run_build,
        examples=[("editkit directions build --sheet docs/strips", "with a strip of each")],
    )
    build.add_argument("--out", type=Path, metavar="DIR", help="instead of the package's own folder")
    build.add_argument(
        "--leakage", type=float, default=0.6, metavar="SHARE", help="largest effect on another score (default: 0.6)"
    )
    build.add_argument("--sheet", type=Path, metavar="DIR", help="write a strip of each direction there")


def run_list(args: argparse.Namespace) -> int:
    """Names with range and what they were measured to do."""
    from directions import catalog
    from editkit.direction import Direction

    G = _generator(args)
    with Output(args) as output:
        output.put("generator", {"id": G.spec.id, "name": G.spec.name})
        rows = [Direction.load(path) for _, path in sorted(catalog.find_files(G.spec).items())]
        output.put("directions", [row.header() for row in rows])
        if not rows:
            output.say(f"none for {G.spec.name}; make some with `editkit directions find`")
        for row in rows:
            output.say(f"{row.name:<22} {row.strength[0]:+.1f} to {row.strength[1]:+.1f}  {row.space:<2}  {row.unit}")
    return 0


def run_show(args: argparse.Namespace) -> int:
    """Everything that is known of one direction, and a strip."""
    from directions import catalog

    G = _generator(args)
    direction = catalog.load(G, args.name)
    with Output(args) as output:
        header = {**direction.header(), "touches_placement": direction.touches_placement}
        for key, value in header.items():
            output.put(key, value)
            if key != "scores":
                output.say(f"{key:<18} {value}")
        for key, value in direction.scores.items():
            output.say(f"  {key:<24} {value:+.3f}")
        if args.image is not None:
            _write_strip(G, direction, args.image, samples=args.samples, seed=args.seed, classes=args.label)
            output.put("image", args.image)
            output.say(f"wrote {args.image}")
    return 0


def run_find(args: argparse.Namespace) -> int:
    """Find directions, measure them, name what they do, keep them."""
    from dataclasses import replace

    from directions import catalog, score
    from directions.ganspace import GanSpace
    from directions.methods import find

    G = _generator(args)
    with Output(args) as output:
        method = GanSpace(
            count=args.count, samples=args.samples, seed=args.seed, layers=args.layers, classes=args.label
        )
        make = unsupervised_cli.METHODS.get(args.method, lambda *_: [(method, "sampling")])
        found = [one for way, what in make(args, G) for one in find(G, way, on_progress=output.counter(what))]
        scorers = score.default_scorers(faces=_shows_faces(G))
        against = score.baseline(G, scorers, classes=args.label)
        kept = []
        for direction in found:
            seen = score.measure(G, direction, scorers, against=against, classes=args.label)
            measured = replace(direction, scores={**direction.scores, **seen.as_scores()})
            path = catalog.save(G, measured, folder=args.out)
            kept.append({**measured.header(), "file": path, "does": score.propose_name(seen)[0]})
            output.say(f"{direction.name:<12} {_summary(seen)}")
            output.say(f"{'':<12} {path}")
        output.put("directions", kept)
    return 0


def run_build(args: argparse.Namespace) -> int:
    """Rebuild the bundled directions."""
    from directions import bundle, score
    from directions.catalog import bundled_directions, folder_of
    from editkit.files import ensure_folder

    G = _generator(args)
    with Output(args) as output:
        scorers = score.default_scorers(faces=_shows_faces(G))
        bars, report = bundle.Bars(leakage=args.leakage), output.counter("rendering")
        made = bundle.build(G, scorers=scorers, bars=bars, root=args.out, on_progress=report)
        for one in made:
            name = one.direction.name
            output.say(f"{name:<22} to {one.direction.strength[1]:+.1f}  {_summary(one.measurement, name)}")
            if args.sheet is not None:
                _write_strip(G, one.direction, ensure_folder(args.sheet) / f"{name}.png", samples=6, seed=0)
        output.put("directions", [one.direction.header() for one in made])
        place = folder_of(G.spec.id, args.out or bundled_directions())
        output.put("folder", place)
        output.say(f"wrote {len(made)} to {place}")
    return 0


def _add(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    summary: str,
    run: Callable[[argparse.Namespace], int],
    *,
    examples: Sequence[tuple[str, str]],
) -> argparse.ArgumentParser:
    parser = add_action(actions, name, summary, run, examples=examples)
    parser.add_argument(
        "--generator", metavar="SOURCE", help="a name, a .safetensors or an official .pkl (default: the bundled one)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")
    return parser


def _generator(args: argparse.Namespace) -> Generator:
    from editkit.generator import load_generator

    return load_generator(args.generator, device=args.device)


def _shows_faces(G: Generator) -> bool:
    return "face" in (G.spec.domain or "")


def _summary(seen: Measurement, target: str | None = None) -> str:
    name = target or seen.target
    return (
        f"{name} {seen.effects[name]:+.2f} sd a unit, monotone on {seen.monotonicity[name]:.0%}, "
        f"leakage {seen.worst_leakage(name):.2f}"
    )


def _write_strip(
    G: Generator, direction: Direction, path: Path, *, samples: int, seed: int, classes: Classes | None = None
) -> None:
    from directions.score import sample_latents
    from directions.strips import strip
    from editkit.photo import write_image

    latents = sample_latents(G, samples=samples, seed=seed, classes=classes)
    write_image(path, strip(G, direction, latents))

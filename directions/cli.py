"""``editkit directions``: list, show, find, score, export, remove and rebuild directions."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from directions import disentangle_cli, find_cli, import_cli, score_cli
from editkit.command import Output, add_action, add_command
from editkit.option_types import add_class_option, add_generator_options, positive

if TYPE_CHECKING:
    from editkit.direction import Direction
    from editkit.generator import Generator
    from editkit.latent import Latent


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``editkit directions`` and its actions."""
    parser = add_command(
        subparsers,
        "directions",
        "list, show and find the directions that edits go along",
        examples=[
            ("editkit directions list", "what is at hand for the default generator"),
            ("editkit directions show smile_width --image smile.png", "its figures, and a picture of what it does"),
            (
                "editkit directions find --method svm --attribute face_length",
                "make one from a scorer, judge it and keep it",
            ),
            ("editkit directions score smile_width --image smile.png", "judge it on 96 samples"),
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
        examples=[("editkit directions show smile_width --image smile.png", "with a strip of generated samples")],
    )
    show.add_argument("name", metavar="NAME|FILE", help="as `editkit directions list` names it, or a .safetensors")
    show.add_argument("--image", type=Path, metavar="FILE", help="write a strip: a row a sample, a column a strength")
    show.add_argument("--samples", type=int, default=4, metavar="N", help="rows of the strip (default: 4)")
    show.add_argument("--seed", type=int, default=0, help="of the first sample (default: 0)")
    add_class_option(show)
    find = _add(
        actions,
        "find",
        "find directions, judge what they do and keep them",
        find_cli.run_find,
        examples=find_cli.EXAMPLES,
    )
    find_cli.add_options(find)
    score = _add(
        actions,
        "score",
        "judge a direction: effect, leakage, monotonicity, what is kept",
        score_cli.run_score,
        examples=score_cli.EXAMPLES,
    )
    score_cli.add_options(score)
    export = _add(
        actions,
        "export",
        "write a direction to a file, to keep or to give away",
        run_export,
        examples=[
            (
                "editkit directions export smile_width --out smile.safetensors",
                "with its figures, range and generator id",
            ),
            ("editkit directions export smile_width --out smile.npy", "the bare numbers, for other programs"),
        ],
    )
    export.add_argument("name", metavar="NAME|FILE", help="as `editkit directions list` names it, or a .safetensors")
    export.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help=".safetensors, .npz, or .npy (not in s)"
    )
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
    remove = _add(
        actions,
        "remove",
        "delete directions of your own",
        run_remove,
        examples=[("editkit directions remove beard", "its file is gone, and a bundled one of its name is back")],
    )
    remove.add_argument("names", nargs="+", metavar="NAME", help="of your own, as `editkit directions list` names them")
    build = _add(
        actions,
        "build",
        "rebuild the directions that are bundled with a generator",
        run_build,
        examples=[("editkit directions build --sheet docs/strips", "with a strip of each")],
    )
    build.add_argument("--out", type=Path, metavar="DIR", help="instead of the package's own folder")
    build.add_argument(
        "--leakage", type=float, default=0.3, metavar="SHARE", help="largest effect on another score (default: 0.3)"
    )
    build.add_argument("--labels", type=positive, default=8000, metavar="N", help="samples of the bank (default: 8000)")
    build.add_argument(
        "--components", type=int, default=0, metavar="N", help="of W, combined with the boundaries (default: 0)"
    )
    build.add_argument(
        "--wanted", type=positive, default=12, metavar="N", help="fill up to so many, where they pass (default: 12)"
    )
    build.add_argument("--sheet", type=Path, metavar="DIR", help="write a strip of each direction there")


def run_list(args: argparse.Namespace) -> int:
    """Names with range, unit and origin, and which miss the bars."""
    from directions import bars, catalog

    G = load_asked(args)
    with Output(args) as output:
        output.put("generator", {"id": G.spec.id, "name": G.spec.name})
        found = catalog.readable(G)
        rows = list(found.values())
        missed, origins = [bars.failures(row) for row in rows], [catalog.origin(G, name) for name in found]
        told = zip(found.items(), missed, origins, strict=True)  # by the name to type, that of the file
        output.put("directions", [{**r.header(), "name": n, "offered": not m, "origin": o} for (n, r), m, o in told])
        hidden = set(catalog.bundled(G)) - {name for name, o in zip(found, origins, strict=True) if o == "bundled"}
        output.put("hidden", sorted(hidden))
        if not rows:
            output.say(f"none for {G.spec.name}; make some with `editkit directions find`")
        for (name, row), failures, origin in zip(found.items(), missed, origins, strict=True):
            reach = f"{row.strength[0]:+.1f} to {row.strength[1]:+.1f}"
            line = "  ".join(
                filter(None, (f"{name:<22} {reach}", f"{row.space:<2}", f"{origin:<8}", row.unit, bars.told(row)))
            )
            hides = " (hides the bundled one)" if name in hidden else ""
            misses = f" (not offered: {'; '.join(failures)})" if failures else ""
            output.say(f"{line}{hides}{misses}")
    return 0


def run_show(args: argparse.Namespace) -> int:
    """Everything that is known of one direction, and a strip."""
    from directions.bars import failures
    from directions.score import sample_latents

    G = load_asked(args)
    direction = score_cli.asked(G, args.name)
    with Output(args) as output:
        header = {**direction.header(), "touches_placement": direction.touches_placement}
        for key, value in header.items():
            output.put(key, value)
            if key != "scores":
                output.say(f"{key:<18} {value}")
        for line in figures(direction):
            output.say(line)
        missed = failures(direction)
        output.put("offered", not missed)
        verdict = f"not offered: {'; '.join(missed)}" if missed else "offered by default"
        output.say(f"{direction.name}: {verdict}")
        if args.image is not None:
            latents = sample_latents(G, samples=args.samples, seed=args.seed, classes=args.label)
            write_strip(G, direction, args.image, latents)
            output.put("image", args.image)
            output.say(f"wrote {args.image}")
    return 0


def figures(direction: Direction) -> list[str]:
    """Lines for people: a row a score, the slopes of both halves and the one that counts; then the other figures."""
    from directions.bars import DECIDED
    from directions.measurement import EFFECT, HIGH, LOW

    scores = direction.scores
    names = [key.removeprefix(EFFECT) for key in scores if key.startswith(EFFECT)]
    lines = [f"  {'sd a unit':<24} {'low half':>9} {'high half':>9} {'counts':>9}"] if names else []
    for name in names:
        cells = [f"{scores[word + name]:+.3f}" if word + name in scores else "" for word in (LOW, HIGH, EFFECT)]
        lines.append(f"  {name:<24} {' '.join(f'{cell:>9}' for cell in cells)}")
    rest = {key: v for key, v in scores.items() if not key.startswith((EFFECT, LOW, HIGH, DECIDED, "accepted"))}
    return lines + [f"  {key:<24} {value:+.3f}" for key, value in rest.items()]


def run_export(args: argparse.Namespace) -> int:
    """Write one direction to a file."""
    from directions.export import write_direction

    G = load_asked(args)
    direction = score_cli.asked(G, args.name)
    with Output(args) as output:
        write_direction(args.out, direction)
        output.put("name", direction.name)
        output.put("file", args.out)
        output.say(f"wrote {args.out}")
    return 0


def run_remove(args: argparse.Namespace) -> int:
    """Delete files of the user's own, one after another, and say which."""
    from directions import catalog

    G = load_asked(args)
    with Output(args) as output:
        removed: list[dict[str, object]] = []
        output.put("removed", removed)
        for name in args.names:
            path, back = catalog.remove(G, name), name in catalog.bundled(G)
            removed.append({"name": name, "file": path, "bundled_is_back": back})
            output.say(f"removed {name}, {path}{'; the bundled one is back' if back else ''}")
    return 0


def run_build(args: argparse.Namespace) -> int:
    """Rebuild the bundled directions."""
    from directions import bundle
    from directions.catalog import bundled_directions, folder_of
    from directions.score import sample_latents
    from editkit.files import ensure_folder

    G = load_asked(args)
    with Output(args) as output:
        options = {"bars": bundle.Bars(leakage=args.leakage), "root": args.out}
        sizes = {"labels": args.labels, "count": args.components, "wanted": args.wanted}
        made = bundle.build(G, **options, **sizes, say=output.say, on_progress=output.counter("labelling"))
        for one in made:
            name = one.direction.name
            output.say(f"{name:<22} to {one.direction.strength[1]:+.1f}  {find_cli.summary(one.judgement)}")
            if args.sheet is not None:
                write_strip(G, one.direction, ensure_folder(args.sheet) / f"{name}.png", sample_latents(G, samples=6))
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
    add_generator_options(parser, label=False)
    return parser


def load_asked(args: argparse.Namespace) -> Generator:
    """The generator that ``--generator`` names, on ``--device``."""
    from editkit.generator import load_generator

    return load_generator(args.generator, device=args.device)


def write_strip(G: Generator, direction: Direction, path: Path, latents: Latent) -> None:
    """A strip of ``latents``, see ``directions.strips``."""
    from directions.strips import strip
    from editkit.photo import write_image

    write_image(path, strip(G, direction, latents))

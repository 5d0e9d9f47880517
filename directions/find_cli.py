"""``editkit directions find``: by a method, measured and kept."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from directions import unsupervised_cli
from editkit.command import Output
from editkit.errors import UsageError
from editkit.option_types import add_class_option, number_list, positive, positive_number

if TYPE_CHECKING:
    from directions.boundary import LinearSVM
    from directions.judging import Judgement
    from directions.labels import Labelled
    from directions.methods import Method
    from editkit.generator import Generator

ATTRIBUTES = (
    *("brightness", "contrast", "warmth", "tint", "saturation", "detail", "sharpness", "background"),
    *("side_light", "top_light", "background_warmth", "mouth_light", "lip_redness", "eye_shade"),
    *("age", "gender_presentation", "yaw", "pitch", "roll"),
    *("smile_width", "mouth_drop", "face_length", "face_size"),
)
"""Names of the built-in scorers, written out: a help page imports no torch."""
EXAMPLES = [
    (
        "editkit directions find --method svm --attribute brightness",
        "from a scorer; samples are labelled once and kept",
    ),
    (
        "editkit directions find --method svm --attribute face_length --space w+ --layers 1-4",
        "in some rows of W+ (or: --space s)",
    ),
    (
        "editkit directions find --method svm --labels smile.csv",
        "labels of yours: a column seed or latent, one of numbers",
    ),
    ("editkit project beards/ --out with; editkit project plain/ --out without", "project two folders of photos, then"),
    ("editkit directions find --method svm --with with --without without --name beard", "what tells them apart"),
    ("editkit directions find --method ganspace --count 5", "the first five principal components of W"),
    ("editkit directions find --method ganspace --layers 1-4 --out mine", "early rows only, kept in mine/"),
    *unsupervised_cli.EXAMPLES,
]


def add_options(find: argparse.ArgumentParser) -> None:
    """The options of all methods."""
    find.add_argument("--method", choices=tuple(METHODS), default="ganspace", help="how (default: ganspace, PCA of W)")
    find.add_argument(
        "--samples",
        type=positive,
        metavar="N",
        help="of W (default: 20000; svm and style-correlation: the shipped ones, or 10000 to label)",
    )
    find.add_argument("--seed", type=int, default=0, help="of the first sample (default: 0)")
    find.add_argument(
        "--layers", type=layer_list, metavar="ROWS", help="rows of W+, such as 1-4,7, or names in s (all)"
    )
    find.add_argument("--out", type=Path, metavar="DIR", help="where to keep them (default: the user's own folder)")
    find.add_argument(
        "--cut",
        action=argparse.BooleanOptionalAction,
        help="end ranges where pictures leave what samples look like (default: for faces, where it takes no minutes)",
    )
    find.add_argument("--judge", type=positive, default=96, metavar="N", help="judge on so many (default: 96)")
    add_class_option(find)
    pca = find.add_argument_group("ganspace")
    pca.add_argument("--count", type=positive, default=10, metavar="N", help="how many (default: 10)")
    svm = find.add_argument_group("svm: a linear support-vector machine")
    svm.add_argument(
        "--attribute",
        action="append",
        metavar="NAME",
        help=f"a scorer; repeatable: {', '.join(ATTRIBUTES)}",
    )
    svm.add_argument("--labels", type=Path, metavar="CSV", help="your labels: a column seed or latent, one of numbers")
    svm.add_argument("--column", metavar="NAME", help="of the numbers, where there are several")
    svm.add_argument(
        "--with", dest="with_it", type=Path, metavar="DIR", help="photos with it, as `editkit project` wrote"
    )
    svm.add_argument("--without", type=Path, metavar="DIR", help="photos without it, as `editkit project` wrote them")
    svm.add_argument("--name", help="of the direction (default: the attribute, or the column)")
    svm.add_argument(
        "--space", choices=("w", "w+", "s"), help="where to look (default: w; for photos w+); w+ where w leaks"
    )
    ends = svm.add_mutually_exclusive_group()
    ends.add_argument("--share", type=positive_number, default=0.1, help="of the samples, at each end (default: 0.1)")
    ends.add_argument("--margin", type=positive_number, metavar="SD", help="samples this many deviations from the mean")
    svm.add_argument("--regularisation", type=positive_number, default=1e-3, metavar="C", help="C (default: 0.001)")
    svm.add_argument("--pattern", action="store_true", help="along what changes with the score, not along the normal")
    unsupervised_cli.add_options(find)


def run_find(args: argparse.Namespace) -> int:
    """Find directions, judge them, keep them."""
    from directions import accuracy, catalog, cutting
    from directions.cli import load_asked
    from directions.judging import judge
    from directions.methods import find

    G = load_asked(args)
    with Output(args) as output:
        kept = []
        uncut = "--no-cut" if args.cut is False else cutting.why_not(G, asked=args.cut is True)
        for method, what in METHODS[args.method](args, G):
            for direction in find(G, method, on_progress=output.counter(what)):
                target = _target(method)
                if not uncut:
                    direction = cutting.cut(G, direction, getattr(method, "scorer", None), classes=args.label)
                options = {"target": target, "samples": args.judge, "classes": args.label}
                found = judge(G, direction, **options, on_progress=output.counter("judging"))
                measured = found.applied(direction)
                hides = catalog.hiding(G, direction.name, folder=args.out)
                path = catalog.save(G, measured, folder=args.out)
                told = {
                    "cut": not uncut,
                    "file": path,
                    "does": found.target,
                    "failures": found.failures,
                    "hides_bundled": bool(hides),
                }
                kept.append({**measured.header(), **told})
                output.say(f"{direction.name:<22} {summary(found)}")
                if "accuracy" in direction.scores:
                    output.say(f"{'':<22} {accuracy.told(direction.scores)}")
                reach = f"{direction.strength[0]:+.1f} to {direction.strength[1]:+.1f}"
                output.say(f"{'':<22} a unit is {direction.unit}")
                ends = f"as far as samples go, not cut ({uncut})" if uncut else "as far as pictures look like samples"
                output.say(f"{'':<22} range {reach}: {ends}; not shortened by the bars")
                for line in filter(None, (path, hides)):
                    output.say(f"{'':<22} {line}")
        output.put("directions", kept)
    return 0


def _target(method: Method) -> str | None:
    """The built-in score that was looked for; None where there was none: then the direction's own name decides."""
    from directions import attributes

    name = getattr(getattr(method, "scorer", None), "name", None)
    return name if name in attributes.built_in() else None


def layer_list(text: str) -> tuple[int, ...] | tuple[str, ...]:
    """``1-4,7`` as numbers, ``L0_36_1024,L1_36_1024`` as names of layers in s. Raises ArgumentTypeError."""
    if not re.search(r"[A-Za-z]", text):
        return number_list(text)
    return tuple(part.strip() for part in text.split(","))


def summary(found: Judgement) -> str:
    """A line for people: the effect, and the bars that are missed."""
    seen, name = found.measurement, found.target
    kept = "" if found.kept is None else f", {found.kept:.0%} of the rest kept"
    return (
        f"{name} {seen.effects[name]:+.2f} sd a unit in the weaker half, monotone on {seen.monotonicity[name]:.0%}, "
        f"leakage {seen.worst_leakage(name):.2f}{kept}; "
        + ("offered" if not found.failures else f"not offered: {'; '.join(found.failures)}")
    )


def _ganspace(args: argparse.Namespace, G: Generator) -> Sequence[tuple[Method, str]]:
    from directions.ganspace import GanSpace

    samples = 20_000 if args.samples is None else args.samples
    rows = unsupervised_cli.rows(args)
    method = GanSpace(count=args.count, samples=samples, seed=args.seed, layers=rows, classes=args.label)
    return [(method, "sampling")]


def _svm(args: argparse.Namespace, G: Generator) -> Sequence[tuple[Method, str]]:
    """A method for each attribute, or for the labels."""
    from directions.boundary import LinearSVM

    labels = _labels(args, G)
    names = args.attribute or [None]
    if (labels is None and not args.attribute) or (len(names) > 1 and (labels is not None or args.name)):
        raise UsageError("svm needs --attribute (several without --name), --labels, or --with and --without")

    def method(name: str | None) -> LinearSVM:
        return LinearSVM(
            scorer=name,
            labels=labels,
            name=args.name,
            space=args.space or ("w+" if args.with_it is not None else "w"),
            layers=args.layers,
            samples=args.samples,
            seed=args.seed,
            share=args.share,
            margin=args.margin,
            regularisation=args.regularisation,
            pattern=args.pattern,
            classes=args.label,
        )

    return [(method(name), "labelling") for name in names]


def _labels(args: argparse.Namespace, G: Generator) -> Labelled | None:
    from directions.labels import Labelled

    folders = (args.with_it, args.without)
    if (args.labels is not None and any(folders)) or (any(folders) and not all(folders)):
        raise UsageError("labels come from --labels, or from --with and --without together")
    if args.labels is not None:
        return Labelled.from_csv(G, args.labels, name=args.column, classes=args.label)
    if args.with_it is None:
        return None
    if not args.name:
        raise UsageError("--with and --without need --name, what the photos differ in")
    return Labelled.from_folders(G, args.with_it, args.without, name=args.name)


METHODS: dict[str, Callable[[argparse.Namespace, Generator], Sequence[tuple[Method, str]]]] = {
    "ganspace": _ganspace,
    "svm": _svm,
    **unsupervised_cli.METHODS,
}
"""Name -> what makes the method objects, each with a word for its progress, from the options."""

"""``editkit directions name`` and ``disentangle``: names for what was found without one, and less leakage."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from editkit.command import Output
from editkit.option_types import add_class_option, positive

if TYPE_CHECKING:
    from directions.attributes import Scorer
    from editkit.direction import Direction
    from editkit.generator import Generator

NAME_EXAMPLES = [
    ("editkit directions name", "which score goes with each direction at hand, over labelled samples"),
    ("editkit directions name pca-0 sefa-1 --apply", "keep these two under the names proposed"),
]
EXAMPLES = [
    ("editkit directions disentangle yaw age brightness", "each without the other two, kept as yaw-alone and so on"),
    ("editkit directions disentangle yaw age --search", "also limited to the rows on which they leak least"),
]
SUFFIX = "-alone"


def add_name_options(parser: argparse.ArgumentParser) -> None:
    """Of ``name``."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="directions (default: all at hand)")
    parser.add_argument("--samples", type=positive, default=1000, metavar="N", help="to label (default: 1000)")
    parser.add_argument("--apply", action="store_true", help="keep them under the proposed names as well")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where (default: the user's own folder)")
    add_class_option(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Of ``disentangle``."""
    parser.add_argument("names", nargs="+", metavar="NAME", help="two or more directions (one, with --search)")
    parser.add_argument("--search", action="store_true", help="search the range of layers that leaks least as well")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to keep them (default: the user's own folder)")
    add_class_option(parser)


def run_name(args: argparse.Namespace) -> int:
    """Propose names, and keep them if asked."""
    from directions import catalog
    from directions.bank import labelled
    from directions.bars import target_of
    from directions.naming import proposals, renamed
    from directions.score import all_scorers

    G = _generator(args)
    with Output(args) as output:
        found = [catalog.load(G, name) for name in args.names or catalog.names(G)]
        bank = labelled(
            G,
            all_scorers(faces="face" in (G.spec.domain or "")),
            samples=args.samples,
            classes=args.label,
            on_progress=output.counter("labelling"),
        )
        proposed = proposals(G, found, bank, classes=args.label)
        for one in proposed:
            output.say(one.line)
        kept = []
        if args.apply:
            called = [one.name in (one.target, target_of(one)) for one in found]  # for what it is for: that stays
            old = [one for one, right in zip(found, called, strict=True) if not right]
            told = [one for one, right in zip(proposed, called, strict=True) if not right]
            taken = [one.name for one, right in zip(found, called, strict=True) if right]
            for before, new in zip(old, renamed(old, told, taken=taken), strict=True):
                if new.name != before.name:
                    kept.append(catalog.save(G, new, folder=args.out))
                    output.say(f"{new.name:<22} {kept[-1]}")
                    if hides := catalog.hiding(G, new.name, folder=args.out):
                        output.say(f"{'':<22} {hides}")
        rows = [{"direction": p.direction, "name": p.name, "correlations": dict(p.correlations)} for p in proposed]
        output.put("proposals", rows)
        output.put("kept", kept)
    return 0


def run_disentangle(args: argparse.Namespace) -> int:
    """The leakage matrix before and after, and what was kept."""
    from directions import catalog
    from directions.calibration import known_baseline
    from directions.channels import in_units
    from directions.disentangle import leakage_matrix, narrowed, orthogonalised, within
    from directions.find_cli import summary
    from directions.judging import judge

    G = _generator(args)
    before = [catalog.load(G, name) for name in args.names]
    scorers = _scorers(G, before)
    by_name = {one.name: one for one in scorers}
    with Output(args) as output:
        against = known_baseline(G, scorers, classes=args.label)
        options = {"against": against, "classes": args.label}
        first = leakage_matrix(G, before, scorers, **options, on_progress=output.counter("before"))
        targets = [first.scores[column] for column in first.targets]
        output.say(f"leakage before: {first.worst:.2f} at most\n{first.table()}")
        after = list(orthogonalised(G, before, classes=args.label)) if len(before) > 1 or not args.search else before
        made = []
        for old, one, target in zip(before, after, targets, strict=True):
            if args.search:
                narrow = narrowed(G, one, scorers, target=target, **options, on_progress=output.counter(one.name))
                output.say(f"{one.name}: layers {', '.join(map(str, narrow.layers))}")
                one = narrow.direction
            else:
                own = replace(
                    against, mean={target: against.mean[target]}, deviation={target: against.deviation[target]}
                )
                (one,) = in_units(G, [one], by_name[target], against=own, classes=args.label)
            one = within(G, one, old, classes=args.label)
            made.append(replace(one, name=f"{one.name[: 64 - len(SUFFIX)]}{SUFFIX}"))
        told = {one.name: target for one, target in zip(made, targets, strict=True)}
        second = leakage_matrix(G, made, scorers, **options, targets=told, on_progress=output.counter("after"))
        output.say(f"leakage after: {second.worst:.2f} at most\n{second.table()}")
        kept = []
        for one in made:
            found = judge(G, one, scorers=scorers, target=told[one.name], **options)
            kept.append(catalog.save(G, found.applied(one), folder=args.out))
            output.say(f"{one.name:<22} {summary(found)}\n{'':<22} {kept[-1]}")
        output.put("before", {"scores": first.scores, "leakage": first.leakage.tolist(), "worst": first.worst})
        output.put("after", {"scores": second.scores, "leakage": second.leakage.tolist(), "worst": second.worst})
        output.put("kept", kept)
    return 0


def _generator(args: argparse.Namespace) -> Generator:
    from editkit.generator import load_generator

    return load_generator(args.generator, device=args.device)


def _scorers(G: Generator, found: Sequence[Direction]) -> tuple[Scorer, ...]:
    """Those that directions are judged by, and the scores that these are for."""
    from directions.bars import intended
    from directions.score import all_scorers, default_scorers

    faces = "face" in (G.spec.domain or "")
    usual, known = default_scorers(faces=faces), {one.name: one for one in all_scorers(faces=faces)}
    own = {name: known[name] for one in found if (name := intended(one, known))}
    return usual + tuple(own[name] for name in sorted(own.keys() - {one.name for one in usual}))

"""``editkit directions import``: published arrays as directions of a generator."""

from __future__ import annotations

import argparse
from pathlib import Path

from editkit.command import Output
from editkit.errors import UsageError
from editkit.option_types import add_class_option, number_list

EXAMPLES = [
    (
        "editkit directions import age_boundary.npy --generator ffhq.pkl --name age",
        "a boundary of InterFaceGAN, for the generator that it was made for",
    ),
    (
        "editkit directions import ganspace.npz --generator ffhq.pkl --name pca --index 0-9",
        "ten components of GANSpace",
    ),
    (
        "editkit directions import age.npy --generator faces64 --name age --made-for ffhq --refit age",
        "of another generator: tried, and put in units of a score",
    ),
]


def add_options(parser: argparse.ArgumentParser) -> None:
    """All but the generator and the device."""
    parser.add_argument("file", type=Path, metavar="FILE", help=".npy, .npz, or a .safetensors of ours")
    parser.add_argument("--name", required=True, help="of the direction; several are called NAME-0, NAME-1 ...")
    parser.add_argument(
        "--space",
        choices=("w", "w+"),
        default="w",
        help="of an array (default: w); one of Z has the shape of one of W and does nothing good: it is not told apart",
    )
    parser.add_argument("--index", type=number_list, metavar="NUMBERS", help="which of several, such as 0-4 (all)")
    parser.add_argument("--key", metavar="NAME", help="which array of a .npz (default: GANSpace's, or the only one)")
    parser.add_argument("--layers", type=number_list, metavar="ROWS", help="limited to rows of W+, such as 1-4 (all)")
    parser.add_argument("--made-for", metavar="NAME|ID", help="the generator that it was made for, where known")
    parser.add_argument(
        "--refit",
        metavar="ATTRIBUTE",
        help="take it though it was made for another generator: in units of this score, or fitted anew",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to keep it (default: the user's own folder)")
    add_class_option(parser)


def run_import(args: argparse.Namespace) -> int:
    """Import, keep, and say where."""
    from directions import catalog
    from directions.published import import_directions
    from directions.unsupervised_cli import scorer
    from editkit.generator import load_generator

    if args.generator is None:
        raise UsageError("arrays do not say which generator they are for: --generator SOURCE")
    G = load_generator(args.generator, device=args.device)
    with Output(args) as output:
        found = import_directions(
            G,
            args.file,
            name=args.name,
            space=args.space,
            chosen=args.index,
            layers=args.layers,
            key=args.key,
            made_for=args.made_for,
            refit=None if args.refit is None else scorer(args.refit),
            classes=args.label,
            on_progress=output.counter("labelling"),
        )
        kept = []
        for direction in found:
            path = catalog.save(G, direction, folder=args.out)
            hides = catalog.hiding(G, direction.name, folder=args.out)
            kept.append({**direction.header(), "file": path, "hides_bundled": bool(hides)})
            output.say(f"{direction.name:<22} {direction.method}; {direction.unit}")
            for line in filter(None, (path, hides)):
                output.say(f"{'':<22} {line}")
        output.put("directions", kept)
    return 0

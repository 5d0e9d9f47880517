"""Methods of ``editkit directions find`` that need no labels, and those in StyleSpace: their options and objects."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from editkit.errors import UsageError
from editkit.option_types import positive

if TYPE_CHECKING:
    from directions.attributes import Scorer
    from directions.methods import Method
    from editkit.generator import Generator

EXAMPLES = [
    ("editkit directions find --method sefa --layers 1-3 --count 5", "by closed-form factorisation of early rows"),
    ("editkit directions find --method ganspace-layer --layer 3", "by PCA of a layer's activations, carried back to w"),
    ("editkit directions find --method style-gradient --attribute yaw --keep age", "channels of s that turn the head"),
    ("editkit directions find --method style-correlation --attribute warmth --count 3", "three single channels of s"),
    (
        'editkit directions find --method text --from "a face" --to "a smiling face" --clip vit-b-32.safetensors '
        "--name smile",
        "from two sentences",
    ),
]
_SAMPLES = 20_000


def add_options(find: argparse.ArgumentParser) -> None:
    """The options that no other method has."""
    group = find.add_argument_group("ganspace-layer, style-correlation, style-gradient, text")
    group.add_argument(
        "--layer", type=int, default=2, metavar="N", help="ganspace-layer: which, from 0 on (default: 2)"
    )
    group.add_argument(
        "--channels", type=positive, metavar="N", help="one direction of N channels (default: --count single ones)"
    )
    group.add_argument("--keep", action="append", metavar="NAME", help="a scorer that should not move; repeatable")
    group.add_argument("--from", dest="neutral", metavar="SENTENCE", help='text: what there is, "a face"')
    group.add_argument("--to", dest="target", metavar="SENTENCE", help='text: what is wanted, "a smiling face"')
    group.add_argument("--clip", type=Path, metavar="FILE", help="text: weights for open_clip; never downloaded")
    group.add_argument("--clip-model", default="ViT-B-32", metavar="NAME", help="text: whose (default: ViT-B-32)")


def _sefa(args: argparse.Namespace, G: Generator) -> Sequence[tuple[Method, str]]:
    from directions.sefa import SeFa

    samples = args.samples or _SAMPLES
    method = SeFa(count=args.count, layers=rows(args), samples=samples, seed=args.seed, classes=args.label)
    return [(method, "sampling")]


def _layer(args: argparse.Namespace, G: Generator) -> Sequence[tuple[Method, str]]:
    from directions.activations import LayerGanSpace

    samples = args.samples or _SAMPLES
    options = {"samples": samples, "seed": args.seed, "layers": rows(args), "classes": args.label}
    return [(LayerGanSpace(layer=args.layer, count=args.count, **options), "rendering")]


def _correlation(args: argparse.Namespace, G: Generator) -> Sequence[tuple[Method, str]]:
    from directions.stylespace import StyleCorrelation

    channels, count = (1, args.count) if args.channels is None else (args.channels, 1)
    options = {"layers": _names(args, G), "seed": args.seed, "classes": args.label, "channels": channels}
    if args.samples:
        options["samples"] = args.samples
    return [(StyleCorrelation(scorer=one, count=count, **options), "labelling") for one in _asked(args)]


def _gradient(args: argparse.Namespace, G: Generator) -> Sequence[tuple[Method, str]]:
    from directions.style_gradient import StyleGradient

    channels, count = (1, args.count) if args.channels is None else (args.channels, 1)
    options = {"layers": _names(args, G), "seed": args.seed, "classes": args.label, "channels": channels}
    if args.samples:
        options["samples"] = min(args.samples, 512)  # whose gradients are averaged
    kept = tuple(scorer(name) for name in args.keep or ())
    return [(StyleGradient(scorer=one, keep=kept, count=count, **options), "gradients") for one in _asked(args)]


def _text(args: argparse.Namespace, G: Generator) -> Sequence[tuple[Method, str]]:
    from directions.text import TextDirection, load_clip

    if not (args.neutral and args.target and args.clip and args.name):
        raise UsageError("text needs --from SENTENCE, --to SENTENCE, --clip FILE and --name NAME")
    method = TextDirection(
        neutral=args.neutral,
        target=args.target,
        encoder=load_clip(args.clip, model=args.clip_model, device=G.device),
        name=args.name,
        keep=tuple(scorer(name) for name in args.keep or ()),
        channels=args.channels or 40,
        layers=_names(args, G),
        seed=args.seed,
        classes=args.label,
    )
    return [(method, "gradients")]


def scorer(name: str) -> Scorer:
    """A built-in scorer, of faces or of any picture. Raises UsageError, listing the names."""
    from directions import attributes

    return attributes.scorer(name)


def _asked(args: argparse.Namespace) -> list[Scorer]:
    if not args.attribute:
        raise UsageError(f"{args.method} needs --attribute NAME, what to look for")
    return [scorer(name) for name in args.attribute]


def rows(args: argparse.Namespace) -> tuple[int, ...] | None:
    """Rows of W+ by number. Raises UsageError where layers are named."""
    if args.layers is not None and any(isinstance(layer, str) for layer in args.layers):
        raise UsageError(f"{args.method} takes rows of W+ by number, such as 1-4, got {','.join(args.layers)}")
    return args.layers


def _names(args: argparse.Namespace, G: Generator) -> tuple[str, ...] | None:
    """Layers of s: as named, or those that the numbered rows of W+ drive."""
    from directions.affine import content_rows, style_rows

    if args.layers is None or all(isinstance(layer, str) for layer in args.layers):
        return args.layers
    rows = content_rows(G, args.layers)
    return tuple(name for name, row in style_rows(G).items() if row in rows)


METHODS: dict[str, Callable[[argparse.Namespace, Generator], Sequence[tuple[Method, str]]]] = {
    "sefa": _sefa,
    "ganspace-layer": _layer,
    "style-correlation": _correlation,
    "style-gradient": _gradient,
    "text": _text,
}
"""Name -> what makes the method objects, each with a word for its progress, from the options."""

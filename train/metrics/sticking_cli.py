"""``editkit metrics sticking``: whether texture moves with the content, for one generator or several."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editkit.command import Output, add_common, add_examples
from editkit.option_types import add_class_option, positive, positive_number, whole

if TYPE_CHECKING:
    from torch import Tensor

LOOKABLE = 256
"""Smallest side in pixels of the pictures: smaller ones are enlarged, so that a person sees them."""


def register(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds ``sticking``."""
    parser = kinds.add_parser(
        "sticking",
        help="whether texture moves with the content",
        description="Move a generator's content in sub-pixel steps, move the frames back and compare; and average the "
        "pictures near\na latent, where detail that sticks stays sharp. Karras et al. 2021, figure 1 and section 3.1. "
        "A StyleGAN2 is moved\nby its learned constant.",
        allow_abbrev=False,
    )
    parser.add_argument("generators", nargs="*", metavar="GENERATOR", help="names or files (default: the bundled one)")
    parser.add_argument("--samples", type=positive, default=16, metavar="N", help="pictures moved (default: 16)")
    parser.add_argument("--steps", type=positive, default=8, metavar="N", help="positions on the path (default: 8)")
    parser.add_argument(
        "--length", type=positive_number, default=0.05, metavar="WIDTHS", help="of the path (default: 0.05)"
    )
    parser.add_argument("--near", type=positive, default=64, metavar="N", help="latents averaged (default: 64)")
    parser.add_argument(
        "--radius", type=positive_number, default=0.3, metavar="R", help="how far these are, 0 to 1 (default: 0.3)"
    )
    parser.add_argument("--seed", type=whole, default=0, metavar="N", help="of the first picture (default: 0)")
    add_class_option(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")
    parser.add_argument("--batch", type=positive, default=8, metavar="N", help="pictures at a time (default: 8)")
    parser.add_argument(
        "--picture", type=Path, metavar="FILE", help="write latent and average side by side, a row a generator"
    )
    add_examples(
        parser,
        [
            ("editkit metrics sticking", "the bundled generator"),
            ("editkit metrics sticking faces64 ffhq2.pkl --picture sticking.png", "beside another, with a picture"),
        ],
    )
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from contextlib import nullcontext

    import torch

    from editkit.files import atomic_path
    from editkit.generator import load_generator
    from editkit.photo import write_image
    from editkit.rendering import image_grid
    from train.metrics.sticking import neighbourhood, translation_sticking

    rows: list[Tensor] = []
    # Before the work: a picture that cannot be written is told then.
    place = nullcontext() if args.picture is None else atomic_path(args.picture)
    with Output(args) as output, place as file:
        found: list[dict[str, Any]] = []
        output.put("generators", found)
        for source in args.generators or [None]:
            G = load_generator(source, device=args.device)
            shared = {"seed": args.seed, "classes": args.label, "batch": args.batch}
            seen = translation_sticking(
                G,
                samples=args.samples,
                steps=args.steps,
                length=args.length,
                on_progress=output.counter(f"{G.spec.name}: step"),
                **shared,
            )
            near = neighbourhood(G, count=args.near, radius=args.radius, **shared)
            figures = {**asdict(seen), "detail_kept": near.detail_kept, "outline_kept": near.outline_kept}
            found.append({"name": G.spec.name, "id": G.spec.id, "kind": G.spec.kind, **figures})
            output.say(
                f"{G.spec.name} ({G.spec.kind}): moved back {seen.psnr:.1f} dB, residual {seen.residual:.2g} of the "
                f"variance, {seen.stuck:.1%} stuck; the average keeps {near.detail_kept:.0%} of the detail and "
                f"{near.outline_kept:.0%} of the outline"
            )
            rows += [_enlarged(near.central), _enlarged(near.average)]
        if file is not None:
            side = max(picture.shape[-1] for picture in rows)
            write_image(file, image_grid(torch.stack([_to(p, side) for p in rows]), columns=2, padding=4))
            output.put("picture", args.picture)
            output.say(f"{args.picture}")
    return 0


def _enlarged(picture: Tensor) -> Tensor:
    """[3, R, R] by a whole factor, pixel by pixel: what is sharp stays sharp."""
    factor = -(-LOOKABLE // picture.shape[-1])
    return picture.repeat_interleave(factor, 1).repeat_interleave(factor, 2)


def _to(picture: Tensor, side: int) -> Tensor:
    from torch.nn.functional import interpolate

    return interpolate(picture[None], size=(side, side), mode="nearest")[0]

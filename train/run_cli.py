"""``editkit train --data``: a generator for pictures of your own."""

from __future__ import annotations

import argparse
from pathlib import Path

from editkit.command import Output
from editkit.errors import EditkitError, UsageError
from editkit.option_types import positive, positive_number, whole
from train import recipe_options

EXAMPLES = (
    ("editkit train --data photos.zip --resolution 64 --recipe tiny --minutes 20", "a trial on a laptop"),
    ("editkit train --data photos.zip --recipe stylegan3-t --batch 32 --out runs/mine", "the real thing, on a GPU"),
    ("editkit train --data photos.zip --recipe stylegan3-t --dry-run", "plan, memory and time; nothing is written"),
    ("editkit train --data photos.zip --recipe stylegan-xl --cond --stages 16,32,64 --stage-kimg 5000", "in stages"),
    ("editkit train --data mine.zip --from runs/faces/generator.safetensors --freeze-d 6", "fine-tune"),
    ("torchrun --nproc-per-node 4 -m train --data photos.zip --recipe stylegan3-r", "four GPUs; start again to resume"),
)  # fmt: skip
AUGMENTATIONS = (
    "none", "blit", "geom", "color", "filter", "noise", "cutout", "bg", "bgc", "bgcf", "bgcfn", "bgcfnc",
)  # fmt: skip
RECIPES = ("stylegan3-t", "stylegan3-r", "stylegan2", "projected", "stylegan-xl", "small", "tiny", "tiny-xl")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the general training, on the parser of ``editkit train`` itself."""
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data", type=Path, metavar="DIR|ZIP", help="pictures; `editkit dataset build` makes and checks one"
    )
    data.add_argument(
        "--resolution", type=positive, metavar="R", help="cut and resize to this side (default: as they are)"
    )
    data.add_argument("--cond", action="store_true", help="train on the labels of dataset.json")
    data.add_argument("--mirror", action="store_true", help="also show every picture mirrored")
    data.add_argument("--max-images", type=positive, metavar="N", help="use so many pictures only")
    recipe = parser.add_argument_group("recipe")
    recipe.add_argument("--recipe", choices=RECIPES, help="networks and settings (default: small)")
    recipe.add_argument(
        "--batch", type=positive, metavar="N", help="images a step, over all processes (default: 32; tiny ones: 16)"
    )
    recipe.add_argument(
        "--micro-batch", type=positive, metavar="N", help="of them at a time on one device (default: all)"
    )
    recipe.add_argument(
        "--loss",
        choices=("non-saturating", "relativistic", "projected"),
        help="default: the recipe's; projected: on frozen features",
    )
    recipe.add_argument(
        "--gamma", type=positive_number, metavar="G", help="weight of R1 (default: by resolution and batch)"
    )
    recipe.add_argument("--lr", type=positive_number, help="of the generator (default: the recipe's)")
    recipe.add_argument("--lr-discriminator", type=positive_number, metavar="LR", help="default: the recipe's")
    recipe.add_argument(
        "--augment",
        choices=("ada", "fixed", "diff", "none"),
        help="adaptive, at --strength, DiffAugment, or none",
    )
    recipe.add_argument(
        "--strength", type=float, metavar="P", help="of augmentation: at the start (ada) or always (fixed)"
    )
    recipe.add_argument(
        "--augment-preset",
        choices=AUGMENTATIONS,
        metavar="NAME",
        help=f"what ada and fixed do: b blits, g geometry, c colour, filter, noise, cutout; {', '.join(AUGMENTATIONS)} "
        "(bgc)",
    )
    recipe.add_argument(
        "--ada-target",
        type=positive_number,
        metavar="R",
        help="sign of the discriminator on photographs aimed at (0.6)",
    )
    recipe.add_argument(
        "--ada-kimg",
        type=positive_number,
        metavar="K",
        help="thousand images in which ada's strength may go from 0 to 1",
    )
    recipe.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="FILE",
        help="begin from a generator's weights; faces64: the bundled",
    )
    recipe.add_argument(
        "--freeze-d", type=whole, default=0, metavar="N", help="keep the first N layers of the discriminator"
    )
    recipe.add_argument(
        "--precision", choices=("auto", "float32"), default="auto", help="float32: no half precision on a GPU"
    )
    recipe.add_argument("--seed", type=whole, default=0, help="of weights, data order and noise (default: 0)")
    recipe_options.add(parser)
    run = parser.add_argument_group("run")
    run.add_argument(
        "--out",
        type=Path,
        default=Path("runs/train"),
        metavar="DIR",
        help="goes on where it stopped (default: %(default)s)",
    )
    run.add_argument(
        "--kimg",
        type=positive_number,
        default=25_000.0,
        metavar="K",
        help="thousands of images in all (default: 25000)",
    )
    run.add_argument("--minutes", type=positive_number, metavar="M", help="stop after this long, with a snapshot")
    run.add_argument(
        "--snapshot-every", type=positive_number, default=200.0, metavar="K", help="thousands of images (default: 200)"
    )
    run.add_argument(
        "--snapshot-minutes", type=positive_number, default=15.0, metavar="M", help="or minutes (default: 15)"
    )
    run.add_argument(
        "--metric",
        choices=("auto", "fd_faces", "fd_texture", "fd_pixels", "none"),
        default="auto",
        help="at snapshots; the best is kept (default: fd_faces of face crops, else fd_texture)",
    )
    run.add_argument("--workers", type=whole, metavar="N", help="processes that decode pictures (default: by machine)")
    run.add_argument(
        "--video",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="a short walk through the samples at every snapshot (default: yes)",
    )
    run.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")
    run.add_argument("--threads", type=positive, metavar="N", help="of torch on the CPU (default: all cores)")
    run.add_argument("--dry-run", action="store_true", help="print the plan with memory and time, and write nothing")
    parser.set_defaults(run=run_training)


def run_training(args: argparse.Namespace) -> int:
    """Train, or go on."""
    if args.data is None:
        raise UsageError("train needs --data DIR|ZIP, or one of the small networks: starter, scorers, landmarks")
    import torch

    from train.allocator import keep_freed_memory
    from train.run_stages import train_stages
    from train.world import join, leave

    if args.threads:
        torch.set_num_threads(args.threads)
    world = join(args.device)
    if world.device.type == "cpu":
        keep_freed_memory()
    try:
        with Output(args) as output:
            ended = train_stages(args, world, output)
        return 130 if ended is not None and ended.why == "interrupted" else 0
    except ArithmeticError as error:
        raise EditkitError(str(error)) from error
    finally:
        leave()

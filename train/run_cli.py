"""``editkit train --data``: a generator for pictures of your own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editkit.command import Output
from editkit.errors import EditkitError, UsageError
from editkit.option_types import positive, positive_number

if TYPE_CHECKING:
    from train.config import TrainConfig
    from train.dataset import ImageDataset
    from train.transfer import Begun

EXAMPLES = (
    ("editkit train --data photos.zip --resolution 64 --recipe tiny --minutes 20", "a trial on a laptop"),
    ("editkit train --data photos.zip --recipe stylegan3-t --batch 32 --out runs/mine", "the real thing, on a GPU"),
    ("editkit train --data photos.zip --recipe stylegan3-t --dry-run", "plan, memory and time; nothing is written"),
    ("editkit train --data mine.zip --from runs/faces/generator.safetensors --freeze-d 6", "fine-tune"),
    ("torchrun --nproc-per-node 4 -m train --data photos.zip --recipe stylegan3-r", "four GPUs; start again to resume"),
)  # fmt: skip
RECIPES = ("stylegan3-t", "stylegan3-r", "stylegan2", "small", "tiny")


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
        "--batch", type=positive, metavar="N", help="images a step, over all processes (default: 32; tiny: 16)"
    )
    recipe.add_argument(
        "--micro-batch", type=positive, metavar="N", help="of them at a time on one device (default: all)"
    )
    recipe.add_argument("--loss", choices=("non-saturating", "relativistic"), help="default: the recipe's")
    recipe.add_argument(
        "--gamma", type=positive_number, metavar="G", help="weight of R1 (default: by resolution and batch)"
    )
    recipe.add_argument("--lr", type=positive_number, help="of the generator (default: the recipe's)")
    recipe.add_argument("--lr-discriminator", type=positive_number, metavar="LR", help="default: the recipe's")
    recipe.add_argument("--augment", choices=("ada", "fixed", "none"), help="adaptive, at --strength, or not at all")
    recipe.add_argument(
        "--strength", type=float, metavar="P", help="of augmentation: at the start (ada) or always (fixed)"
    )
    recipe.add_argument("--from", dest="source", type=Path, metavar="FILE", help="begin from a generator's weights")
    recipe.add_argument(
        "--freeze-d", type=int, default=0, metavar="N", help="keep the first N layers of the discriminator"
    )
    recipe.add_argument(
        "--precision", choices=("auto", "float32"), default="auto", help="float32: no half precision on a GPU"
    )
    recipe.add_argument("--seed", type=int, default=0, help="of weights, data order and noise (default: 0)")
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
    run.add_argument("--workers", type=int, metavar="N", help="processes that decode pictures (default: by machine)")
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
    from train.config import TrainConfig
    from train.dataset import open_dataset
    from train.run import RunOptions, run
    from train.snapshots import Folder
    from train.training import Training
    from train.transfer import load_networks, read_networks
    from train.world import join, leave

    if args.threads:
        torch.set_num_threads(args.threads)
    world = join(args.device)
    if world.device.type == "cpu":
        keep_freed_memory()
    try:
        with Output(args) as output:
            dataset = open_dataset(
                args.data,
                resolution=args.resolution,
                use_labels=args.cond,
                xflip=args.mirror,
                max_images=args.max_images,
            )
            begun = None if args.source is None else read_networks(args.source)
            config = _config(args, dataset, begun)
            folder = None if args.dry_run else Folder(args.out)
            state = None if folder is None else folder.load()
            if state is not None:
                _check_same(TrainConfig.from_json(state["config"]), config, args.out)
            training = Training(config, world=world)
            if begun is not None and state is None:
                for line in load_networks(training, begun):
                    output.say(line)
            facts: dict[str, Any] = {
                "name": args.out.name, "data": args.data.name, "class_names": list(dataset.class_names),
                "alignment": "centre",
            }  # fmt: skip
            if state is not None and folder is not None:
                training.load_state_dict(state)
                facts |= {"best": state["facts"].get("best")}
                if world.leads:
                    folder.forget_after(training.seen)
                    output.say(f"going on from {training.seen:,} images")
            if world.leads:
                _say_plan(output, training, dataset)
            if args.dry_run:
                _measure_plan(output, training, dataset, args)
                return 0
            options = RunOptions(
                images=int(args.kimg * 1000),
                minutes=args.minutes,
                snapshot_images=max(1, int(args.snapshot_every * 1000)),
                snapshot_minutes=args.snapshot_minutes,
                report_steps=max(1, 800 // config.batch),
                metric=args.metric,
                workers=args.workers,
                video=args.video,
                facts=facts,
            )
            ended = run(training, dataset, folder if world.leads else None, options, say=output.say)
            output.put("ended", ended.why)
            output.put("images", ended.seen)
            output.put("metric", {ended.metric_name: ended.metric, "best": ended.best})
            output.put("folder", args.out)
            if world.leads:
                measured = "" if ended.metric is None else f"; {ended.metric_name} {ended.metric:.4g}"
                output.say(f"{ended.why} at {ended.seen:,} images{measured}; everything is in {args.out}")
        return 130 if ended.why == "interrupted" else 0
    except ArithmeticError as error:
        raise EditkitError(str(error)) from error
    finally:
        leave()


def _config(args: argparse.Namespace, dataset: ImageDataset, begun: Begun | None) -> TrainConfig:
    from train.config import preset
    from train.transfer import check_shapes

    recipe = args.recipe or "small"
    batch = args.batch or (16 if recipe == "tiny" else 32)
    if len(dataset) < 2:
        raise UsageError(f"{args.data} has {len(dataset)} picture; training takes two at the least")
    names = ("micro_batch", "loss", "gamma", "lr", "lr_discriminator", "augment", "strength")
    changes: dict[str, Any] = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if args.augment == "fixed" and args.strength is None:
        raise UsageError("--augment fixed needs --strength, from 0 to 1")
    generator: dict[str, Any] = {}
    discriminator: dict[str, Any] = {}
    if begun is not None:
        check_shapes(begun, resolution=dataset.resolution, channels=dataset.channels, c_dim=dataset.c_dim)
        generator, discriminator = dict(begun.arguments), dict(begun.discriminator_arguments or {})
    if args.freeze_d < 0:
        raise UsageError(f"--freeze-d is a number of layers from 0, got {args.freeze_d}")
    if args.freeze_d:
        discriminator["block_kwargs"] = dict(discriminator.get("block_kwargs") or {}) | {"freeze_layers": args.freeze_d}
    made = preset(
        recipe,
        resolution=dataset.resolution,
        channels=dataset.channels,
        c_dim=dataset.c_dim,
        batch=batch,
        data=dataset.data_hash,
        precision=args.precision,
        seed=args.seed,
        **changes,
    )
    if begun is None:
        return _changed(made, discriminator={**made.discriminator, **discriminator})
    return _changed(
        made, kind=begun.kind, generator=generator, discriminator=discriminator or made.discriminator,
        path_length=made.path_length if begun.kind == "stylegan2" else 0.0,
    )  # fmt: skip


def _changed(config: TrainConfig, **changes: Any) -> TrainConfig:
    from dataclasses import replace

    return replace(config, **changes)


def _check_same(kept: TrainConfig, now: TrainConfig, out: Path) -> None:
    """Raises UsageError, naming each difference, unless a run can go on with these options."""
    different = [line for line in kept.differences(now) if not line.startswith("micro_batch:")]
    if different:
        raise UsageError(
            f"{out} holds a training with other options: {'; '.join(different)}; give the same, or another --out"
        )


def _say_plan(output: Output, training: Any, dataset: ImageDataset) -> None:
    c, world = training.config, training.world
    counts = {
        name: sum(p.numel() for p in getattr(training, name).parameters()) for name in ("generator", "discriminator")
    }
    mirrored = " with mirrored copies" if dataset.xflip else ""
    output.put("parameters", counts)
    output.put("config", c.to_json())
    output.say(f"data       {len(dataset):,} pictures{mirrored}, {dataset.resolution} px, {dataset.channels} channels"
               + (f", {dataset.c_dim} classes" if dataset.c_dim else ""))  # fmt: skip
    output.say(
        f"networks   {c.recipe}: {counts['generator'] / 1e6:.2f} M and {counts['discriminator'] / 1e6:.2f} M parameters"
    )
    output.say(
        f"settings   {c.loss}, gamma {c.gamma:.4g}, batch {c.batch} in parts of {c.micro_batch}, augment {c.augment}"
    )
    output.say(f"device     {world.device}, {world.size} process{'es' if world.size > 1 else ''}")


def _measure_plan(output: Output, training: Any, dataset: ImageDataset, args: argparse.Namespace) -> None:
    """Two steps, of which the second is timed."""
    import time

    import torch

    from train.dataset_loader import load_batches

    batches = load_batches(
        dataset, batch=training.config.batch, rank=training.world.rank, world=training.world.size, workers=0
    )
    training.step(next(batches))
    started = time.monotonic()
    training.step(next(batches))
    if training.world.device.type == "cuda":
        torch.cuda.synchronize()
    seconds = (time.monotonic() - started) / training.config.batch * 1000
    memory = _peak_memory(training.world.device.type)
    output.put("seconds_per_kimg", seconds)
    output.put("peak_memory_bytes", memory)
    hours = seconds * args.kimg / 3600
    output.say(f"time       {seconds:,.0f} s for a thousand images, {hours:,.1f} h for {args.kimg:,.0f} thousand")
    if memory is not None:
        output.say(f"memory     {memory / 2**30:.1f} GiB at the peak of two steps")


def _peak_memory(device: str) -> int | None:
    import sys

    import torch

    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

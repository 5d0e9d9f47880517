"""The configuration that the options of ``editkit train`` mean, and the plan that is printed of it."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from editkit.command import Output
from editkit.errors import CheckpointError, UsageError
from editkit.networks import build_network
from train.config import RECIPES, TrainConfig
from train.dataset import ImageDataset
from train.presets import GROWING, head_layers_of, kind_of, preset
from train.projected_discriminator import Backbone
from train.run import duration
from train.transfer import Begun, check_discriminator, check_image, check_shapes

if TYPE_CHECKING:
    from train.guidance import FrozenNetwork


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Frozen:
    """Networks that are used and not trained."""

    backbones: tuple[Backbone, ...] | None
    classifier: FrozenNetwork | None


def read_frozen(args: argparse.Namespace, dataset: ImageDataset) -> Frozen:
    """Those of ``--features`` and ``--guidance``. Raises UsageError, MissingWeightsError or CheckpointError."""
    backbones = classifier = None
    if args.features:
        from train.feature_backbones import read_backbone

        backbones = tuple(read_backbone(text) for text in args.features)
    if args.guidance:
        from train.guidance import read_classifier

        classifier = read_classifier(args.guidance, classes=dataset.c_dim)
    return Frozen(backbones=backbones, classifier=classifier)


_SAME = ("micro_batch", "loss", "gamma", "lr", "lr_discriminator", "augment", "strength", "embedding", "augment_preset")
_GIVEN: Mapping[str, str] = {name: name for name in _SAME} | {"target": "ada_target", "speed_kimg": "ada_kimg"}
"""Fields of ``TrainConfig`` that options set -> the option."""


def make_config(
    args: argparse.Namespace, dataset: ImageDataset, frozen: Frozen, *, begun: Begun | None, grow: bool
) -> TrainConfig:
    """What the options mean for these data; ``begun``: the networks to begin from, or with ``grow`` to grow from.

    Raises UsageError or CheckpointError where they do not go together.
    """
    recipe = args.recipe or (GROWING if grow or args.stages else "small")
    batch = args.batch or (16 if recipe.startswith("tiny") else 32)
    given = {name: getattr(args, option) for name, option in _GIVEN.items()}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if args.augment == "fixed" and args.strength is None:
        raise UsageError("--augment fixed needs --strength, from 0 to 1")
    if begun is not None:
        changes["embedding"] = "random"  # it comes with the weights
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
    if args.augment_preset and made.augment not in ("ada", "fixed"):
        raise UsageError(f"--augment-preset is of --augment ada or fixed, which is {made.augment} here")
    if (args.ada_target or args.ada_kimg) and made.augment != "ada":
        raise UsageError(f"--ada-target and --ada-kimg are of --augment ada, which is {made.augment} here")
    made = _with_frozen(made, frozen, args)
    if made.kind == "stylegan_xl" or (begun is not None and begun.kind == "stylegan_xl"):
        _check_classes(dataset)
    if begun is not None:
        made = _grown(made, args, dataset, begun) if grow else _tuned(made, args, dataset, begun)
    if args.freeze_d:
        if made.judge == "features":
            raise UsageError("--freeze-d is of a discriminator of pixels; the networks of a projected one are frozen")
        layers = _layers(made.discriminator)
        if args.freeze_d >= layers:
            raise UsageError(f"--freeze-d is below {layers}, the layers before the last block, got {args.freeze_d}")
        blocks = dict(made.discriminator.get("block_kwargs") or {}) | {"freeze_layers": args.freeze_d}
        made = replace(made, discriminator=made.discriminator | {"block_kwargs": blocks})
    return made


def _layers(arguments: Mapping[str, Any]) -> int:
    """Layers of a discriminator that can be frozen: all but those of its last block."""
    with torch.device("meta"):
        network: Any = build_network("discriminator", dict(arguments))
    return sum(getattr(network, f"b{resolution}").num_layers for resolution in network.block_resolutions)


def _with_frozen(made: TrainConfig, frozen: Frozen, args: argparse.Namespace) -> TrainConfig:
    if frozen.classifier is not None:
        made = replace(made, guidance=frozen.classifier.id, guidance_weight=args.guidance_weight)
    if frozen.backbones is None:
        return made
    if made.judge != "features":
        raise UsageError("--features are of a projected discriminator: give --loss projected, or --recipe projected")
    made = replace(made, features=tuple(each.id for each in frozen.backbones))
    if made.embedding == "features":
        with torch.no_grad():
            width = {"embed_dim": frozen.backbones[0](torch.zeros(1, 3, 32, 32))[-1].shape[1]}
        made = replace(made, generator=made.generator | width, discriminator=made.discriminator | width)
    return made


def _check_classes(dataset: ImageDataset) -> None:
    labels = dataset.labels(range(len(dataset.names)))
    if labels.shape[1] and not ((labels.sum(1) == 1) & (labels.max(1) == 1)).all():
        raise UsageError("StyleGAN-XL takes labels that are classes, not vectors; leave --cond out or take stylegan3-t")


TUNING: Mapping[str, Any] = {  # of --from: what shields a start from nothing would undo what was learnt
    "blur_sigma": 0.0,
    "average_ramp": None,  # which follows the raw weights in the first steps
    "average_images": 2_000.0,  # short runs are to be seen in it
    "speed_kimg": 100.0,  # few pictures are soon known by heart
}


def _tuned(made: TrainConfig, args: argparse.Namespace, dataset: ImageDataset, begun: Begun) -> TrainConfig:
    """``--from``: the networks' own architecture, the recipe's settings."""
    if args.recipe and made.kind != begun.kind:
        raise UsageError(
            f"--recipe {args.recipe} is of {made.kind} networks, {begun.source} is a {begun.kind}; --from keeps the "
            f"architecture and takes the recipe's settings: give {_recipes_of(begun.kind)}, or leave --recipe out"
        )
    shape = {"resolution": dataset.resolution, "channels": dataset.channels, "c_dim": dataset.c_dim}
    check_shapes(begun, **shape)
    judge = {}
    if begun.judge == made.judge:
        check_discriminator(begun, **shape)
        judge = dict(begun.discriminator_arguments or {})
    if args.precision == "float32":
        judge |= {"num_fp16_res": 0} if judge and made.judge == "pixels" else {}
    return replace(
        made, kind=begun.kind, generator=_precise(begun.arguments, args), discriminator=judge or made.discriminator,
        path_length=made.path_length if begun.kind in ("stylegan2", "stylegan_xl") else 0.0, begun=begun.id,
        **(dict(TUNING) | ({"speed_kimg": args.ada_kimg} if args.ada_kimg else {})),
    )  # fmt: skip


def _recipes_of(kind: str) -> str:
    names = [name for name in RECIPES if kind_of(name) == kind]
    return f"--recipe {' or '.join(names)}"


def _grown(made: TrainConfig, args: argparse.Namespace, dataset: ImageDataset, begun: Begun) -> TrainConfig:
    """``--grow-from``, and the stages after the first: a head on a stem."""
    if begun.kind != "stylegan_xl":
        raise CheckpointError(f"{begun.source} is a {begun.kind} network; stages grow on a StyleGAN-XL one")
    from train.stages import grown_arguments

    check_image(begun, {"img_channels": dataset.channels, "c_dim": dataset.c_dim})
    layers = head_layers_of(made.recipe)
    grown = grown_arguments(begun.arguments, begun.generator, resolution=dataset.resolution, head_layers=layers)
    judge = made.discriminator
    if made.judge == "features" and dataset.c_dim > 1 and args.embedding != "random":
        judge = judge | {"embed_dim": grown["embed_dim"]}
    # The stem takes no gradients, so w does not either, and paths have no length.
    return replace(
        made, generator=_precise(grown, args), discriminator=judge, head_layers=layers, begun=begun.id, path_length=0.0
    )


def _precise(arguments: Mapping[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """``--precision float32`` also of networks that bring their own arguments; of a grown one those of the stem."""
    if args.precision != "float32":
        return dict(arguments)
    if "stem" in arguments:
        return dict(arguments) | {"stem": _precise(arguments["stem"], args)}
    return dict(arguments) | {"num_fp16_res": 0}


_NAMED = {name: name for name in ("recipe", "batch", "features", "guidance", "guidance_weight", "precision", "seed")}
_OPTIONS = {
    **{name: f"--{option.replace('_', '-')}" for name, option in {**_GIVEN, **_NAMED}.items()},
    "begun": "--from or --grow-from",
    "generator.img_resolution": "--resolution",
    "generator.c_dim": "--cond",
    "discriminator.block_kwargs.freeze_layers": "--freeze-d",
}  # fmt: skip
_DATA = "data: other pictures, or other options of them (--mirror, --cond, --resolution, --max-images)"
_SHOWN = 6


def check_same(kept: TrainConfig, now: TrainConfig, out: Path) -> None:
    """Raises UsageError, naming what differs and the option of it, unless a run can go on with these options."""
    found = kept.differences(now)
    found.pop("micro_batch", None)
    if not found:
        return
    by_option = sorted(found, key=lambda name: (name != "data", name not in _OPTIONS))
    lines = []
    for name in by_option[:_SHOWN]:
        option = f" ({_OPTIONS[name]})" if name in _OPTIONS else ""
        lines.append(_DATA if name == "data" else f"{name}: {found[name][0]!r} and now {found[name][1]!r}{option}")
    if len(found) > _SHOWN:
        lines.append(f"and {len(found) - _SHOWN} more that follow")
    raise UsageError(f"{out} holds a training with other options: {'; '.join(lines)}; give the same, or another --out")


def say_plan(output: Output, training: Any, dataset: ImageDataset, *, begun: Begun | None) -> None:
    """Prints data, networks, settings and device; ``begun``: the networks whose architecture it is."""
    c, world = training.config, training.world
    counts = {
        name: sum(p.numel() for p in getattr(training, name).parameters()) for name in ("generator", "discriminator")
    }
    mirrored = " with mirrored copies" if dataset.xflip else ""
    output.put("parameters", counts)
    output.put("config", c.to_json())
    output.say(f"data       {len(dataset):,} pictures{mirrored}, {dataset.resolution} px, {dataset.channels} channels"
               + (f", {dataset.c_dim} classes" if dataset.c_dim else ""))  # fmt: skip
    networks = c.recipe if begun is None else f"{c.kind} of {begun.source}, settings of {c.recipe}"
    output.say(
        f"networks   {networks}: {counts['generator'] / 1e6:.2f} M and {counts['discriminator'] / 1e6:.2f} M parameters"
    )
    if c.head_layers:
        output.say(f"stage      {c.resolution} px: {c.head_layers} new layers, the stem stays")
    if c.features:
        output.say(f"features   {', '.join(c.features)}" + (f", guided by {c.guidance}" if c.guidance else ""))
    output.say(
        f"settings   {c.loss}, gamma {c.gamma:.4g}, batch {c.batch} in parts of {c.micro_batch}, augment {c.augment}"
    )
    output.say(f"device     {world.device}, {world.size} process{'es' if world.size > 1 else ''}")


def measure_plan(output: Output, training: Any, dataset: ImageDataset, *, kimg: float) -> None:
    """Times a step of each kind (plain, with a penalty, with path lengths), after one that is not timed."""
    from train.dataset_loader import load_batches

    c, device = training.config, training.world.device
    batches = load_batches(dataset, batch=c.batch, rank=training.world.rank, world=training.world.size, workers=0)
    path_every = c.path_every if training.path is not None else 1
    cycle = math.lcm(c.penalty_every, path_every)
    first = -(-c.path_from // (c.batch * cycle)) * cycle  # path lengths have begun

    def step(index: int) -> float:
        training.seen = index * c.batch
        started = time.monotonic()
        training.step(next(batches))
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.monotonic() - started

    step(first)
    kinds = [(index % c.penalty_every == 0, index % path_every == 0) for index in range(cycle)]
    timed = {kind: step(first + kinds.index(kind)) for kind in dict.fromkeys(kinds)}
    seconds = sum(timed[kind] for kind in kinds) / cycle / c.batch * 1000
    memory = _peak_memory(device.type)
    output.put("seconds_per_kimg", seconds)
    output.put("peak_memory_bytes", memory)
    whole = f"{seconds * kimg:.0f} s" if seconds * kimg < 60 else duration(seconds * kimg)
    output.say(
        f"time       {seconds:,.0f} s for a thousand images, {whole} for {kimg:,g} thousand, "
        "without snapshots and metrics"
    )
    if memory is not None:
        output.say(f"memory     {memory / 2**30:.1f} GiB at the peak of {len(timed) + 1} steps")


def _peak_memory(device: str) -> int | None:
    import sys

    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

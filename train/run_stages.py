"""The runs of one ``editkit train``: one, or one a stage, each going on where it stopped.

Of a run in stages (``train.stages``) the last lies in the folder itself, so that ``generator.safetensors`` there is the
result, and the lower ones in ``stages/0016`` and so on. A stage that has seen its images is done.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from editkit.checkpoints.header import read_header
from editkit.command import Output
from editkit.errors import UsageError
from train.class_embedding import begin_embedding
from train.config import TrainConfig
from train.dataset import open_dataset
from train.presets import GROWING, head_layers_of
from train.run import Ended, RunOptions, run
from train.run_plan import check_same, make_config, measure_plan, read_frozen, say_plan
from train.snapshots import Folder, lossy
from train.training import Training
from train.transfer import Begun, grow_networks, load_networks, put_stem, read_networks
from train.world import World


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """``resolution``: None as the pictures are; ``below``: the generator that it grows on."""

    out: Path
    resolution: int | None
    images: int
    below: Path | None = None


def stages_of(args: argparse.Namespace) -> list[Stage]:
    """What the options ask for, in order. Raises UsageError where they contradict each other."""
    images = int(args.kimg * 1000)
    if args.source is not None and (args.stages or args.grow_from):
        raise UsageError("--from goes on with a network as it is, --stages and --grow-from put heads on it; give one")
    if not args.stages:
        if args.stage_kimg is not None:
            raise UsageError("--stage-kimg is of the stages below the last; give --stages")
        return [Stage(out=args.out, resolution=args.resolution, images=images, below=args.grow_from)]
    if args.resolution not in (None, args.stages[-1]):
        raise UsageError(f"the last of --stages is {args.stages[-1]}, --resolution {args.resolution}; leave that out")
    lower = images if args.stage_kimg is None else int(args.stage_kimg * 1000)
    found: list[Stage] = []
    for side in args.stages:
        last = side == args.stages[-1]
        out = args.out if last else args.out / "stages" / f"{side:04d}"
        below = found[-1].out / "generator.safetensors" if found else args.grow_from
        found.append(Stage(out=out, resolution=side, images=images if last else lower, below=below))
    return found


def train_stages(args: argparse.Namespace, world: World, output: Output) -> Ended | None:
    """Trains them all; how the last that ran ended, None of a dry run."""
    started, ended, before = time.monotonic(), None, None
    stages = stages_of(args)
    if not args.dry_run:
        world.share(args.out)
    if stages[-1].below is not None:
        head_layers_of(args.recipe or GROWING)
    for stage in stages:
        if stage is not stages[-1] and not args.dry_run and _done(stage):
            if world.leads:
                output.say(f"stage      {stage.resolution} px is done")
            continue
        left = None if args.minutes is None else args.minutes - (time.monotonic() - started) / 60
        if ended is not None and left is not None and left <= 0:
            return replace(ended, why="time")
        training, ended = train_stage(args, world, output, stage, minutes=left, dry_below=before)
        before = None if not args.dry_run else _as_begun(training)
        if ended is not None and ended.why != "done":
            break
    return ended


def train_stage(
    args: argparse.Namespace,
    world: World,
    output: Output,
    stage: Stage,
    *,
    minutes: float | None,
    dry_below: Begun | None = None,
) -> tuple[Training, Ended | None]:
    """Trains one, or goes on with it. dry_below: in a dry run what the stage below would be."""
    dataset = open_dataset(
        args.data,
        resolution=stage.resolution,
        use_labels=args.cond,
        xflip=args.mirror,
        max_images=args.max_images,
    )
    frozen = read_frozen(args, dataset)
    grow = stage.below is not None
    source = stage.below or args.source
    begun = dry_below if dry_below is not None else None if source is None else read_networks(source)
    config = make_config(args, dataset, frozen, begun=begun, grow=grow)
    folder = None if args.dry_run else Folder(stage.out)
    state = None if folder is None else _state(folder, world, output)
    if state is not None:
        check_same(TrainConfig.from_json(state["config"]), config, stage.out)
    world.agree(f"{config} {None if state is None else state['seen']}", "their options, data or snapshots")
    training = Training(config, world=world, backbones=frozen.backbones, classifier=frozen.classifier)
    lines: list[str] = []
    if begun is not None and state is None:
        lines = grow_networks(training, begun) if grow else load_networks(training, begun)
    elif config.embedding == "features" and state is None:
        begin_embedding(training, dataset)
    name = stage.out.name if stage.out == args.out else f"{args.out.name}-{stage.resolution}"
    facts: dict[str, Any] = {
        "name": name, "data": args.data.name, "class_names": list(dataset.class_names), "alignment": "centre",
    }  # fmt: skip
    if state is not None and folder is not None:
        training.load_state_dict(state)
        if state.get("lossy") and grow and begun is not None:
            put_stem(training, begun)
        facts |= {"best": state.get("facts", {}).get("best")}
        if world.leads:
            folder.forget_after(training.seen)
            lines.append(f"going on from {training.seen:,} images")
    if world.leads:
        for line in lines if not args.dry_run else []:
            output.say(line)
        say_plan(output, training, dataset, begun=begun)
    if args.dry_run:
        measure_plan(output, training, dataset, kimg=stage.images / 1000)
        return training, None
    options = RunOptions(
        images=stage.images,
        minutes=minutes,
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
    output.put("folder", stage.out)
    if world.leads:
        measured = "" if ended.metric is None else f"; {ended.metric_name} {ended.metric:.4g}"
        why = "the time was up" if ended.why == "time" else ended.why
        output.say(f"{why} at {ended.seen:,} images{measured}; everything is in {stage.out}")
    return training, ended


def _state(folder: Folder, world: World, output: Output) -> dict[str, Any] | None:
    """The newest snapshot; a transport copy where that is all there is."""
    state = folder.load()
    transport = folder.path / "transport.safetensors"
    if state is None and transport.is_file():
        state = lossy(transport)
        if world.leads:
            output.say("there is a transport copy alone: rounded weights, and optimisers that begin anew")
    return state


def _done(stage: Stage) -> bool:
    path = stage.out / "generator.safetensors"
    return path.is_file() and int(read_header(path)["training"].get("images", 0)) >= stage.images


def _as_begun(training: Training) -> Begun:
    c = training.config
    return Begun(
        kind=c.kind, id="", arguments=c.generator, generator=training.average.state_dict(), discriminator=None,
        discriminator_arguments=None, source=f"the stage of {c.resolution} px",
    )  # fmt: skip

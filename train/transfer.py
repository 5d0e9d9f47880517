"""Going on from somebody's networks: a checkpoint's weights in a new training, checked tensor by tensor."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from editkit.checkpoints.native import read_checkpoint, weights_id
from editkit.errors import CheckpointError
from editkit.generator import DEFAULT, MODELS
from editkit.networks import GENERATOR_KINDS
from train.stages import load_stem
from train.training import Training


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Begun:
    """Networks to begin from: kind and constructor arguments of the generator, its weights and their id, and a
    discriminator's; ``judge``, ``features``: what that sees, as in ``TrainConfig``; ``beside``: its file, empty where
    it lies in that of the generator."""

    kind: str
    id: str
    arguments: dict[str, Any]
    generator: Mapping[str, Tensor]
    discriminator_arguments: dict[str, Any] | None
    discriminator: Mapping[str, Tensor] | None
    source: str
    judge: str = "pixels"
    features: tuple[str, ...] = ()
    beside: str = ""


def read_networks(path: str | os.PathLike[str]) -> Begun:
    """A native generator (with its discriminator beside it, if there is one), an official .pkl, or "faces64", the
    bundled ones.

    The discriminator of ``NAME.safetensors`` is ``NAME.discriminator.safetensors`` or ``discriminator.safetensors``.

    Raises CheckpointError: missing, damaged, or without a generator.
    """
    path = Path(path)
    if str(path) == DEFAULT and not path.exists():
        path = MODELS / f"{DEFAULT}.safetensors"
    if path.suffix == ".pkl":
        from editkit.checkpoints.official import import_official

        found = import_official(path)
        if "G_ema" not in found:
            raise CheckpointError(f"{path} holds no generator (G_ema) to begin from")
        G, D = found["G_ema"], found.get("D")
        return Begun(
            kind=G.kind, id=weights_id(G.tensors), arguments=dict(G.arguments), generator=G.tensors, source=path.name,
            discriminator_arguments=None if D is None else dict(D.arguments),
            discriminator=None if D is None else D.tensors,
        )  # fmt: skip
    checkpoint = read_checkpoint(path)
    if checkpoint.header["kind"] not in GENERATOR_KINDS:
        raise CheckpointError(
            f"{path} is of kind {checkpoint.header['kind']}; begin from a generator ({', '.join(GENERATOR_KINDS)}), "
            "and leave its discriminator beside that file"
        )
    names = (path.with_suffix(".discriminator.safetensors"), path.with_name("discriminator.safetensors"))
    found_beside = next((beside for beside in names if beside.is_file()), None)
    judge = None if found_beside is None else read_checkpoint(found_beside)
    return Begun(
        kind=checkpoint.header["kind"],
        id=checkpoint.header["id"],
        arguments=dict(checkpoint.header["arguments"]),
        generator=checkpoint.tensors,
        discriminator_arguments=None if judge is None else dict(judge.header["arguments"]),
        discriminator=None if judge is None else judge.tensors,
        source=path.name,
        judge="pixels" if judge is None or judge.header["kind"] == "discriminator" else "features",
        features=() if judge is None else tuple(judge.header["training"].get("features", ())),
        beside="" if found_beside is None else str(found_beside),
    )


_DEFAULTS = {"img_channels": 3, "c_dim": 0}  # of the networks' constructors


def _remedy(name: str, there: object) -> str:
    if name == "img_resolution":
        return f"give --resolution {there}"
    if name == "img_channels":
        return f"give pictures with {there} channels (`editkit dataset build --channels {there}`)"
    return f"give --cond with data of {there} classes" if there else "leave --cond out"


def check_shapes(begun: Begun, *, resolution: int, channels: int, c_dim: int) -> None:
    """Raises CheckpointError where the data do not go with the networks, naming the option that mends it."""
    check_image(begun, {"img_resolution": resolution, "img_channels": channels, "c_dim": c_dim})


def check_image(begun: Begun, here: Mapping[str, int]) -> None:
    """Raises CheckpointError where the network has another of the facts ``here``, naming the option that mends it."""
    arguments = begun.arguments
    while "stem" in arguments:
        arguments = arguments["stem"]
    arguments = dict(arguments) | {"img_resolution": begun.arguments.get("img_resolution")}
    if begun.kind == "stylegan_xl" and arguments.get("c_dim") == 1:
        arguments["c_dim"] = here.get("c_dim", 1)  # of pictures without labels, or with one for all
    if bad := _differing(arguments, here):
        told = (f"{one}; {_remedy(name, arguments.get(name, _DEFAULTS.get(name)))}" for name, one in bad.items())
        raise CheckpointError(f"{begun.source} has {'; it has '.join(told)}")


def check_discriminator(begun: Begun, *, resolution: int, channels: int, c_dim: int) -> None:
    """Raises CheckpointError where the discriminator is of other pictures than the data, which the generator fits."""
    if begun.discriminator_arguments is None:
        return
    here = {"img_resolution": resolution, "img_channels": channels, "c_dim": c_dim}
    arguments = dict(_DEFAULTS) | dict(begun.discriminator_arguments)
    if begun.kind == "stylegan_xl" and arguments["c_dim"] <= 1 >= c_dim:
        arguments["c_dim"] = c_dim  # one class and none are the same to it
    if bad := _differing(arguments, here):
        raise CheckpointError(f"{_judge_name(begun)} has {'; '.join(bad.values())}; {_judge_remedy(begun)}")


def _differing(arguments: Mapping[str, Any], here: Mapping[str, int]) -> dict[str, str]:
    """Which facts ``here`` the arguments of a network do not share, in words, by name."""
    there = {name: arguments.get(name, _DEFAULTS.get(name)) for name in here}
    return {name: f"{name} {there[name]}, the data {value}" for name, value in here.items() if there[name] != value}


def _judge_name(begun: Begun) -> str:
    return f"the discriminator {begun.beside}" if begun.beside else f"the discriminator in {begun.source}"


def _judge_remedy(begun: Begun) -> str:
    return ("move it away" if begun.beside else "give a file of the generator alone") + " to begin a new one"


def load_networks(training: Training, begun: Begun) -> list[str]:
    """Puts the weights into a new training; the lines say what was taken.

    Raises CheckpointError naming every tensor whose shape differs.
    """
    _load(training.generator, begun.generator, begun.source, "its arguments are not those of its tensors: get it anew")
    training.average.load_state_dict(training.generator.state_dict())
    return [f"generator: all weights of {begun.source}", _load_discriminator(training, begun)]


def grow_networks(training: Training, begun: Begun) -> list[str]:
    """Puts the stage below into a new training of ``head_layers``: the stem, and the discriminator where it fits.

    Raises CheckpointError where the stem does not fit.
    """
    put_stem(training, begun)
    training.average.load_state_dict(training.generator.state_dict())
    lines = [f"generator: a new head on the stem {begun.source}, which stays", _load_discriminator(training, begun)]
    table = getattr(training.discriminator, "embed", None)
    if table is not None and "anew" in lines[1]:
        table.weight.data.copy_(begun.generator["mapping.embed.weight"])
    return lines


def put_stem(training: Training, begun: Begun) -> None:
    """The stem's weights, exactly, into a training of ``head_layers``. Raises CheckpointError where they do not fit."""
    for network in (training.generator, training.average):
        load_stem(network, begun.generator, head_layers=training.config.head_layers)


def _load_discriminator(training: Training, begun: Begun) -> str:
    config, own = training.config, training.discriminator.state_dict()
    if begun.discriminator is None:
        return "discriminator: begins anew; there is none beside the generator, so expect a slow start"
    if (begun.judge, begun.features) != (config.judge, config.features):
        return "discriminator: begins anew; the one beside the generator sees other features, so expect a slow start"
    shapes = {name: value.shape for name, value in begun.discriminator.items()}
    if config.head_layers and shapes != {name: value.shape for name, value in own.items()}:
        return "discriminator: begins anew; that of the stage below has other sizes"
    _load(training.discriminator, begun.discriminator, _judge_name(begun), _judge_remedy(begun))
    return "discriminator: all weights"


def _load(network: nn.Module, tensors: Mapping[str, Tensor], source: str, remedy: str) -> None:
    own = network.state_dict()
    lost = sorted(own.keys() - tensors.keys())
    extra = sorted(tensors.keys() - own.keys())
    bad = [
        f"{name} is {list(tensors[name].shape)} there and {list(value.shape)} here"
        for name, value in own.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    bad += [f"{name} is not there" for name in lost] + [f"{name} is there alone" for name in extra]
    if bad:
        shown = "; ".join(bad[:8]) + (f"; and {len(bad) - 8} more" if len(bad) > 8 else "")
        raise CheckpointError(f"{source} does not fit: {shown}; {remedy}")
    network.load_state_dict({name: value.float() for name, value in tensors.items()})

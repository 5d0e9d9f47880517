"""Constructor arguments of an imported network: recovered, given their names, bounded, and compared with its tensors.

A pickle's arguments decide how much memory building its network takes, so none is believed before it is checked.
"""

from collections.abc import Mapping
from typing import Any

from editkit.checkpoints.bounds import MAX_STAGES, check_ranges
from editkit.checkpoints.fit import check_fit, layers, refuse_non_square
from editkit.checkpoints.standins import Module, PlainModule
from editkit.errors import CheckpointError

# Names of the positional arguments, in order.
_POSITIONAL = {
    "stylegan3": ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "mapping_kwargs"),
    "stylegan2": ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "mapping_kwargs"),
    "stylegan_xl": ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "mapping_kwargs"),
    "discriminator": ("c_dim", "img_resolution", "img_channels", "architecture", "channel_base", "channel_max"),
}

MAX_DEPTH, MAX_VALUES = 12, 2000  # of the arguments: stages of StyleGAN-XL are nested


def family(names: Mapping[str, object]) -> str:
    """The kind of network whose state has these tensor names. Class names are not trusted: copies reuse them.

    Raises:
        CheckpointError: none of those known.
    """
    if "mapping.embed_proj.weight" in names and "synthesis.input.freqs" in names:
        return "stylegan_xl"
    if "synthesis.input.freqs" in names:
        return "stylegan3"
    if "synthesis.b4.const" in names:
        return "stylegan2"
    if "b4.out.weight" in names:
        return "discriminator"
    raise CheckpointError("its tensors are those of no network known here (StyleGAN2, StyleGAN3, StyleGAN-XL)")


def recover(kind: str, module: Module | PlainModule, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The constructor arguments that ``module`` was pickled with, by name, as plain JSON values.

    ``mapping_kwargs`` is left out where empty. A StyleGAN-XL super-resolution network keeps the arguments of the
    network that it grew from as ``stem``, and not that network's file name; ``shapes`` of its tensors tell the stages.

    Raises:
        CheckpointError: none are recorded, or they are not plain data.
    """
    positional = module.state.get("_init_args", ())
    named = module.state.get("_init_kwargs", {})
    if type(positional) is not tuple or type(named) is not dict:
        raise CheckpointError("the pickle does not say how its network was constructed")
    order = _POSITIONAL[kind]
    if len(positional) > len(order):
        raise CheckpointError(f"{len(positional)} positional constructor arguments, {len(order)} are known")
    arguments: dict[str, Any] = dict(zip(order, positional)) | named
    if kind == "stylegan_xl" and "path_stem" in arguments:
        del arguments["path_stem"]
        arguments = _staged(arguments, _stem(module), shapes)
    if arguments.get("mapping_kwargs") == {}:
        del arguments["mapping_kwargs"]
    plain = _Plain()
    return {str(name): plain(value, name=str(name)) for name, value in arguments.items()}


def check_network(kind: str, arguments: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check that ``arguments`` are known, within bounds and belong to tensors of these ``shapes``.

    Raises:
        CheckpointError: they do not, or the network makes pictures that are not square.
    """
    refuse_non_square(arguments, shapes)
    check_ranges(kind, arguments)
    check_fit(kind, arguments, shapes)


def class_count(arguments: Mapping[str, Any]) -> int:
    """c_dim, of StyleGAN-XL's heads that of their stem."""
    while "stem" in arguments:
        arguments = arguments["stem"]
    return int(arguments.get("c_dim", 0))


def complete(kind: str, arguments: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """``arguments``, checked, with what published ones leave to the weights: StyleGAN-XL's width of the embedding."""
    derived = {"embed_dim": shapes["mapping.embed.weight"][1]} if kind == "stylegan_xl" else {}
    return {**derived, **arguments}


def _stem(module: Module | PlainModule) -> dict[str, Any]:
    """Arguments of the network that a super-resolution head was put on, from what its parts were constructed with."""
    parts = module.state.get("_modules")
    found: list[dict[str, Any]] = []
    for name in ("mapping", "synthesis"):
        part = parts.get(name) if type(parts) is dict else None
        named = part.state.get("_init_kwargs") if isinstance(part, Module) else None
        if type(named) is not dict:
            raise CheckpointError(f"the pickle does not say how its network's {name} was constructed")
        found.append(named)
    mapping, synthesis = found
    outer = ("z_dim", "c_dim", "w_dim", "num_ws")
    stem = {name: mapping[name] for name in outer[:3] if name in mapping} | synthesis
    stem["mapping_kwargs"] = {name: value for name, value in mapping.items() if name not in outer}
    return stem


def _staged(top: Mapping[str, Any], stem: dict[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The heads between ``stem`` and the network, nested. Only the top one's arguments are in the file: those below
    are taken to have as many layers and to grow by the same factor, which the names of the layers confirm or refute.
    """
    factor, count, side = top.get("up_factor", 2), top.get("head_layers", 0), stem.get("img_resolution", 0)
    critical, kept = stem.get("num_critical", 2), stem.get("num_layers", 14)
    if not all(type(value) is int and value >= 1 for value in (factor, count, side, critical, kept)) or factor < 2:
        raise CheckpointError("the pickle does not say how its super-resolution stages were constructed")
    dropped, kept = critical + 1, kept + 1  # ToRGB counts
    numbers, arguments = [number for number, _, _ in layers(shapes)], stem
    for _ in range(MAX_STAGES - 1):
        if arguments["img_resolution"] == top.get("img_resolution"):
            break
        kept -= dropped
        stage: dict[str, Any] = {"img_resolution": arguments["img_resolution"] * factor, "head_layers": count}
        if 0 <= kept < len(numbers) and numbers[kept] != kept + 1:
            stage["first_layer"] = numbers[kept]
        kept += count + 1
        arguments = {**stage, "up_factor": factor, "stem": arguments}
    return {**arguments, **top}


class _Plain:
    """Values as JSON has them, or an error: arguments are written into headers and shown to people."""

    def __init__(self) -> None:
        self.left = MAX_VALUES  # one dict may stand in many places, so depth alone bounds nothing

    def __call__(self, value: object, *, name: str, depth: int = 0) -> Any:
        self.left -= 1
        if self.left < 0:
            raise CheckpointError(f"more than {MAX_VALUES} values among the constructor arguments; it is hostile")
        if value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 1000):
            return value
        if isinstance(value, dict | list | tuple) and depth < MAX_DEPTH:
            if isinstance(value, dict):
                return {str(key): self(item, name=name, depth=depth + 1) for key, item in value.items()}
            return [self(item, name=name, depth=depth + 1) for item in value]
        raise CheckpointError(f"constructor argument {name[:40]!r} is not plain data ({type(value).__name__})")

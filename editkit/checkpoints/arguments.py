"""Constructor arguments of an imported network: recovered, given their names, bounded, and compared with its tensors.

A pickle's arguments decide how much memory building its network takes, so none is believed before it is checked.
"""

import re
from collections.abc import Mapping
from typing import Any

from editkit.checkpoints.standins import Module, PlainModule
from editkit.errors import CheckpointError

# Names of the positional arguments, in order.
_POSITIONAL = {
    "stylegan3": ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "mapping_kwargs"),
    "stylegan2": ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "mapping_kwargs"),
    "stylegan_xl": ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "mapping_kwargs"),
    "discriminator": ("c_dim", "img_resolution", "img_channels", "architecture", "channel_base", "channel_max"),
}

# StyleGAN3 (Karras et al. 2021, section 3 and appendix D): the type of each argument and the range we build.
_STYLEGAN3: dict[str, tuple[type | tuple[type, ...], float, float]] = {
    "z_dim": (int, 1, 4096),
    "c_dim": (int, 0, 100_000),
    "w_dim": (int, 1, 4096),
    "img_resolution": (int, 4, 4096),
    "img_channels": (int, 1, 64),
    "channel_base": (int, 1, 1 << 20),
    "channel_max": (int, 1, 4096),
    "num_layers": (int, 1, 64),
    "num_critical": (int, 0, 64),
    "first_cutoff": ((int, float), 0.01, 4096),
    "first_stopband": ((int, float), 0.01, 4096),
    "last_stopband_rel": ((int, float), 0, 64),
    "margin_size": (int, 0, 256),
    "output_scale": ((int, float), -1e6, 1e6),
    "num_fp16_res": (int, 0, 64),
    "filter_size": (int, 1, 64),
    "lrelu_upsampling": (int, 1, 16),
    "use_radial_filters": (bool, 0, 1),
    "conv_kernel": (int, 1, 15),
    "conv_clamp": ((int, float, type(None)), 0, 1e9),
    "magnitude_ema_beta": ((int, float), 0, 1),
    "mapping_kwargs": (dict, 0, 0),
}
_LAYER = re.compile(r"synthesis\.L(\d+)_(\d+)_(\d+)\.weight")
_FC = re.compile(r"mapping\.fc\d+\.weight")
_MAX_DEPTH, _MAX_ITEMS = 4, 256


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


def recover(kind: str, module: Module | PlainModule) -> dict[str, Any]:
    """The constructor arguments that ``module`` was pickled with, by name, as plain JSON values.

    ``mapping_kwargs`` is left out where empty. A StyleGAN-XL super-resolution network keeps the arguments of the
    network that it grew from as ``stem``, and not that network's file name.

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
        arguments["stem"] = _stem(module)
    if arguments.get("mapping_kwargs") == {}:
        del arguments["mapping_kwargs"]
    return {str(name): _plain(value, name=str(name)) for name, value in arguments.items()}


def check_network(kind: str, arguments: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check that ``arguments`` are within bounds and belong to tensors of these ``shapes``. StyleGAN3 only, so far.

    Raises:
        CheckpointError: they are unknown, out of range, or belong to another network.
    """
    if kind != "stylegan3":
        return
    _check_ranges(arguments)
    needed = [name for name in ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels") if name not in arguments]
    if needed:
        raise CheckpointError(f"this file does not say its network's {', '.join(needed)}")
    w_dim, z_dim = arguments["w_dim"], arguments["z_dim"]
    layers = sorted((tuple(map(int, match.groups())) for match in map(_LAYER.fullmatch, shapes) if match), reverse=True)
    last = layers[0] if layers else (0, 0, 0)
    # With labels, their embedding (w_dim wide) is appended to z before the first layer.
    fed = z_dim + (w_dim if arguments["c_dim"] > 0 else 0)
    first = shapes.get("mapping.fc0.weight", ())
    # Appendix D: a layer has round(min(channel_base / 2 / cutoff, channel_max)) channels, the input has the most.
    base, widest = arguments.get("channel_base", 32768), arguments.get("channel_max", 512)
    width = round(min(base / 2 / arguments.get("first_cutoff", 2), widest))
    kernel = arguments.get("conv_kernel", 3)
    kernels = {shape[2:] for name, shape in shapes.items() if _LAYER.fullmatch(name)}
    mapping = arguments.get("mapping_kwargs", {})
    fc_count = sum(1 for name in shapes if _FC.fullmatch(name))
    claimed = {
        "w_dim": (w_dim, shapes.get("mapping.w_avg", (0,))[-1:] == (w_dim,)),
        "z_dim": (z_dim, first[-1:] == (fed,)),
        "num_layers": (arguments.get("num_layers", 14), last[0] == arguments.get("num_layers", 14)),
        "img_resolution": (arguments["img_resolution"], last[1] == arguments["img_resolution"]),
        "img_channels": (arguments["img_channels"], last[2] == arguments["img_channels"]),
        "channel_max": (widest, shapes.get("synthesis.input.weight", ()) == (width, width)),
        "conv_kernel": (kernel, (kernel, kernel) in kernels),
        "mapping_kwargs.num_layers": (mapping.get("num_layers", 2), mapping.get("num_layers", 2) == fc_count),
    }
    for name, (value, fits) in claimed.items():
        if not fits:
            raise CheckpointError(f"{name}={value} does not fit the tensors beside it; the file is damaged or hostile")


def _check_ranges(arguments: Mapping[str, Any]) -> None:
    for name, value in arguments.items():
        if name not in _STYLEGAN3:
            raise CheckpointError(f"unknown StyleGAN3 argument {name[:40]!r}; a later editkit may know it")
        kinds, low, high = _STYLEGAN3[name]
        # bool is an int to Python, but never a size.
        fits = isinstance(value, kinds) and (isinstance(value, bool) == (kinds is bool))
        if not fits or (isinstance(value, int | float) and not low <= value <= high):
            raise CheckpointError(f"StyleGAN3 argument {name}={str(value)[:40]} is outside what can be built")


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


def _plain(value: object, *, name: str, depth: int = 0) -> Any:
    """``value`` as JSON has it, or an error: arguments are written into headers and shown to people."""
    if value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 1000):
        return value
    if isinstance(value, dict | list | tuple) and len(value) <= _MAX_ITEMS and depth < _MAX_DEPTH:
        if isinstance(value, dict):
            return {str(key): _plain(item, name=name, depth=depth + 1) for key, item in value.items()}
        return [_plain(item, name=name, depth=depth + 1) for item in value]
    raise CheckpointError(f"constructor argument {name[:40]!r} is not plain data ({type(value).__name__})")

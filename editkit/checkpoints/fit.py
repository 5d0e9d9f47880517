"""Do constructor arguments belong to these tensors? Compared by shape, before a network is built and without torch.

What is compared is every argument that decides how much memory a network takes; the rest, name by name, is compared
when the weights are loaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from editkit.errors import CheckpointError

Shapes = Mapping[str, tuple[int, ...]]

LAYER = re.compile(r"synthesis\.L(\d+)_(\d+)_(\d+)\.weight")
_FC = re.compile(r"mapping\.fc\d+\.weight")


def layers(shapes: Shapes) -> list[tuple[int, int, int]]:
    """(number, size, channels) of the layers of a StyleGAN3 or StyleGAN-XL, by number."""
    return sorted(tuple(map(int, match.groups())) for match in map(LAYER.fullmatch, shapes) if match)  # type: ignore[misc]


def refuse_non_square(arguments: Mapping[str, Any], shapes: Shapes) -> None:
    """Raises CheckpointError for networks of pictures that are not square, saying so."""
    side, found = arguments.get("img_resolution"), ""
    if isinstance(side, list | tuple | dict):
        found = f"img_resolution is {str(side)[:40]}"
    for name, shape in shapes.items():
        if name.endswith((".const", ".noise_const")) and len(shape) >= 2 and shape[-1] != shape[-2]:
            found = found or f"{name[:60]} is {list(shape)}"
    if found:
        raise CheckpointError(
            f"a network of pictures that are not square ({found}): editkit works on square crops only, on purpose"
        )


def check_fit(kind: str, arguments: Mapping[str, Any], shapes: Shapes) -> None:
    """Raises CheckpointError where ``arguments``, in range, make other shapes than these."""
    {
        "stylegan3": _stylegan3,
        "stylegan2": _stylegan2,
        "stylegan_xl": _stylegan_xl,
        "discriminator": _discriminator,
    }[kind](arguments, shapes)


def _stylegan3(arguments: Mapping[str, Any], shapes: Shapes) -> None:
    w_dim, z_dim = arguments["w_dim"], arguments["z_dim"]
    last = (layers(shapes) or [(0, 0, 0)])[-1]
    # With labels, their embedding (w_dim wide) is appended to z before the first layer.
    fed = z_dim + (w_dim if arguments["c_dim"] > 0 else 0)
    mapping = arguments.get("mapping_kwargs", {})
    claimed = {
        "w_dim": (w_dim, shapes.get("mapping.w_avg", (0,))[-1:] == (w_dim,)),
        "z_dim": (z_dim, shapes.get("mapping.fc0.weight", ())[-1:] == (fed,)),
        "num_layers": (arguments.get("num_layers", 14), last[0] == arguments.get("num_layers", 14)),
        "img_resolution": (arguments["img_resolution"], last[1] == arguments["img_resolution"]),
        "img_channels": (arguments["img_channels"], last[2] == arguments["img_channels"]),
        "mapping_kwargs.num_layers": (mapping.get("num_layers", 2), mapping.get("num_layers", 2) == _depth(shapes)),
    }
    if (hidden := mapping.get("layer_features")) is not None and _depth(shapes) > 1:
        claimed["mapping_kwargs.layer_features"] = (hidden, shapes.get("mapping.fc0.weight", ())[:1] == (hidden,))
    if arguments["c_dim"] > 0:
        embedded = shapes.get("mapping.embed.weight", ())
        claimed["c_dim"] = (arguments["c_dim"], embedded[-1:] == (arguments["c_dim"],))
    _refuse(claimed | _alias_free(arguments, shapes))


def _alias_free(arguments: Mapping[str, Any], shapes: Shapes) -> dict[str, tuple[Any, bool]]:
    """What StyleGAN3 and the stem of StyleGAN-XL have in common: argument -> (value, whether it fits)."""
    # Appendix D: a layer has round(min(channel_base / 2 / cutoff, channel_max)) channels, the input has the most.
    base, widest = arguments.get("channel_base", 32768), arguments.get("channel_max", 512)
    width = round(min(base / 2 / arguments.get("first_cutoff", 2), widest))
    kernel = arguments.get("conv_kernel", 3)
    kernels = {shape[2:] for name, shape in shapes.items() if LAYER.fullmatch(name)}
    return {
        "channel_max": (widest, shapes.get("synthesis.input.weight", ()) == (width, width)),
        "conv_kernel": (kernel, (kernel, kernel) in kernels),
    }


def _stylegan_xl(arguments: Mapping[str, Any], shapes: Shapes) -> None:
    found, stem = layers(shapes) or [(0, 0, 0)], arguments
    while "stem" in stem:
        stem = stem["stem"]
    count = stem.get("num_layers", 14) + 1 + _grown(arguments, stem.get("num_critical", 2))
    z_dim, c_dim, w_dim = stem["z_dim"], stem["c_dim"], stem["w_dim"]
    mapping = stem.get("mapping_kwargs", {})
    embedding = shapes.get("mapping.embed.weight", ())
    width = arguments.get("embed_dim", embedding[-1] if embedding else 0)
    claimed = {
        "w_dim": (w_dim, shapes.get("mapping.w_avg", ()) == (c_dim, w_dim)),
        "c_dim": (c_dim, embedding == (c_dim, width)),
        "embed_dim": (width, shapes.get("mapping.embed_proj.weight", ()) == (z_dim, width)),
        "z_dim": (z_dim, shapes.get("mapping.fc0.weight", ())[-1:] == (2 * z_dim,)),
        "num_layers": (stem.get("num_layers", 14), len(found) == count),
        "img_resolution": (arguments["img_resolution"], found[-1][1] == arguments["img_resolution"]),
        "img_channels": (stem["img_channels"], found[-1][2] == stem["img_channels"]),
        "mapping_kwargs.num_layers": (mapping.get("num_layers", 2), mapping.get("num_layers", 2) == _depth(shapes)),
    }
    _refuse(claimed | _alias_free(stem, shapes))


def _grown(arguments: Mapping[str, Any], critical: int) -> int:
    """How many layers the heads add: each takes the place of ToRGB and the critically sampled layers below it."""
    grown = 0
    while "stem" in arguments:
        grown += arguments["head_layers"] - critical
        arguments = arguments["stem"]
    return grown


def _stylegan2(arguments: Mapping[str, Any], shapes: Shapes) -> None:
    options = {**arguments, **arguments.get("synthesis_kwargs", {})}
    side, channels, w_dim = arguments["img_resolution"], arguments["img_channels"], arguments["w_dim"]
    architecture, noise = options.get("architecture", "skip"), options.get("use_noise", True)
    expected = _mapping(arguments["z_dim"], arguments["c_dim"], w_dim, arguments.get("mapping_kwargs", {}))
    expected["mapping.w_avg"] = (w_dim,)
    before = 0
    for resolution in _resolutions(side):
        width, block = _width(options, resolution), f"synthesis.b{resolution}"
        convolutions = {"conv1": width} if resolution == 4 else {"conv0": before, "conv1": width}
        for name, inputs in convolutions.items():
            expected[f"{block}.{name}.weight"] = (width, inputs, 3, 3)
            expected[f"{block}.{name}.affine.weight"] = (inputs, w_dim)
            if noise:
                expected[f"{block}.{name}.noise_const"] = (resolution, resolution)
        if architecture == "skip" or resolution == side:
            expected[f"{block}.torgb.weight"] = (channels, width, 1, 1)
        if architecture == "resnet" and resolution > 4:
            expected[f"{block}.skip.weight"] = (width, before, 1, 1)
        before = width
    expected["synthesis.b4.const"] = (_width(options, 4), 4, 4)
    _compare(expected, shapes, depth=arguments.get("mapping_kwargs", {}).get("num_layers", 8))


def _discriminator(arguments: Mapping[str, Any], shapes: Shapes) -> None:
    side, channels, c_dim = arguments["img_resolution"], arguments.get("img_channels", 3), arguments.get("c_dim", 0)
    architecture = arguments.get("architecture", "resnet")
    last = _width(arguments, 4)
    label = (arguments.get("cmap_dim") or last) if c_dim > 0 else 0
    options = arguments.get("mapping_kwargs", {})
    expected = _mapping(0, c_dim, label, options) if c_dim > 0 else {}
    for resolution in _resolutions(side)[1:]:
        width, narrower = _width(arguments, resolution), _width(arguments, resolution // 2)
        expected[f"b{resolution}.conv0.weight"] = (width, width, 3, 3)
        expected[f"b{resolution}.conv1.weight"] = (narrower, width, 3, 3)
        if architecture == "skip" or resolution == side:
            expected[f"b{resolution}.fromrgb.weight"] = (width, channels, 1, 1)
        if architecture == "resnet":
            expected[f"b{resolution}.skip.weight"] = (narrower, width, 1, 1)
    spread = arguments.get("epilogue_kwargs", {}).get("mbstd_num_channels", 1)
    expected["b4.conv.weight"] = (last, last + spread, 3, 3)
    expected["b4.fc.weight"] = (last, last * 16)
    expected["b4.out.weight"] = (label or 1, last)
    _compare(expected, shapes, depth=options.get("num_layers", 8) if c_dim > 0 else 0)


def _mapping(z_dim: int, c_dim: int, w_dim: int, options: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Weights of a mapping network with eight layers by default, as StyleGAN2's have."""
    count, inner = options.get("num_layers", 8), options.get("layer_features") or w_dim
    embedded = (options.get("embed_features") or w_dim) if c_dim > 0 else 0
    widths = [z_dim + embedded, *([inner] * (count - 1)), w_dim]
    expected: dict[str, tuple[int, ...]] = {
        f"mapping.fc{index}.weight": (widths[index + 1], widths[index]) for index in range(count)
    }
    return expected | ({"mapping.embed.weight": (embedded, c_dim)} if c_dim > 0 else {})


def _resolutions(side: int) -> list[int]:
    if side < 4 or side & (side - 1):
        raise CheckpointError(f"img_resolution={side} is no power of two: not a network of this kind")
    return [1 << power for power in range(2, side.bit_length())]


def _width(options: Mapping[str, Any], resolution: int) -> int:
    return min(options.get("channel_base", 32768) // resolution, options.get("channel_max", 512))


def _depth(shapes: Shapes) -> int:
    return sum(1 for name in shapes if _FC.fullmatch(name))


def _compare(expected: Shapes, shapes: Shapes, *, depth: int) -> None:
    for name, shape in expected.items():
        if shapes.get(name) != shape:
            found = "absent" if name not in shapes else str(list(shapes[name]))[:60]
            raise CheckpointError(
                f"its arguments do not fit the tensors beside them: {name} is {found}, they make {list(shape)}; "
                "the file is damaged or hostile"
            )
    if depth != _depth(shapes):
        raise CheckpointError(
            f"mapping_kwargs.num_layers={depth} does not fit the tensors beside it; the file is damaged or hostile"
        )


def _refuse(claimed: Mapping[str, tuple[Any, bool]]) -> None:
    for name, (value, fits) in claimed.items():
        if not fits:
            raise CheckpointError(f"{name}={value} does not fit the tensors beside it; the file is damaged or hostile")

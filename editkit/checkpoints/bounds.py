"""What constructor arguments may be: their names, types and ranges, for every kind of network.

Arguments come from files and decide how much memory a network takes, so unknown ones and values outside these ranges
are refused before anything is built. Ranges are generous: published networks lie well inside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from editkit.errors import CheckpointError

Bound = Callable[[object], bool]
Table = Mapping[str, "Bound | Table"]

LABELS = {
    "stylegan3": "StyleGAN3",
    "stylegan2": "StyleGAN2",
    "stylegan_xl": "StyleGAN-XL",
    "discriminator": "discriminator",
}
MAX_STAGES = 8


def check_ranges(kind: str, arguments: Mapping[str, Any]) -> None:
    """Raises CheckpointError for an argument that such a network does not have, lacks, or cannot be built with."""
    label = LABELS[kind]
    for _ in range(MAX_STAGES):
        if kind != "stylegan_xl" or "stem" not in arguments:
            break
        _check(label, _HEAD, arguments, needed=("img_resolution", "head_layers"))
        arguments = arguments["stem"]
        if not isinstance(arguments, Mapping):
            raise CheckpointError(f"{label} argument stem is a {type(arguments).__name__}, not arguments")
    else:
        raise CheckpointError(f"a {label} of more than {MAX_STAGES} stages is outside what can be built")
    _check(label, _TABLES[kind], arguments, needed=("img_resolution",) if kind == "discriminator" else _NEEDED)


def _check(
    label: str, table: Table, arguments: Mapping[str, Any], *, needed: tuple[str, ...], prefix: str = ""
) -> None:
    for name, value in arguments.items():
        bound = table.get(name)
        if bound is None:
            raise CheckpointError(
                f"unknown {label} argument {(prefix + str(name))[:60]!r}; a later editkit may know it"
            )
        if isinstance(bound, Mapping):
            if not isinstance(value, Mapping):
                raise CheckpointError(f"{label} argument {prefix}{name} is a {type(value).__name__}, not arguments")
            _check(label, bound, value, needed=(), prefix=f"{prefix}{name}.")
        elif not bound(value):
            shown = str(value)[:40] if len(str(value)) < 1000 else "a long value"
            raise CheckpointError(f"{label} argument {prefix}{name}={shown} is outside what can be built")
    if missing := [name for name in needed if name not in arguments]:
        raise CheckpointError(f"this file does not say its network's {', '.join(missing)}")


def _whole(low: int, high: int, *, optional: bool = False) -> Bound:
    """An integer; bool is an int to Python, but never a size."""
    return lambda value: (optional and value is None) or (type(value) is int and low <= value <= high)


def _number(low: float, high: float, *, optional: bool = False) -> Bound:
    return lambda value: (optional and value is None) or (type(value) in (int, float) and low <= value <= high)  # type: ignore[operator]


def _switch(value: object) -> bool:
    return type(value) is bool


def _one_of(*names: object) -> Bound:
    return lambda value: any(type(value) is type(name) and value == name for name in names)


def _taps(value: object) -> bool:
    """Of a low-pass filter: they are divided by their sum."""
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= 64:
        return False
    return all(type(tap) in (int, float) and abs(tap) <= 1e6 for tap in value) and math.fsum(value) > 0


_NEEDED = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")
_ACTIVATION = _one_of("linear", "relu", "lrelu", "tanh", "sigmoid", "elu", "selu", "softplus", "swish")
_OUTER: Table = {
    "z_dim": _whole(1, 4096),
    "c_dim": _whole(0, 100_000),
    "w_dim": _whole(1, 4096),
    "img_resolution": _whole(4, 4096),
    "img_channels": _whole(1, 64),
}
_WIDTHS: Table = {"channel_base": _whole(1, 1 << 20), "channel_max": _whole(1, 4096)}
_MAPPING: Table = {
    "num_layers": _whole(1, 64),
    "lr_multiplier": _number(1e-9, 1e3),
    "w_avg_beta": _number(0, 1),
}
_WIDE_MAPPING: Table = {
    **_MAPPING,
    "embed_features": _whole(1, 4096, optional=True),
    "layer_features": _whole(1, 4096, optional=True),
    "activation": _ACTIVATION,
}
# StyleGAN3: Karras et al. 2021, section 3 and appendix D.
_ALIAS_FREE: Table = {
    **_OUTER,
    **_WIDTHS,
    "num_layers": _whole(1, 64),
    "num_critical": _whole(0, 64),
    "first_cutoff": _number(0.01, 4096),
    "first_stopband": _number(0.01, 4096),
    "last_stopband_rel": _number(1e-3, 64),
    "margin_size": _whole(0, 256),
    "output_scale": _number(-1e6, 1e6),
    "num_fp16_res": _whole(0, 64),
    "filter_size": _whole(1, 64),
    "lrelu_upsampling": _whole(1, 16),
    "use_radial_filters": _switch,
    "conv_kernel": _whole(1, 15),
    "conv_clamp": _number(0, 1e9, optional=True),
    "magnitude_ema_beta": _number(0, 1),
}
_HALF = {"num_fp16_res": _whole(0, 64), "conv_clamp": _number(0, 1e9, optional=True)}
_ARCHITECTURE = _one_of("orig", "skip", "resnet")
# StyleGAN2: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", section 4.
_SYNTHESIS: Table = {
    **_WIDTHS,
    **_HALF,
    "architecture": _ARCHITECTURE,
    "resample_filter": _taps,
    "fp16_channels_last": _switch,
    "fused_modconv_default": _one_of(True, False, "inference_only"),
    "use_noise": _switch,
    "activation": _ACTIVATION,
}
# A head of StyleGAN-XL: Sauer et al. 2022, section 3.2; what it stands on is checked by itself.
_HEAD: Table = {
    "img_resolution": _whole(4, 4096),
    "head_layers": _whole(1, 64),
    "up_factor": _whole(2, 16),
    "first_layer": _whole(1, 999),
    "embed_dim": _whole(1, 65536),
    "stem": lambda value: True,
}
_TABLES: Mapping[str, Table] = {
    "stylegan3": {**_ALIAS_FREE, "mapping_kwargs": {**_MAPPING, "layer_features": _WIDE_MAPPING["layer_features"]}},
    "stylegan2": {**_OUTER, **_SYNTHESIS, "synthesis_kwargs": _SYNTHESIS, "mapping_kwargs": _WIDE_MAPPING},
    "stylegan_xl": {
        **_ALIAS_FREE,
        "c_dim": _whole(1, 100_000),
        "embed_dim": _whole(1, 65536),
        "mapping_kwargs": {**_MAPPING, "rand_embedding": _switch},
    },
    "discriminator": {
        "c_dim": _whole(0, 100_000),
        "img_resolution": _whole(8, 4096),
        "img_channels": _whole(1, 64),
        **_WIDTHS,
        **_HALF,
        "architecture": _ARCHITECTURE,
        "cmap_dim": _whole(1, 4096, optional=True),
        "block_kwargs": {
            "activation": _ACTIVATION,
            "resample_filter": _taps,
            "freeze_layers": _whole(0, 1000),
            "fp16_channels_last": _switch,
        },
        "mapping_kwargs": {name: bound for name, bound in _WIDE_MAPPING.items() if name != "w_avg_beta"},
        "epilogue_kwargs": {
            "mbstd_group_size": _whole(0, 1 << 20, optional=True),
            "mbstd_num_channels": _whole(0, 4096),
            "activation": _ACTIVATION,
        },
    },
}

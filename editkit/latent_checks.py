"""Shapes of what a latent holds a layer: styles and noise maps."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from editkit.errors import LatentError


def checked_styles(codes: object) -> dict[str, Tensor]:
    """Layer -> [N, C], of one N. Raises LatentError."""
    if not isinstance(codes, Mapping) or not codes:
        raise LatentError(f"codes in s are a mapping layer -> [N, C], got {type(codes).__name__}")
    counts = set()
    for name, style in codes.items():
        if not isinstance(style, Tensor) or not style.is_floating_point() or style.ndim != 2 or not style.numel():
            raise LatentError(f"codes in s are floating point [N, C] a layer; layer {name!r} is not")
        counts.add(len(style))
    if len(counts) > 1:
        raise LatentError(f"codes in s have one number of samples, got {sorted(counts)}")
    return dict(codes)


def checked_noise(noise: object, count: int) -> dict[str, Tensor]:
    """Layer -> [count, r, r]. Raises LatentError."""
    if not isinstance(noise, Mapping) or not noise:
        raise LatentError(f"noise maps are a mapping layer -> [N, r, r], got {type(noise).__name__}")
    for name, maps in noise.items():
        if not isinstance(maps, Tensor) or not maps.is_floating_point() or maps.ndim != 3 or not maps.numel():
            raise LatentError(f"noise maps are floating point [N, r, r] a layer; layer {name!r} is not")
        if len(maps) != count or maps.shape[1] != maps.shape[2]:
            raise LatentError(
                f"noise maps of {count} samples are square, [{count}, r, r]; layer {name!r} has {list(maps.shape)}"
            )
    return dict(noise)


def check_maps(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], name: str) -> None:
    """Raises LatentError unless layers and sides of noise maps are those of generator ``name``: ``wanted``, [r, r]."""
    if {k: v.shape[1:] for k, v in found.items()} != {k: v.shape for k, v in wanted.items()}:
        have = ", ".join(f"{k} {v.shape[-1]}" for k, v in wanted.items()) or "none"
        raise LatentError(f"this latent's noise maps are not those of {name!r}, which has {have}")

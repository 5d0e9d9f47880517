"""How much memory a search takes: the activations that autograd keeps of every layer for the way back to ws, and the
perceptual loss. Far more than a forward pass, which holds one layer at a time (``editkit.memory``).

What is kept is counted from the layers as they run here, with frozen weights. The few constants below were fitted to
peaks of the resident set above the loaded network, in fresh processes on a CPU; tests/test_search_memory.py repeats it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from editkit.errors import UsageError
from editkit.memory import check_fits, free_memory, stylegan3_table

if TYPE_CHECKING:
    from editkit.generator import Generator
    from editkit.networks.stylegan3_layers import LayerGeometry

MIB = 2**20
RUNTIME = 165 * MIB
"""What torch takes for itself when a search first runs: threads, kernels, statistics of W."""
COMPILED = 150 * MIB
"""And numba, for the fused non-linearity of the CPU backend."""
STYLEGAN3_PEAK, STYLEGAN2_PEAK = 1.4, 1.6
"""The peak as a multiple of what is kept: gradients of the layer at work, and holes in the heap. Measured: 1.31 to 1.39
(StyleGAN3), 1.6 (StyleGAN2, whose few wide layers weigh more)."""
MASK, SEPARABLE, RADIAL = 1, 8, 11
"""Bytes kept for a sample of the oversampled picture: the sign mask of the fused kernel; the inputs of leaky ReLU and
clamp; and of the radial filter's convolution, less what is chunked."""
SPARE = 0.8
"""Share of the free memory that a batch of its own choice takes: other programs come and go."""
PICTURES = 10
"""Copies of the picture that the pixel loss keeps."""
_PERCEPTUAL = {"editkit-faces": (32, 128, 1000), "lpips-alex": (1, 256, 300), "lpips-vgg": (1, 256, 5000)}
"""Name of a distance -> smallest and largest side it works at, and bytes a pixel of that."""


def check_search_fits(G: Generator, *, batch: int, perceptual: str | None, extra: int = 0) -> None:
    """Raises MemoryBudgetError, with the numbers, if a search for ``batch`` photos at a time would not fit.

    ``perceptual``: name of the distance in use; ``extra``: bytes besides, of weights that are tuned. A generator of
    another making, whose layers are not known, passes.
    """
    arguments = getattr(G, "arguments", None)
    if G.spec.kind not in _KEPT or not isinstance(arguments, Mapping):
        return
    one, two = (
        search_memory(arguments, kind=G.spec.kind, batch=n, perceptual=perceptual, device=G.device) for n in (1, 2)
    )
    one, two = one + extra, two + extra
    several = "close other programs, use a smaller network or another device"
    if batch > 1:
        fit = 1 + (free_memory(G.device) - one) // max(two - one, 1)
        several = f"take {fit} at a time, or another device" if fit >= 1 else f"not even one fits: {several}"
    what = f"the search with generator {G.spec.name!r} for {batch} photo{'s' if batch > 1 else ''} at a time"
    check_fits(one + (batch - 1) * (two - one), what, device=G.device, advice=several)


def fitting_batch(G: Generator, *, perceptual: str | None, most: int) -> int:
    """How many photos at a time fit into the memory that is free, with a fifth to spare; 1 to ``most``.

    A generator of another making, whose layers are not known, gets 1.
    """
    arguments = getattr(G, "arguments", None)
    if G.spec.kind not in _KEPT or not isinstance(arguments, Mapping):
        return 1
    one, two = (
        search_memory(arguments, kind=G.spec.kind, batch=n, perceptual=perceptual, device=G.device) for n in (1, 2)
    )
    return int(min(max(1 + (SPARE * free_memory(G.device) - one) // max(two - one, 1), 1), most))


def search_memory(
    arguments: Mapping[str, Any],
    *,
    kind: str = "stylegan3",
    batch: int = 1,
    perceptual: str | None = None,
    device: torch.device | str = "cpu",
) -> int:
    """Bytes that a search takes beside the loaded network, at its peak.

    Args:
        arguments: of the network's constructor; kind: of the network.
        batch: photos at a time; perceptual: name of the distance, None without.
        device: where it runs; it decides which operations run, and in which precision.

    Raises:
        UsageError: the arguments make no network, or the kind is unknown.
    """
    cuda = torch.device(device).type == "cuda"
    try:
        weights, kept = _KEPT[kind](arguments, cuda)
        side = int(arguments["img_resolution"])
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise UsageError(f"these constructor arguments make no network: {error}") from error
    compiled = COMPILED if kind != "stylegan2" and _fused(device) else 0
    losses = PICTURES * 12 * side**2 + _perceptual(perceptual, side)
    return RUNTIME + compiled + weights + batch * (kept + losses)


def _stylegan3(arguments: Mapping[str, Any], cuda: bool) -> tuple[int, int]:
    return _filtered(stylegan3_table(arguments), arguments, cuda)


def _stylegan_xl(arguments: Mapping[str, Any], cuda: bool) -> tuple[int, int]:
    from editkit.networks.stylegan_xl import staged_table, stages

    stem, heads = stages({name: value for name, value in arguments.items() if name != "embed_dim"})
    options = {name: getattr(stem, name) for name in _LAYER_DEFAULTS}
    return _filtered(staged_table(stem, heads), options, cuda)


def _filtered(table: list[LayerGeometry], arguments: Mapping[str, Any], cuda: bool) -> tuple[int, int]:
    """Bytes kept of the layers of StyleGAN3: (normalised weights, activations a sample)."""
    kernel, oversampling, taps, radial = (arguments.get(name, _LAYER_DEFAULTS[name]) for name in _LAYER_DEFAULTS)
    fused = _fused("cuda" if cuda else "cpu")
    weights, kept = 0, 0.0
    for g in table:
        size = 2 if cuda and g.use_fp16 else 4
        k = 1 if g.is_torgb else kernel
        rate = max(g.in_sampling_rate, g.out_sampling_rate) * (1 if g.is_torgb else oversampling)
        down = rate / g.out_sampling_rate
        upsampled = (g.out_size * down + (taps * down if down > 1 else 0)) ** 2
        if fused:
            upsampled *= MASK * 16 * -(-g.out_channels // 16)  # in blocks of 16 channels
        elif radial and not g.is_critically_sampled:
            upsampled *= RADIAL * g.out_channels * size / 4
        else:
            upsampled *= SEPARABLE * g.out_channels * size / 4
        convolved = (g.in_size + k - 1) ** 2 * g.out_channels  # before its scale
        kept += size * (2 * g.in_channels * g.in_size**2 + convolved) + upsampled  # the input, and the same scaled
        weights += size * g.out_channels * g.in_channels * k**2
    return int(weights), int(STYLEGAN3_PEAK * kept)


def _stylegan2(arguments: Mapping[str, Any], cuda: bool) -> tuple[int, int]:
    """Bytes kept of StyleGAN2: (weights turned for the transposed convolution, activations a sample)."""
    options = {**arguments, **(arguments.get("synthesis_kwargs") or {})}
    side, base, widest = (
        int(options.get(name, default))
        for name, default in (("img_resolution", 256), ("channel_base", 32768), ("channel_max", 512))
    )
    if min(side, base, widest) < 1:
        raise ValueError(f"sizes must be above 0, got {side}, {base} and {widest}")
    halves = int(options.get("num_fp16_res", 0 if arguments.get("synthesis_kwargs") is not None else 4))
    weights = kept = before = 0
    for r in (1 << power for power in range(2, side.bit_length())):
        size = 2 if cuda and r >= max(2 * side >> halves, 8) else 4
        channels = min(base // r, widest)
        # conv1 and ToRGB: inputs, the same scaled, before the scale of the output, leaky ReLU and clamp
        kept += size * 7 * channels * r**2
        if before:  # conv0, twice the size: its input twice, then padded, scaled, leaky ReLU and clamp
            kept += size * (2 * before * (r // 2) ** 2 + 4 * channels * r**2)
            weights += 4 * 9 * before * channels
            if options.get("architecture") == "resnet":
                kept += size * 3 * channels * r**2
        before = channels
    return weights, int(STYLEGAN2_PEAK * kept)


def _perceptual(name: str | None, side: int) -> int:
    if name is None:
        return 0
    low, high, each = _PERCEPTUAL.get(name, _PERCEPTUAL["lpips-vgg"])
    return each * min(max(side, low), high) ** 2


def _fused(device: torch.device | str) -> bool:
    """Whether the fused non-linearity runs there."""
    from editkit.ops import fused
    from editkit.ops.backends import compiled_for_cpu

    return torch.device(device).type == "cpu" and compiled_for_cpu() and fused.available()


_LAYER_DEFAULTS = {"conv_kernel": 3, "lrelu_upsampling": 2, "filter_size": 6, "use_radial_filters": False}
_KEPT = {"stylegan3": _stylegan3, "stylegan2": _stylegan2, "stylegan_xl": _stylegan_xl}

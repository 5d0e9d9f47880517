"""StyleGAN3 in ONNX operators, step by step as ``editkit.networks`` computes it (Karras et al. 2021, section 3.2).

Convention: filters are products with bands, as in ``editkit.ops.polyphase``: row o of a band holds the taps that meet
real samples, so no zero is ever inserted. Everything that does not depend on the inputs is computed here, once.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from editkit.onnx_graph import OnnxGraph

if TYPE_CHECKING:
    from editkit.networks.layers import FullyConnectedLayer
    from editkit.networks.mapping import MappingNetwork
    from editkit.networks.stylegan3 import SynthesisNetwork
    from editkit.networks.stylegan3_layers import SynthesisInput, SynthesisLayer

TILE = 64  # outputs of a band at a time: the rest of its rows are zeros


def add_mapping(graph: OnnxGraph, network: MappingNetwork, z: str, label: str | None, truncation_psi: float) -> str:
    """z [N, z_dim] (and label [N, c_dim]) to w [N, w_dim]."""
    x = _normalized(graph, z)
    if network.embed is not None and label is not None:
        x = graph.op("Concat", x, _normalized(graph, _connected(graph, network.embed, label)), axis=1)
    for index in range(network.num_layers):
        x = _connected(graph, getattr(network, f"fc{index}"), x)
    if truncation_psi == 1:
        return x
    return graph.add(graph.mul(x, truncation_psi), network.w_avg * (1 - truncation_psi))


def add_synthesis(graph: OnnxGraph, network: SynthesisNetwork, ws: list[str], transform: str, *, output: str) -> None:
    """The rows of W+, each [N, w_dim], and transform [N, 3, 3] (forward) to the image called ``output``."""
    x = _add_input(graph, network.input, ws[0], _inverse(graph, transform))
    for layer, w in zip(network.layers(), ws[1:], strict=True):
        x = _add_layer(graph, layer, x, w)
    graph.op("Mul", x, graph.constant(network.output_scale), name=output)


def _normalized(graph: OnnxGraph, x: str) -> str:
    power = graph.op("ReduceMean", graph.op("Mul", x, x), axes=[1], keepdims=1)
    return graph.op("Mul", x, graph.rsqrt(graph.add(power, 1e-8)))


def _connected(graph: OnnxGraph, layer: FullyConnectedLayer, x: str) -> str:
    weight = graph.constant((layer.weight * layer.weight_gain).t())
    x = graph.op("MatMul", x, weight)
    if layer.bias is not None:
        x = graph.add(x, layer.bias * layer.bias_gain)
    return x if layer.activation == "linear" else graph.mul(graph.op("LeakyRelu", x, alpha=0.2), 2**0.5)


def _columns(graph: OnnxGraph, x: str, count: int) -> list[str]:
    """The first columns of [N, C], each [N, 1]."""
    return [graph.op("Gather", x, graph.ints(index), axis=1) for index in range(count)]


def _affine(graph: OnnxGraph, upper: list[str]) -> str:
    """Six [N, 1], the two upper rows, as [N, 3, 3]."""
    zero = graph.mul(upper[0], 0.0)
    flat = graph.op("Concat", *upper, zero, zero, graph.add(zero, 1.0), axis=1)
    return graph.op("Reshape", flat, graph.ints(0, 3, 3))


def _inverse(graph: OnnxGraph, transform: str) -> str:
    """[N, 3, 3] affine to its inverse, as ``Transform.inverse``: x = A^-1 (x' - t)."""
    flat = graph.op("Reshape", transform, graph.ints(0, 9))
    a, b, x, c, d, y = _columns(graph, flat, 6)
    determinant = graph.op("Sub", graph.op("Mul", a, d), graph.op("Mul", b, c))
    a, b, c, d = (
        graph.op("Div", d, determinant),
        graph.op("Neg", graph.op("Div", b, determinant)),
        graph.op("Neg", graph.op("Div", c, determinant)),
        graph.op("Div", a, determinant),
    )

    def moved(p: str, q: str) -> str:
        return graph.op("Neg", graph.add(graph.op("Mul", p, x), graph.op("Mul", q, y)))

    return _affine(graph, [a, b, moved(a, b), c, d, moved(c, d)])


def _add_input(graph: OnnxGraph, layer: SynthesisInput, w: str, user: str) -> str:
    """Fourier features [N, C, size, size] under the learned placement and ``user``, output to input coordinates."""
    placement = _connected(graph, layer.affine, w)  # [N, 4]
    length = graph.op("ReduceL2", graph.cut(placement, 1, 0, 2), axes=[1], keepdims=1)
    cos, sin, x, y = _columns(graph, graph.op("Div", placement, length), 4)
    # rotation @ translation, multiplied out
    shift_x = graph.op("Sub", graph.op("Mul", sin, y), graph.op("Mul", cos, x))
    shift_y = graph.op("Neg", graph.add(graph.op("Mul", sin, x), graph.op("Mul", cos, y)))
    placed = _affine(graph, [cos, graph.op("Neg", sin), shift_x, sin, cos, shift_y])
    upper = graph.cut(graph.op("MatMul", placed, user), 1, 0, 2)  # [N, 2, 3]
    freqs = graph.constant(layer.freqs)  # [C, 2]
    turned = graph.op("MatMul", freqs, graph.cut(upper, 2, 0, 2))  # [N, C, 2]
    shifted = graph.op("MatMul", freqs, graph.cut(upper, 2, 2, 3))  # [N, C, 1]
    phases = graph.add(graph.op("Squeeze", shifted, graph.ints(2)), layer.phases)  # [N, C]
    # frequencies that the transform pushes past the band fade out instead of aliasing
    norm = graph.op("ReduceL2", turned, axes=[2], keepdims=0)
    excess = graph.op("Sub", norm, graph.constant(layer.bandwidth))
    excess = graph.op("Div", excess, graph.constant(layer.sampling_rate / 2 - layer.bandwidth))
    fading = graph.op("Sub", graph.constant(1.0), excess)
    amplitudes = graph.op("Clip", fading, graph.constant(0.0), graph.constant(1.0))
    half = 0.5 * layer.size / layer.sampling_rate
    steps = ((torch.arange(layer.size) + 0.5) / layer.size * 2 - 1) * half
    grid = torch.stack([steps[None, :].expand(layer.size, -1), steps[:, None].expand(-1, layer.size)], 2)
    at = graph.op("MatMul", graph.constant(grid.reshape(-1, 2)), graph.op("Transpose", turned, perm=[0, 2, 1]))
    at = graph.add(at, graph.unsqueeze(phases, 1))  # [N, size * size, C]
    waves = graph.op("Mul", graph.op("Sin", graph.mul(at, 2 * math.pi)), graph.unsqueeze(amplitudes, 1))
    mixed = graph.op("MatMul", waves, graph.constant(layer.weight.t() / layer.channels**0.5))
    mixed = graph.op("Transpose", mixed, perm=[0, 2, 1])
    return graph.op("Reshape", mixed, graph.ints(0, layer.channels, layer.size, layer.size))


def _add_layer(graph: OnnxGraph, layer: SynthesisLayer, x: str, w: str) -> str:
    """Modulated convolution and filtered non-linearity (figure 4b)."""
    g = layer.geometry
    styles = _connected(graph, layer.affine, w)
    weight: Tensor = layer.weight
    scale = None
    if g.is_torgb:
        styles = graph.mul(styles, 1 / (g.in_channels * layer.conv_kernel**2) ** 0.5)
    else:
        weight = weight * weight.square().mean([1, 2, 3], keepdim=True).rsqrt()
        power = graph.op("ReduceMean", graph.op("Mul", styles, styles), axes=[1], keepdims=1)
        styles = graph.op("Mul", styles, graph.rsqrt(power))
        energy = graph.op("MatMul", graph.op("Mul", styles, styles), graph.constant(weight.square().sum([2, 3]).t()))
        scale = graph.rsqrt(graph.add(energy, 1e-8))  # [N, O]
    styles = graph.mul(styles, layer.magnitude_ema.rsqrt())
    x = graph.op("Mul", x, graph.unsqueeze(styles, 2, 3))
    x = graph.op("Conv", x, graph.constant(weight), pads=[layer.conv_kernel - 1] * 4)
    if scale is not None:
        x = graph.op("Mul", x, graph.unsqueeze(scale, 2, 3))
    x = graph.add(x, layer.bias.reshape(1, -1, 1, 1))
    size = g.in_size + layer.conv_kernel - 1
    x, size = _resampled(graph, x, layer.up_filter, size, up=layer.up_factor, pad=(layer.padding[0], layer.padding[1]))
    if not g.is_torgb:
        x = graph.mul(graph.op("LeakyRelu", x, alpha=0.2), 2**0.5)
    if layer.conv_clamp is not None:
        x = graph.op("Clip", x, graph.constant(-layer.conv_clamp), graph.constant(layer.conv_clamp))
    down = layer.down_filter
    if down is not None and down.ndim == 2:  # radial: it does not separate
        kernel = down.flip(0, 1).expand(g.out_channels, 1, *down.shape)
        stride = [layer.down_factor, layer.down_factor]
        return graph.op("Conv", x, graph.constant(kernel), strides=stride, group=g.out_channels)
    return _resampled(graph, x, down, size, down=layer.down_factor)[0]


def _resampled(
    graph: OnnxGraph,
    x: str,
    taps: Tensor | None,
    size: int,
    *,
    up: int = 1,
    down: int = 1,
    pad: tuple[int, int] = (0, 0),
) -> tuple[str, int]:
    """[N, C, size, size] upsampled, padded, filtered, thinned out on both axes; the result and its size."""
    if taps is None and up == down == 1 and pad == (0, 0):
        return x, size
    # the order in which taps meet samples; the gain of up^2 is split over two axes
    ordered = np.ones(1) if taps is None else taps.flip(0).double().cpu().numpy()
    band = _band(ordered * up, size, up=up, down=down, pad=pad)  # [out, size]
    return _along(graph, _along(graph, x, band, axis=3), band, axis=2), len(band)


def _band(taps: np.ndarray, size: int, *, up: int, down: int, pad: tuple[int, int]) -> np.ndarray:
    """Output o meets, at tap k, sample (o down + k - pad) / up, where that is a whole number and there."""
    out = (size * up + sum(pad) - len(taps)) // down + 1
    position = np.arange(out)[:, None] * down + np.arange(len(taps)) - pad[0]
    sample, rest = np.divmod(position, up)
    real = (rest == 0) & (sample >= 0) & (sample < size)
    band = np.zeros((out, size))
    rows, columns = np.nonzero(real)
    band[rows, sample[rows, columns]] = taps[columns]
    return band


def _along(graph: OnnxGraph, x: str, band: np.ndarray, *, axis: int) -> str:
    """The product with a band along axis 2 or 3 of [N, C, H, W], tile by tile, without the zeros beside it."""
    tile = len(band) if len(band) <= 2 * TILE else TILE
    parts = []
    for first in range(0, len(band), tile):
        rows = band[first : first + tile]
        met = np.nonzero(rows.any(0))[0]
        begin, end = (int(met[0]), int(met[-1]) + 1) if len(met) else (0, 1)
        source = x if (begin, end) == (0, band.shape[1]) else graph.cut(x, axis, begin, end)
        block = rows[:, begin:end]
        if axis == 3:
            parts.append(graph.op("MatMul", source, graph.constant(block.T)))
        else:
            parts.append(graph.op("MatMul", graph.constant(block), source))
    return parts[0] if len(parts) == 1 else graph.op("Concat", *parts, axis=axis)

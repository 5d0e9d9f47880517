"""Convolution whose weights are scaled by a style and normalised.

Source: Karras et al. 2021, section 3.2 and appendix C.1 (pre-normalised weights and styles, input gain from a running
magnitude); weight demodulation: Karras et al. 2020, section 2.2, equations 1-3.
"""

import torch
from torch import Tensor

from editkit.ops import half_conv, scaled_conv, winograd
from editkit.ops.backends import compiled_for_cpu, current_precision
from editkit.ops.conv2d import conv2d


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    *,
    padding: int | tuple[int, int] = 0,
    demodulate: bool = True,
    input_gain: Tensor | None = None,
    coupled: bool = False,
) -> Tensor:
    """StyleGAN3's modulated convolution, by scaling input and output instead of building weights a sample.

    Args:
        x: ``[N, I, H, W]``.
        weight: ``[O, I, k, k]``.
        styles: ``[N, I]``.
        padding: zeros around the picture, ``p`` or ``(y, x)``; a negative ``p`` crops.
        demodulate: normalise every output map to unit variance for unit-variance input.
        input_gain: factor on the input after demodulation: scalar, ``[I]`` or ``[N, I]``.
        coupled: normalise styles by their mean square over the whole batch, as the published networks were trained.
            False takes each sample's own, so that a picture does not depend on its batch; under demodulation the two
            differ only through the stabilising 1e-8.

    Returns:
        ``[N, O, H', W']``.
    """
    n, channels = x.shape[:2]
    if weight.ndim != 4 or weight.shape[1] != channels or styles.shape != (n, channels):
        raise ValueError(
            f"x {tuple(x.shape)} needs weight [O, {channels}, k, k] and styles [{n}, {channels}], "
            f"got {tuple(weight.shape)} and {tuple(styles.shape)}"
        )
    if isinstance(padding, int) and compiled_for_cpu() and scaled_conv.supported(x, weight):
        return _at_rest(x, weight, styles, padding, demodulate, input_gain, coupled)
    scale_out = None
    if demodulate:
        weight = weight * weight.square().mean([1, 2, 3], keepdim=True).rsqrt()
        styles = styles * styles.square().mean(None if coupled else 1, keepdim=True).rsqrt()
        energy = styles.square() @ weight.square().sum([2, 3]).t()  # [N, O]
        scale_out = (energy + 1e-8).rsqrt()
    if input_gain is not None:
        styles = styles * input_gain  # broadcasts from [], [I] or [N, I]
    if isinstance(padding, int) and padding < 0:
        x, padding = x[:, :, -padding:padding, -padding:padding], 0
    if current_precision() == "exact" and x.device.type == "cpu" and not weight.requires_grad:
        # oneDNN adds up channels-last products in longer rows, four times less accurately.
        x = x.contiguous()
        if not (torch.is_grad_enabled() and (x.requires_grad or styles.requires_grad)):
            return _factors_in_weights(x, weight, styles, scale_out, padding)
    if scale_out is not None and half_conv.supported(x, weight, padding):
        factors = styles.to(x.dtype), scale_out.to(x.dtype)
        return half_conv.half_scaled_conv2d(x, weight, *factors, padding=int(padding))  # type: ignore[arg-type]
    x = conv2d(x * styles[:, :, None, None].to(x.dtype), weight.to(x.dtype), padding=padding)
    return x if scale_out is None else x * scale_out[:, :, None, None].to(x.dtype)


def _factors_in_weights(
    x: Tensor, weight: Tensor, styles: Tensor, scale_out: Tensor | None, padding: int | tuple[int, int]
) -> Tensor:
    """The same with both factors in the weights of each sample, so that no picture is rounded for them."""
    made = weight.to(x.dtype) * styles.to(x.dtype)[:, None, :, None, None]  # [N, O, I, k, k]
    if scale_out is not None:
        made = made * scale_out.to(x.dtype)[:, :, None, None, None]
    return torch.cat([conv2d(x[i : i + 1], made[i], padding=padding) for i in range(len(x))])


def _at_rest(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    padding: int,
    demodulate: bool,
    input_gain: Tensor | None,
    coupled: bool,
) -> Tensor:
    """The same for weights that are not trained: their norms are kept, and both factors go into the convolution."""
    scale_out = styles.new_ones(len(styles), len(weight))
    if demodulate:
        energies = winograd.squares(weight).to(styles.dtype)  # [O, I]
        norm = energies.sum(1).div(weight[0].numel()).rsqrt()  # [O]
        styles = styles * styles.square().mean(None if coupled else 1, keepdim=True).rsqrt()
        scale_out = norm * ((styles.square() @ energies.t()) * norm.square() + 1e-8).rsqrt()
    if input_gain is not None:
        styles = styles * input_gain
    return scaled_conv.scaled_conv2d(x, weight, styles.to(x.dtype), scale_out.to(x.dtype), padding=padding)

"""Convolution whose weights are scaled by a style and normalised.

Source: Karras et al. 2021, section 3.2 and appendix C.1 (pre-normalised weights and styles, input gain from a running
magnitude); weight demodulation: Karras et al. 2020, section 2.2, equations 1-3.
"""

from torch import Tensor

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
    scale_out = None
    if demodulate:
        weight = weight * weight.square().mean([1, 2, 3], keepdim=True).rsqrt()
        styles = styles * styles.square().mean(None if coupled else 1, keepdim=True).rsqrt()
        energy = styles.square() @ weight.square().sum([2, 3]).t()  # [N, O]
        scale_out = (energy + 1e-8).rsqrt()
    if input_gain is not None:
        styles = styles * input_gain  # broadcasts from [], [I] or [N, I]
    x = conv2d(x * styles[:, :, None, None].to(x.dtype), weight.to(x.dtype), padding=padding)
    return x if scale_out is None else x * scale_out[:, :, None, None].to(x.dtype)

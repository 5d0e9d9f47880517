"""StyleGAN2's modulated convolution: weights scaled by a style, demodulated, resampled, with noise.

Source: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", section 2.2, equations 1-3;
half precision: Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", appendix D.1.
StyleGAN3's form is in ``modulated_conv``.
"""

from torch import Tensor

from editkit.ops.conv2d_resample import conv2d_resample
from editkit.ops.upfirdn2d import Factor


def modulated_conv2d_resample(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    *,
    noise: Tensor | None = None,
    resample_filter: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: Factor = 0,
    demodulate: bool = True,
    flip_weight: bool = True,
    fused: bool = False,
) -> Tensor:
    """Equations 1 and 3, then the noise.

    Args:
        x: ``[N, I, H, W]``; weight: ``[O, I, k, k]``; styles: ``[N, I]``.
        noise: added to the result, broadcast from ``[H', W']`` or ``[N, 1, H', W']``.
        resample_filter, up, down, padding, flip_weight: as ``conv2d_resample`` has them.
        demodulate: scale every output map to unit variance for unit-variance input.
        fused: build each sample's weights and convolve in groups, instead of scaling input and output. The same
            function up to rounding; it saves memory traffic and costs when gradients along styles are wanted.

    Returns:
        ``[N, O, H', W']``.
    """
    n, channels = x.shape[:2]
    if weight.ndim != 4 or weight.shape[1] != channels or styles.shape != (n, channels):
        raise ValueError(
            f"x {tuple(x.shape)} needs weight [O, {channels}, k, k] and styles [{n}, {channels}], "
            f"got {tuple(weight.shape)} and {tuple(styles.shape)}"
        )
    if demodulate and x.element_size() < 4:  # half precision: keep products in range; demodulation undoes the scale
        weight = weight / weight.abs().amax([1, 2, 3], keepdim=True) / (channels * weight[0, 0].numel()) ** 0.5
        styles = styles / styles.abs().amax(1, keepdim=True)
    scale_out = None
    if demodulate:
        energy = styles.square() @ weight.square().sum([2, 3]).t()  # [N, O]
        scale_out = (energy + 1e-8).rsqrt()
    if fused:
        each = weight * styles[:, None, :, None, None]  # [N, O, I, k, k], equation 1
        if scale_out is not None:
            each = each * scale_out[:, :, None, None, None]  # equation 3
        y = conv2d_resample(
            x.reshape(1, n * channels, *x.shape[2:]),
            each.reshape(-1, *weight.shape[1:]).to(x.dtype),
            resample_filter,
            up=up,
            down=down,
            padding=padding,
            groups=n,
            flip_weight=flip_weight,
        )
        y = y.reshape(n, -1, *y.shape[2:])
    else:
        y = conv2d_resample(
            x * styles[:, :, None, None].to(x.dtype),
            weight.to(x.dtype),
            resample_filter,
            up=up,
            down=down,
            padding=padding,
            flip_weight=flip_weight,
        )
        if scale_out is not None:
            y = y * scale_out[:, :, None, None].to(y.dtype)
    return y if noise is None else y + noise.to(y.dtype)

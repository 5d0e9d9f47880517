"""Convolution that changes the resolution on the way, through a low-pass filter, without computing what is dropped.

Source: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", section 4.1 and appendix B
(bilinearly filtered up- and downsampling around the convolutions); the filters: Zhang 2019, "Making Convolutional
Networks Shift-Invariant Again".

Convention: upsample, filter, convolve, filter, downsample; padding is of the upsampled picture, ``p``, ``[x, y]`` or
``[x0, x1, y0, y1]``, negative values crop. Beyond the picture there are zeros, so filter and convolution may change
places: each case below takes the order that touches the fewest samples.
"""

import torch.nn.functional as F
from torch import Tensor

from editkit.ops.conv2d import conv2d
from editkit.ops.upfirdn2d import Factor, filter_size, parse_padding, upfirdn2d


def conv2d_resample(
    x: Tensor,
    weight: Tensor,
    f: Tensor | None = None,
    *,
    up: int = 1,
    down: int = 1,
    padding: Factor = 0,
    groups: int = 1,
    flip_weight: bool = True,
    flip_filter: bool = False,
) -> Tensor:
    """Convolves ``x`` with ``weight``, upsampled by ``up`` before and downsampled by ``down`` after it.

    Args:
        x: ``[N, I, H, W]``, floating.
        weight: ``[O, I / groups, kh, kw]``, of the dtype of ``x``.
        f: low-pass filter of the resampling, separable ``[taps]`` or ``[height, width]``; None is the identity.
        up, down: integer factors.
        padding: with respect to the upsampled picture, on top of what keeps filters centred.
        groups: of the channels, as in ``torch.nn.functional.conv2d``.
        flip_weight: True correlates, as torch does; False convolves. flip_filter: the same for ``f``, as ``upfirdn2d``.

    Returns:
        ``[N, O, H * up / down, W * up / down]`` where padding is (k - 1) / 2; differentiable any number of times.

    Raises:
        ValueError: shapes that do not go together, or a factor below 1.
    """
    if x.ndim != 4 or weight.ndim != 4 or x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        raise ValueError(
            f"x {tuple(x.shape)} in {groups} groups does not go with weight {tuple(weight.shape)}; "
            "x is [N, I, H, W], weight [O, I / groups, kh, kw]"
        )
    if up < 1 or down < 1:
        raise ValueError(f"sampling factors must be at least 1, got up={up} and down={down}")
    fw, fh = filter_size(f)
    x0, x1, y0, y1 = parse_padding(padding)
    if up > 1:
        x0, x1, y0, y1 = x0 + (fw + up - 1) // 2, x1 + (fw - up) // 2, y0 + (fh + up - 1) // 2, y1 + (fh - up) // 2
    if down > 1:
        x0, x1 = x0 + (fw - down + 1) // 2, x1 + (fw - down) // 2
        y0, y1 = y0 + (fh - down + 1) // 2, y1 + (fh - down) // 2
    pad = (x0, x1, y0, y1)
    kh, kw = weight.shape[2:]
    if up == 1 and down == 1:
        return _convolve(x, weight, pad, groups, flip_weight)
    if up == 1 and kh == kw == 1:
        x = upfirdn2d(x, f, down=down, padding=pad, flip_filter=flip_filter)
        return _convolve(x, weight, (0, 0, 0, 0), groups, flip_weight)
    if up == 1:
        x = upfirdn2d(x, f, padding=pad, flip_filter=flip_filter)
        return F.conv2d(x, weight if flip_weight else weight.flip([2, 3]), stride=down, groups=groups)
    if kh == kw == 1:
        x = _convolve(x, weight, (0, 0, 0, 0), groups, flip_weight)
    else:  # insert zeros and convolve in one step; a transposed convolution does not flip
        transposed = _transposed(weight.flip([2, 3]) if flip_weight else weight, groups)
        x = F.conv_transpose2d(x, transposed, stride=up, groups=groups)
        pad = (x0 - (kw - 1), x1 - (kw - up), y0 - (kh - 1), y1 - (kh - up))
        x = upfirdn2d(x, f, padding=pad, gain=up**2, flip_filter=flip_filter)
        return x if down == 1 else upfirdn2d(x, f, down=down, flip_filter=flip_filter)
    x = upfirdn2d(x, f, up=up, padding=pad, gain=up**2, flip_filter=flip_filter)
    return x if down == 1 else upfirdn2d(x, f, down=down, flip_filter=flip_filter)


def _convolve(x: Tensor, weight: Tensor, pad: tuple[int, int, int, int], groups: int, flip_weight: bool) -> Tensor:
    weight = weight if flip_weight or weight[0, 0].numel() == 1 else weight.flip([2, 3])
    x0, x1, y0, y1 = pad
    if groups == 1 and x0 == x1 >= 0 and y0 == y1 >= 0:
        return conv2d(x, weight, padding=(y0, x0))
    return F.conv2d(F.pad(x, [x0, x1, y0, y1]), weight, groups=groups)


def _transposed(weight: Tensor, groups: int) -> Tensor:
    """[O, I / groups, kh, kw] as ``conv_transpose2d`` wants it: [I, O / groups, kh, kw]."""
    out_channels, in_channels, kh, kw = weight.shape
    grouped = weight.reshape(groups, out_channels // groups, in_channels, kh, kw)
    return grouped.transpose(1, 2).reshape(groups * in_channels, out_channels // groups, kh, kw)

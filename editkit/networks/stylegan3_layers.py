"""The layers of StyleGAN3: Fourier-feature input, and modulated convolution with a filtered non-linearity.

Source: Karras et al. 2021, "Alias-Free Generative Adversarial Networks", section 3.2 and appendix C.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from editkit.networks.layers import FullyConnectedLayer, in_half
from editkit.ops.filtered_lrelu import filtered_lrelu
from editkit.ops.filters import design_lowpass_filter
from editkit.ops.modulated_conv import modulated_conv2d


class SynthesisInput(nn.Module):
    """Fourier features under a learned and a user transform (section 3.2, configuration D; appendix C.1)."""

    freqs: Tensor
    phases: Tensor
    transform: Tensor

    def __init__(self, *, w_dim: int, channels: int, size: int, sampling_rate: float, bandwidth: float) -> None:
        super().__init__()
        self.channels, self.size, self.sampling_rate, self.bandwidth = channels, size, sampling_rate, bandwidth
        freqs = torch.randn(channels, 2)  # uniform over the disc |f| <= bandwidth
        radii = freqs.square().sum(1, keepdim=True).sqrt()
        freqs = freqs / (radii * radii.square().exp().pow(0.25)) * bandwidth
        self.weight = nn.Parameter(torch.randn(channels, channels))
        self.affine = FullyConnectedLayer(w_dim, 4, weight_init=0, bias_init=[1, 0, 0, 0])
        self.register_buffer("transform", torch.eye(3))
        self.register_buffer("freqs", freqs)
        self.register_buffer("phases", torch.rand(channels) - 0.5)

    def forward(self, placement: Tensor, transform: Tensor | None = None) -> Tensor:
        """The learned ``placement`` [N, 4], (cos, sin, x, y) before normalisation, to [N, channels, size, size].

        ``transform`` [3, 3] or [N, 3, 3] maps output to input coordinates (the inverse of where the content goes) and
        replaces the stored one; coordinates: the image's width is 1, its centre the origin, x right, y down.
        """
        user = (self.transform if transform is None else transform).to(placement)
        t = placement / placement[:, :2].norm(dim=1, keepdim=True)
        cos, sin, shift_x, shift_y = t.unbind(1)
        zero, one = torch.zeros_like(cos), torch.ones_like(cos)
        rotation = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], 1).view(-1, 3, 3)
        translation = torch.stack([one, zero, -shift_x, zero, one, -shift_y, zero, zero, one], 1).view(-1, 3, 3)
        matrix = rotation @ translation @ user  # [N, 3, 3]
        freqs = self.freqs.to(placement.dtype)
        phases = self.phases.to(placement.dtype) + (freqs @ matrix[:, :2, 2:]).squeeze(2)  # [N, C]
        freqs = freqs @ matrix[:, :2, :2]  # [N, C, 2]
        # frequencies that the transform pushes past the band fade out instead of aliasing
        excess = (freqs.norm(dim=2) - self.bandwidth) / (self.sampling_rate / 2 - self.bandwidth)
        amplitudes = (1 - excess).clamp(0, 1)
        half = 0.5 * self.size / self.sampling_rate
        steps = (
            (torch.arange(self.size, device=placement.device, dtype=placement.dtype) + 0.5) / self.size * 2 - 1
        ) * half
        grid = torch.stack([steps[None, :].expand(self.size, -1), steps[:, None].expand(-1, self.size)], 2)
        x = grid.reshape(1, -1, 2) @ freqs.transpose(1, 2) + phases[:, None]  # [N, size * size, C]
        x = torch.sin(x * (2 * math.pi)) * amplitudes[:, None]
        x = x @ (self.weight.to(placement.dtype).t() / self.channels**0.5)
        return x.view(-1, self.size, self.size, self.channels).permute(0, 3, 1, 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerGeometry:
    """Sizes, rates and bands of one layer; rates and frequencies in units of 1 / image width."""

    name: str
    in_channels: int
    out_channels: int
    in_size: int
    out_size: int
    in_sampling_rate: float
    out_sampling_rate: float
    in_cutoff: float
    out_cutoff: float
    in_half_width: float
    out_half_width: float
    is_torgb: bool
    is_critically_sampled: bool
    use_fp16: bool


class SynthesisLayer(nn.Module):
    """Modulated convolution and filtered non-linearity (figure 4b)."""

    up_filter: Tensor | None
    down_filter: Tensor | None
    magnitude_ema: Tensor

    def __init__(
        self,
        geometry: LayerGeometry,
        *,
        w_dim: int,
        conv_kernel: int,
        filter_size: int,
        lrelu_upsampling: int,
        use_radial_filters: bool,
        conv_clamp: float | None,
        magnitude_ema_beta: float,
    ) -> None:
        super().__init__()
        self.geometry = g = geometry
        self.conv_clamp, self.magnitude_ema_beta = conv_clamp, magnitude_ema_beta
        self.coupled_styles = False
        self.conv_kernel = 1 if g.is_torgb else conv_kernel
        tmp_rate = max(g.in_sampling_rate, g.out_sampling_rate) * (1 if g.is_torgb else lrelu_upsampling)
        self.up_factor = int(np.rint(tmp_rate / g.in_sampling_rate))
        self.down_factor = int(np.rint(tmp_rate / g.out_sampling_rate))
        up_taps = filter_size * self.up_factor if self.up_factor > 1 and not g.is_torgb else 1
        down_taps = filter_size * self.down_factor if self.down_factor > 1 and not g.is_torgb else 1
        radial = use_radial_filters and not g.is_critically_sampled
        up = design_lowpass_filter(up_taps, g.in_cutoff, g.in_half_width * 2, tmp_rate)
        down = design_lowpass_filter(down_taps, g.out_cutoff, g.out_half_width * 2, tmp_rate, radial=radial)
        self.affine = FullyConnectedLayer(w_dim, g.in_channels, bias_init=1)
        self.weight = nn.Parameter(torch.randn(g.out_channels, g.in_channels, self.conv_kernel, self.conv_kernel))
        self.bias = nn.Parameter(torch.zeros(g.out_channels))
        self.register_buffer("magnitude_ema", torch.ones([]))
        self.register_buffer("up_filter", up)
        self.register_buffer("down_filter", down)
        # the convolution pads by kernel - 1; the rest of what makes in_size into out_size is cropped or padded here
        total = (g.out_size - 1) * self.down_factor + 1
        total -= (g.in_size + self.conv_kernel - 1) * self.up_factor
        total += up_taps + down_taps - 2
        low = (total + self.up_factor) // 2  # shifts the picture by half a sample of the upsampled grid, or not at all
        self.padding = [low, total - low, low, total - low]
        # rows and columns of the convolution that no later sample reads: padding crops them before they are computed
        self.unread = max(0, min(-(low // self.up_factor), (low - total) // self.up_factor))

    def forward(self, x: Tensor, styles: Tensor, *, update_emas: bool = False) -> Tensor:
        """``x`` [N, I, in_size, in_size] and ``styles`` [N, I] to [N, O, out_size, out_size]."""
        g = self.geometry
        if in_half(g.use_fp16, x):
            x = x.half()
        if update_emas:
            magnitude = x.detach().float().square().mean().to(self.magnitude_ema.dtype)
            self.magnitude_ema.copy_(magnitude.lerp(self.magnitude_ema, self.magnitude_ema_beta))
        input_gain = self.magnitude_ema.to(styles.dtype).rsqrt()
        if g.is_torgb:
            styles = styles * (1 / (g.in_channels * self.conv_kernel**2) ** 0.5)
        x = modulated_conv2d(
            x,
            self.weight,
            styles,
            padding=self.conv_kernel - 1 - self.unread,
            demodulate=not g.is_torgb,
            input_gain=input_gain,
            coupled=self.coupled_styles,
        )
        return filtered_lrelu(
            x,
            self.up_filter,
            self.down_filter,
            self.bias,
            up=self.up_factor,
            down=self.down_factor,
            padding=[p + self.unread * self.up_factor for p in self.padding],
            gain=1 if g.is_torgb else 2**0.5,
            slope=1 if g.is_torgb else 0.2,
            clamp=self.conv_clamp,
        )

"""StyleGAN3, configurations T and R: an alias-free generator.

Source: Karras et al. 2021, "Alias-Free Generative Adversarial Networks". Layer geometry: section 3.2 and appendix C.
Parameter and buffer names follow the published checkpoints, whose state dicts load strictly.
Departures: modulation scales input and output instead of building weights a sample, styles are normalised a sample
unless ``coupled_styles`` is set (see ``modulated_conv2d``), and the user transform may differ from sample to sample.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from editkit.networks.mapping import MappingNetwork
from editkit.networks.stylegan3_layers import LayerGeometry, SynthesisInput, SynthesisLayer

MAX_STEP = 64  # filters have a tap for every sample between two: this bounds them


def layer_table(
    *,
    img_resolution: int,
    img_channels: int,
    channel_base: int,
    channel_max: int,
    num_layers: int,
    num_critical: int,
    first_cutoff: float,
    first_stopband: float,
    last_stopband_rel: float,
    margin_size: int,
    num_fp16_res: int,
) -> list[LayerGeometry]:
    """Geometry of the ``num_layers`` layers and ToRGB: cutoffs and stopbands grow geometrically (appendix C.2).

    Raises ValueError for values that make no network.
    """
    if num_layers <= num_critical or num_critical < 0:
        raise ValueError(f"num_layers must exceed num_critical >= 0, got {num_layers} and {num_critical}")
    if min(img_resolution, channel_base, channel_max, first_cutoff, first_stopband, last_stopband_rel) <= 0:
        raise ValueError("resolution, channels, cutoffs and stopbands must be above 0")
    last_cutoff = img_resolution / 2
    last_stopband = last_cutoff * last_stopband_rel
    exponents = np.minimum(np.arange(num_layers + 1) / (num_layers - num_critical), 1)
    cutoffs = first_cutoff * (last_cutoff / first_cutoff) ** exponents
    stopbands = first_stopband * (last_stopband / first_stopband) ** exponents
    rates = np.exp2(np.ceil(np.log2(np.minimum(stopbands * 2, img_resolution))))
    if (rates[1:] > rates[:-1] * MAX_STEP).any():
        raise ValueError(f"the sampling rate grows by more than {MAX_STEP} in one layer")
    half_widths = np.maximum(stopbands, rates / 2) - cutoffs
    sizes = rates + margin_size * 2
    sizes[-2:] = img_resolution
    channels = np.rint(np.minimum((channel_base / 2) / cutoffs, channel_max))
    channels[-1] = img_channels
    table = []
    for index in range(num_layers + 1):
        before = max(index - 1, 0)
        size, width = int(sizes[index]), int(channels[index])
        table.append(
            LayerGeometry(
                name=f"L{index}_{size}_{width}",
                in_channels=int(channels[before]),
                out_channels=width,
                in_size=int(sizes[before]),
                out_size=size,
                in_sampling_rate=float(rates[before]),
                out_sampling_rate=float(rates[index]),
                in_cutoff=float(cutoffs[before]),
                out_cutoff=float(cutoffs[index]),
                in_half_width=float(half_widths[before]),
                out_half_width=float(half_widths[index]),
                is_torgb=index == num_layers,
                is_critically_sampled=index >= num_layers - num_critical,
                use_fp16=bool(rates[index] * 2**num_fp16_res > img_resolution),
            )
        )
    return table


class SynthesisNetwork(nn.Module):
    """Fourier features through the layers of ``layer_table``."""

    def __init__(
        self,
        table: list[LayerGeometry],
        *,
        w_dim: int,
        output_scale: float,
        conv_kernel: int,
        filter_size: int,
        lrelu_upsampling: int,
        use_radial_filters: bool,
        conv_clamp: float | None,
        magnitude_ema_beta: float,
    ) -> None:
        super().__init__()
        first = table[0]
        self.w_dim, self.num_ws, self.output_scale = w_dim, len(table) + 1, output_scale
        self.input = SynthesisInput(
            w_dim=w_dim,
            channels=first.in_channels,
            size=first.in_size,
            sampling_rate=first.in_sampling_rate,
            bandwidth=first.in_cutoff,
        )
        self.layer_names = [geometry.name for geometry in table]
        for geometry in table:
            layer = SynthesisLayer(
                geometry,
                w_dim=w_dim,
                conv_kernel=conv_kernel,
                filter_size=filter_size,
                lrelu_upsampling=lrelu_upsampling,
                use_radial_filters=use_radial_filters,
                conv_clamp=conv_clamp,
                magnitude_ema_beta=magnitude_ema_beta,
            )
            setattr(self, geometry.name, layer)

    def layers(self) -> list[SynthesisLayer]:
        """The layers in order, ToRGB last."""
        return [getattr(self, name) for name in self.layer_names]

    def feature_rows(self) -> list[int]:
        """For each layer that has features (all but ToRGB), how many rows of ws they depend on."""
        return [index + 2 for index in range(len(self.layer_names) - 1)]

    def couple_styles(self, coupled: bool) -> None:
        """Whether styles are normalised over the whole batch (as published networks were trained) or a sample."""
        for layer in self.layers():
            layer.coupled_styles = coupled

    def style_widths(self) -> dict[str, int]:
        """The names of StyleSpace and their number of channels, in order."""
        return {"input": 4} | {layer.geometry.name: layer.geometry.in_channels for layer in self.layers()}

    def style_rows(self) -> dict[str, int]:
        """The names of StyleSpace, each with the row of ws that drives it."""
        return {name: row for row, name in enumerate(["input", *self.layer_names])}

    def styles(self, ws: Tensor) -> dict[str, Tensor]:
        """``ws`` [N, num_ws, w_dim] to StyleSpace: "input" [N, 4] (placement) and each layer's [N, C]."""
        if ws.ndim != 3 or ws.shape[1:] != (self.num_ws, self.w_dim):
            raise ValueError(f"ws must be [N, {self.num_ws}, {self.w_dim}], got {tuple(ws.shape)}")
        names = ["input", *self.layer_names]
        return {name: getattr(self, name).affine(w) for name, w in zip(names, ws.unbind(1), strict=True)}

    def from_styles(
        self, styles: Mapping[str, Tensor], *, transform: Tensor | None = None, update_emas: bool = False
    ) -> Tensor:
        """StyleSpace codes, as ``styles`` gives them, to images [N, img_channels, R, R].

        ``transform``: see ``SynthesisInput.forward``; one [3, 3] or one a sample [N, 3, 3].
        """
        x = self.input(styles["input"], transform)
        for layer, name in zip(self.layers(), self.layer_names, strict=True):
            x = layer(x, styles[name], update_emas=update_emas)
        return x.to(styles["input"].dtype) * self.output_scale

    def features(self, ws: Tensor, layer: int) -> tuple[Tensor, float]:
        """What ``layer`` (0 for the first) makes of ``ws``: [N, C, S, S], and its sampling rate; later layers rest."""
        styles = self.styles(ws)
        x = self.input(styles["input"])
        for name in self.layer_names[: layer + 1]:
            x = getattr(self, name)(x, styles[name])
        return x, getattr(self, self.layer_names[layer]).geometry.out_sampling_rate

    def forward(self, ws: Tensor, *, transform: Tensor | None = None, update_emas: bool = False) -> Tensor:
        """``ws`` [N, num_ws, w_dim] to images [N, img_channels, R, R]; ``transform`` as in ``from_styles``."""
        return self.from_styles(self.styles(ws), transform=transform, update_emas=update_emas)


class StyleGAN3Generator(nn.Module):
    """Mapping and synthesis; the arguments are those of the published checkpoints.

    Args:
        z_dim, c_dim, w_dim: dimensions of z, of the label (0: unconditional) and of w.
        img_resolution, img_channels: of the output.
        mapping_kwargs: ``num_layers``, ``lr_multiplier``, ``w_avg_beta`` of ``MappingNetwork``, and ``layer_features``,
            which published ones do not have.
        channel_base, channel_max: width; R uses twice the width of T.
        num_layers, num_critical: layers in all, and critically sampled ones at the end.
        first_cutoff, first_stopband, last_stopband_rel: the band of the first layer, and the last stopband relative
            to the last cutoff.
        margin_size: pixels beyond the picture on every side.
        output_scale: factor on the output image.
        num_fp16_res: how many of the highest resolutions run in half precision on a GPU.
        conv_kernel, use_radial_filters: 3 and False for T, 1 and True for R.
        filter_size, lrelu_upsampling: taps per sample, and the oversampling of the non-linearity.
        conv_clamp: limit of the magnitude after the non-linearity, or None.
        magnitude_ema_beta: decay of the running input magnitudes.
    """

    def __init__(
        self,
        *,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        img_resolution: int,
        img_channels: int = 3,
        mapping_kwargs: Mapping[str, Any] | None = None,
        channel_base: int = 32768,
        channel_max: int = 512,
        num_layers: int = 14,
        num_critical: int = 2,
        first_cutoff: float = 2,
        first_stopband: float = 2**2.1,
        last_stopband_rel: float = 2**0.3,
        margin_size: int = 10,
        output_scale: float = 0.25,
        num_fp16_res: int = 4,
        conv_kernel: int = 3,
        filter_size: int = 6,
        lrelu_upsampling: int = 2,
        use_radial_filters: bool = False,
        conv_clamp: float | None = 256,
        magnitude_ema_beta: float = 0.999,
    ) -> None:
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim = z_dim, c_dim, w_dim
        self.img_resolution, self.img_channels = img_resolution, img_channels
        table = layer_table(
            img_resolution=img_resolution,
            img_channels=img_channels,
            channel_base=channel_base,
            channel_max=channel_max,
            num_layers=num_layers,
            num_critical=num_critical,
            first_cutoff=first_cutoff,
            first_stopband=first_stopband,
            last_stopband_rel=last_stopband_rel,
            margin_size=margin_size,
            num_fp16_res=num_fp16_res,
        )
        self.synthesis = SynthesisNetwork(
            table,
            w_dim=w_dim,
            output_scale=output_scale,
            conv_kernel=conv_kernel,
            filter_size=filter_size,
            lrelu_upsampling=lrelu_upsampling,
            use_radial_filters=use_radial_filters,
            conv_clamp=conv_clamp,
            magnitude_ema_beta=magnitude_ema_beta,
        )
        self.num_ws = self.synthesis.num_ws
        self.mapping = MappingNetwork(
            z_dim=z_dim, c_dim=c_dim, w_dim=w_dim, num_ws=self.num_ws, **dict(mapping_kwargs or {})
        )

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        update_emas: bool = False,
    ) -> Tensor:
        """``z`` [N, z_dim] (and labels) to images [N, img_channels, R, R], about in [-1, 1]."""
        ws = self.mapping(
            z, c, truncation_psi=truncation_psi, truncation_cutoff=truncation_cutoff, update_emas=update_emas
        )
        return self.synthesis(ws, update_emas=update_emas)

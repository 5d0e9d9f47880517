"""StyleGAN2, with the constructor of StyleGAN3's code and the older one of StyleGAN2-ADA's.

Source: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN" (architecture: section 4.1 and
figure 7); Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data" (half precision and the
clamp: appendix D.1). Names follow the published checkpoints, whose state dicts load strictly.
Departure: modulation scales input and output instead of building weights a sample, unless ``fused`` is asked for.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from editkit.networks.layers import BINOMIAL
from editkit.networks.mapping import MappingNetwork
from editkit.networks.stylegan2_layers import ARCHITECTURES, NOISE_MODES, SynthesisBlock

_ADA_DEFAULTS: Mapping[str, Any] = {"num_fp16_res": 0, "conv_clamp": None}  # of the older constructor


def block_resolutions(img_resolution: int) -> list[int]:
    """4, 8, ... ``img_resolution``. Raises ValueError unless it is a power of two from 4 up."""
    if img_resolution < 4 or img_resolution & (img_resolution - 1):
        raise ValueError(f"img_resolution must be a power of two from 4 up, got {img_resolution}")
    return [1 << power for power in range(2, img_resolution.bit_length())]


class SynthesisNetwork(nn.Module):
    """Blocks from 4 x 4 up; see ``StyleGAN2Generator`` for the arguments."""

    def __init__(
        self,
        *,
        w_dim: int,
        img_resolution: int,
        img_channels: int,
        channel_base: int = 32768,
        channel_max: int = 512,
        num_fp16_res: int = 4,
        architecture: str = "skip",
        resample_filter: Sequence[float] = BINOMIAL,
        conv_clamp: float | None = 256,
        fp16_channels_last: bool = False,
        fused_modconv_default: bool | str = True,
        use_noise: bool = True,
        activation: str = "lrelu",
    ) -> None:
        super().__init__()
        if architecture not in ARCHITECTURES:
            raise ValueError(f"unknown architecture {architecture!r}; known: {', '.join(ARCHITECTURES)}")
        del fp16_channels_last, fused_modconv_default  # how to compute, not what
        self.w_dim, self.img_resolution = w_dim, img_resolution
        self.block_resolutions = block_resolutions(img_resolution)
        self.num_ws = 2 * len(self.block_resolutions)
        # the layers by name, each with the row of ws that drives it; ToRGB shares a row with the next convolution
        self.rows: dict[str, int] = {}
        row = channels = 0
        for resolution in self.block_resolutions:
            before, channels = channels, min(channel_base // resolution, channel_max)
            block = SynthesisBlock(
                before,
                channels,
                w_dim=w_dim,
                resolution=resolution,
                img_channels=img_channels,
                is_last=resolution == img_resolution,
                architecture=architecture,
                resample_filter=resample_filter,
                conv_clamp=conv_clamp,
                use_fp16=resolution >= max(2 * img_resolution >> num_fp16_res, 8),
                use_noise=use_noise,
                activation=activation,
            )
            setattr(self, f"b{resolution}", block)
            self.rows |= {f"b{resolution}.{name}": row + index for index, name in enumerate(block.layer_names)}
            row += block.num_conv

    @property
    def layer_names(self) -> list[str]:
        """Of the layers that take a style, in order: "b4.conv1", "b4.torgb", "b8.conv0" ..."""
        return list(self.rows)

    def style_widths(self) -> dict[str, int]:
        """The names of StyleSpace and their number of channels, in order."""
        return {name: self.get_submodule(name).in_channels for name in self.rows}  # type: ignore[misc]

    def style_rows(self) -> dict[str, int]:
        """The names of StyleSpace, each with the row of ws that drives it."""
        return dict(self.rows)

    def styles(self, ws: Tensor) -> dict[str, Tensor]:
        """``ws`` [N, num_ws, w_dim] to StyleSpace: [N, C] a layer, ToRGB's included (Wu et al. 2020, section 3)."""
        if ws.ndim != 3 or ws.shape[1:] != (self.num_ws, self.w_dim):
            raise ValueError(f"ws must be [N, {self.num_ws}, {self.w_dim}], got {tuple(ws.shape)}")
        return {name: self.get_submodule(name).affine(ws[:, row]) for name, row in self.rows.items()}  # type: ignore[operator]

    def noise_maps(self) -> dict[str, Tensor]:
        """The stored noise maps [r, r] of the layers that have one, by name."""
        return {
            name: self.get_submodule(name).noise_const  # type: ignore[misc]
            for name in self.rows
            if getattr(self.get_submodule(name), "use_noise", False)
        }

    def from_styles(
        self,
        styles: Mapping[str, Tensor],
        *,
        noise_mode: str = "const",
        fused: bool = False,
        noise: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """StyleSpace codes, as ``styles`` gives them, to images [N, img_channels, R, R].

        Args:
            noise_mode: "const" takes the stored noise maps, "random" draws others for every sample from torch's
                stream, "none" leaves noise out.
            fused: see ``modulated_conv2d_resample``; the same picture up to rounding.
            noise: layer -> [N, r, r], maps instead of the stored ones where the mode is "const".
        """
        if noise_mode not in NOISE_MODES:
            raise ValueError(f"unknown noise_mode {noise_mode!r}; known: {', '.join(NOISE_MODES)}")
        x = image = None
        for resolution in self.block_resolutions:
            prefix = f"b{resolution}."
            own = {name.removeprefix(prefix): s for name, s in styles.items() if name.startswith(prefix)}
            options: dict[str, Any] = {"noise_mode": noise_mode, "fused": fused, "noise": _of_block(noise, prefix)}
            x, image = getattr(self, f"b{resolution}")(x, image, own, **options)
        return image  # type: ignore[return-value]  # the last block always has ToRGB

    def feature_rows(self) -> list[int]:
        """For each block, how many rows of ws its features depend on: ToRGB takes no part."""
        return [2 * index + 1 for index in range(len(self.block_resolutions))]

    def features(self, ws: Tensor, layer: int, *, noise: Mapping[str, Tensor] | None = None) -> tuple[Tensor, float]:
        """What block ``layer`` (0 for the first) makes of ``ws``: [N, C, r, r], and r; ``noise`` as ``from_styles``."""
        styles, x = self.styles(ws), None
        for resolution in self.block_resolutions[: layer + 1]:
            prefix = f"b{resolution}."
            own = {name.removeprefix(prefix): styles[name] for name in self.rows if name.startswith(prefix)}
            own.pop("torgb", None)
            maps = _of_block(noise, prefix)
            x, _ = getattr(self, f"b{resolution}")(x, None, own, noise_mode="const", fused=False, noise=maps)
        return x, float(self.block_resolutions[layer])  # type: ignore[return-value]  # there is a first block

    def forward(
        self,
        ws: Tensor,
        *,
        noise_mode: str = "const",
        fused: bool = False,
        noise: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """``ws`` [N, num_ws, w_dim] to images [N, img_channels, R, R]; options as in ``from_styles``."""
        return self.from_styles(self.styles(ws), noise_mode=noise_mode, fused=fused, noise=noise)


def _of_block(noise: Mapping[str, Tensor] | None, prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): maps for name, maps in (noise or {}).items() if name.startswith(prefix)}


class StyleGAN2Generator(nn.Module):
    """Mapping and synthesis; the arguments are those of the published checkpoints.

    Args:
        z_dim, c_dim, w_dim: dimensions of z, of the label (0: unconditional) and of w.
        img_resolution, img_channels: of the output; the side is a power of two.
        mapping_kwargs: of ``MappingNetwork``; 8 layers by default.
        channel_base, channel_max: a block at resolution r is ``min(channel_base // r, channel_max)`` wide.
        num_fp16_res: how many of the highest resolutions run in half precision on a GPU.
        architecture: "orig", "skip" or "resnet", see ``SynthesisBlock``.
        resample_filter: taps of the low-pass filter, asymmetric ones allowed.
        conv_clamp: limit of the magnitude after activations, or None.
        fp16_channels_last, fused_modconv_default: accepted; how to compute is decided at run time.
        use_noise: False builds a network without noise maps. activation: of ``bias_act``.
        synthesis_kwargs: the older layout: the nine above, as a mapping; no clamp and no half precision by default.
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
        synthesis_kwargs: Mapping[str, Any] | None = None,
        **synthesis_options: Any,
    ) -> None:
        super().__init__()
        if synthesis_kwargs is not None:
            if synthesis_options:
                raise ValueError(f"synthesis_kwargs and {', '.join(synthesis_options)} at once: give one or the other")
            synthesis_options = {**_ADA_DEFAULTS, **synthesis_kwargs}
        self.z_dim, self.c_dim, self.w_dim = z_dim, c_dim, w_dim
        self.img_resolution, self.img_channels = img_resolution, img_channels
        self.synthesis = SynthesisNetwork(
            w_dim=w_dim, img_resolution=img_resolution, img_channels=img_channels, **synthesis_options
        )
        self.num_ws = self.synthesis.num_ws
        options = {"num_layers": 8} | dict(mapping_kwargs or {})
        self.mapping = MappingNetwork(z_dim=z_dim, c_dim=c_dim, w_dim=w_dim, num_ws=self.num_ws, **options)

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        update_emas: bool = False,
        noise_mode: str = "const",
    ) -> Tensor:
        """``z`` [N, z_dim] (and labels) to images [N, img_channels, R, R], about in [-1, 1]."""
        ws = self.mapping(
            z, c, truncation_psi=truncation_psi, truncation_cutoff=truncation_cutoff, update_emas=update_emas
        )
        return self.synthesis(ws, noise_mode=noise_mode)

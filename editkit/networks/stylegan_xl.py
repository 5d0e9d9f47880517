"""StyleGAN-XL: a StyleGAN3 of many classes, grown stage by stage.

Source: Sauer, Schwarz, Geiger 2022, "StyleGAN-XL: Scaling StyleGAN to Large Diverse Datasets": class embedding and
truncation per class: section 3.3 and appendix; progressive growing, where a head replaces the last layers of a trained
stem: section 3.2 and figure 3. The layers are StyleGAN3's. Names follow the published checkpoints.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from editkit.networks.layers import FullyConnectedLayer
from editkit.networks.mapping import normalize_2nd_moment
from editkit.networks.stylegan3 import SynthesisNetwork, layer_table
from editkit.networks.stylegan3_layers import LayerGeometry

_TABLE = (
    "img_resolution",
    "img_channels",
    "channel_base",
    "channel_max",
    "num_layers",
    "num_critical",
    "first_cutoff",
    "first_stopband",
    "last_stopband_rel",
    "margin_size",
    "num_fp16_res",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stem:
    """Arguments of the network that was trained first; those of ``StyleGAN3Generator``, and ``mapping_kwargs``."""

    z_dim: int
    c_dim: int
    w_dim: int
    img_resolution: int
    img_channels: int = 3
    mapping_kwargs: Mapping[str, Any] = field(default_factory=dict)
    channel_base: int = 32768
    channel_max: int = 512
    num_layers: int = 14
    num_critical: int = 2
    first_cutoff: float = 2
    first_stopband: float = 2**2.1
    last_stopband_rel: float = 2**0.3
    margin_size: int = 10
    output_scale: float = 0.25
    num_fp16_res: int = 4
    conv_kernel: int = 3
    filter_size: int = 6
    lrelu_upsampling: int = 2
    use_radial_filters: bool = False
    conv_clamp: float | None = 256
    magnitude_ema_beta: float = 0.999

    def table(self, **changes: Any) -> list[LayerGeometry]:
        """``layer_table`` of these arguments, with ``changes``."""
        return layer_table(**({name: getattr(self, name) for name in _TABLE} | changes))


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """Arguments of a super-resolution stage; ``first_layer`` numbers its first layer, one past the next by default."""

    img_resolution: int
    head_layers: int
    up_factor: int = 2
    first_layer: int | None = None


def stages(arguments: Mapping[str, Any]) -> tuple[Stem, list[Head]]:
    """Constructor arguments, in which each head holds what it stands on as ``stem``, taken apart; lowest head first.

    Raises TypeError for names that are unknown and ValueError for resolutions that do not follow from one another.
    """
    heads: list[Head] = []
    rest = dict(arguments)
    while "stem" in rest:
        below = rest.pop("stem")
        heads.insert(0, Head(**rest))
        rest = dict(below)
    stem, resolution = Stem(**rest), rest["img_resolution"]
    for head in heads:
        if head.up_factor < 2 or head.img_resolution != resolution * head.up_factor:
            raise ValueError(f"a head of {head.img_resolution} on {resolution} is not {head.up_factor} times its size")
        resolution = head.img_resolution
    return stem, heads


def staged_table(stem: Stem, heads: list[Head]) -> list[LayerGeometry]:
    """Geometry of all layers: a head drops ToRGB and the critically sampled layers below it, and starts at the cutoff
    and stopband of the last one kept."""
    table = stem.table()
    for head in heads:
        kept = table[: len(table) - 1 - stem.num_critical]
        if not kept:
            raise ValueError("nothing is left of a stem without its critically sampled layers")
        last = kept[-1]
        grown = stem.table(
            img_resolution=head.img_resolution,
            num_layers=head.head_layers,
            first_cutoff=last.out_cutoff,
            first_stopband=last.out_cutoff + last.out_half_width,
        )
        grown[0] = replace(
            grown[0],
            in_channels=last.out_channels,
            in_size=last.out_size,
            in_sampling_rate=last.out_sampling_rate,
            in_cutoff=last.out_cutoff,
            in_half_width=last.out_half_width,
        )
        start = len(kept) + 1 if head.first_layer is None else head.first_layer
        numbered = [replace(g, name=f"L{start + i}_{g.out_size}_{g.out_channels}") for i, g in enumerate(grown)]
        table = kept + numbered
    return table


class ClassMapping(nn.Module):
    """z and a class to w; a mean of w is kept for every class.

    The embedding of a class comes from a network that recognises classes; its projection is trained (section 3.3).
    """

    w_avg: Tensor

    def __init__(
        self,
        *,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        num_ws: int,
        embed_dim: int,
        num_layers: int = 2,
        lr_multiplier: float = 0.01,
        w_avg_beta: float = 0.998,
        rand_embedding: bool = False,
    ) -> None:
        super().__init__()
        del rand_embedding  # of training: where the embedding came from
        if num_layers < 1 or min(z_dim, c_dim, w_dim, embed_dim) < 1:
            raise ValueError(f"dimensions and layers must be above 0, got {z_dim}, {c_dim}, {w_dim}, {embed_dim}")
        self.z_dim, self.c_dim, self.w_dim, self.num_ws, self.num_layers = z_dim, c_dim, w_dim, num_ws, num_layers
        self.w_avg_beta = w_avg_beta
        self.embed = nn.Embedding(c_dim, embed_dim)
        self.embed_proj = FullyConnectedLayer(embed_dim, z_dim, activation="lrelu")
        for index in range(num_layers):
            inputs = 2 * z_dim if index == 0 else w_dim
            layer = FullyConnectedLayer(inputs, w_dim, activation="lrelu", lr_multiplier=lr_multiplier)
            setattr(self, f"fc{index}", layer)
        self.register_buffer("w_avg", torch.zeros(c_dim, w_dim))

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        update_emas: bool = False,
    ) -> Tensor:
        """``z`` [N, z_dim] and labels ``c`` [N, c_dim] (the largest entry counts) to ``ws`` [N, num_ws, w_dim].

        Args:
            truncation_psi: 1 leaves w as it is, 0 gives the mean of the sample's class.
            truncation_cutoff: number of leading layers to truncate; None truncates all.
            update_emas: moves the means of the batch's classes.
        """
        if z.ndim != 2 or z.shape[1] != self.z_dim:
            raise ValueError(f"z must be [N, {self.z_dim}], got {tuple(z.shape)}")
        if c is None or c.shape != (z.shape[0], self.c_dim):
            got = "none" if c is None else str(tuple(c.shape))
            raise ValueError(f"this network is conditional: labels must be [{z.shape[0]}, {self.c_dim}], got {got}")
        classes = c.argmax(1)
        embedded = self.embed_proj(self.embed(classes).to(z.dtype))
        x = torch.cat([normalize_2nd_moment(z), normalize_2nd_moment(embedded)], dim=1)
        for index in range(self.num_layers):
            x = getattr(self, f"fc{index}")(x)
        if update_emas:
            for index in classes.unique():
                mean = x.detach()[classes == index].mean(0)
                self.w_avg[index] = mean.lerp(self.w_avg[index].to(x.dtype), self.w_avg_beta).to(self.w_avg.dtype)
        ws = x[:, None].repeat(1, self.num_ws, 1)
        if truncation_psi != 1:
            means = self.w_avg[classes, None].to(x.dtype)  # [N, 1, w_dim]
            ws[:, :truncation_cutoff] = means.lerp(ws[:, :truncation_cutoff], truncation_psi)
        return ws


class StyleGANXLGenerator(nn.Module):
    """Mapping and synthesis of a stem, or of a super-resolution network on one.

    Args:
        embed_dim: width of the class embedding. The published arguments leave it out; it is that of the weights.
        arguments: those of ``Stem``, or those of ``Head`` and, as ``stem``, those of the network it stands on.
    """

    def __init__(self, *, embed_dim: int = 320, **arguments: Any) -> None:
        super().__init__()
        stem, heads = stages(arguments)
        self.z_dim, self.c_dim, self.w_dim = stem.z_dim, stem.c_dim, stem.w_dim
        self.img_resolution, self.img_channels = arguments["img_resolution"], stem.img_channels
        self.synthesis = SynthesisNetwork(
            staged_table(stem, heads),
            w_dim=stem.w_dim,
            output_scale=stem.output_scale,
            conv_kernel=stem.conv_kernel,
            filter_size=stem.filter_size,
            lrelu_upsampling=stem.lrelu_upsampling,
            use_radial_filters=stem.use_radial_filters,
            conv_clamp=stem.conv_clamp,
            magnitude_ema_beta=stem.magnitude_ema_beta,
        )
        self.num_ws = self.synthesis.num_ws
        self.mapping = ClassMapping(
            z_dim=stem.z_dim,
            c_dim=stem.c_dim,
            w_dim=stem.w_dim,
            num_ws=self.num_ws,
            embed_dim=embed_dim,
            **dict(stem.mapping_kwargs),
        )

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """``z`` [N, z_dim] and labels [N, c_dim] to images [N, img_channels, R, R], about in [-1, 1]."""
        return self.synthesis(self.mapping(z, c, truncation_psi=truncation_psi, truncation_cutoff=truncation_cutoff))

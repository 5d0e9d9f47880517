"""The recipes: settings of ``TrainConfig`` that cite where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from editkit.errors import UsageError
from train.config import GROUP, RECIPES, TrainConfig
from train.heuristics import average_kimg_for, gamma_for
from train.projected_discriminator import bundled_id, bundled_width

GROWING = "stylegan-xl"  # the recipe of a run in stages, where none is named


@dataclass(frozen=True, kw_only=True, slots=True)
class _Preset:
    kind: str
    generator: dict[str, Any]
    discriminator: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    head_layers: int = 0
    judge: dict[str, Any] = field(default_factory=lambda: {"width": 64, "largest": 512})  # where it sees features


_PRESETS: Mapping[str, _Preset] = {
    # Karras et al. 2021, appendix D: 512 channels, mapping of two layers, G 0.0025, D 0.002.
    # Reached there: FID 2.79 on FFHQ at 1024 px.
    "stylegan3-t": _Preset(kind="stylegan3", generator={"mapping_kwargs": {"num_layers": 2}}),
    # The same, section 3.2: 1x1 convolutions, radial filters, twice the channels, blur early on.
    # Reached there: FID 3.07 on FFHQ at 1024 px.
    "stylegan3-r": _Preset(
        kind="stylegan3",
        generator={
            "mapping_kwargs": {"num_layers": 2},
            "conv_kernel": 1,
            "use_radial_filters": True,
            "channel_base": 65536,
            "channel_max": 1024,
        },
        options={"blur_sigma": 10.0},
    ),
    # Karras et al. 2020, StyleGAN2: skip generator, residual discriminator, path length, style mixing of 0.9.
    # Reached there: FID 2.84 on FFHQ at 1024 px.
    "stylegan2": _Preset(
        kind="stylegan2",
        generator={},
        options={
            "path_length": 2.0,
            "style_mixing": 0.9,
            "average_ramp": 0.05,
            "lr": 0.0025,
            "lr_discriminator": 0.0025,
        },
    ),
    # Sauer et al. 2021, "Projected GANs Converge Faster", section 4: hinge, DiffAugment, no penalties, no path length.
    # The paper prefers FastGAN's generator to the one taken here, StyleGAN2's without style mixing.
    # Reached there, with FastGAN's: FID 3.39 on FFHQ and 1.59 on LSUN church at 256 px.
    "projected": _Preset(
        kind="stylegan2",
        generator={},
        options={"loss": "projected", "average_ramp": 0.05, "lr": 0.002, "lr_discriminator": 0.002},
    ),
    # Sauer et al. 2022, "StyleGAN-XL", section 3.1: StyleGAN3-T with a z of 64, blur of 2 pixels over the first 200,000
    # images and path length after them, no style mixing; 3.2: a stem of 16 pixels, heads of 7 layers; 3.3: embedding.
    # Reached there: FID 2.30 on ImageNet at 256 px.
    "stylegan-xl": _Preset(
        kind="stylegan_xl",
        generator={"z_dim": 64, "mapping_kwargs": {"num_layers": 2}, "num_layers": 10},
        options={
            "loss": "projected",
            "embedding": "features",
            "blur_sigma": 2.0,
            "blur_images": 200_000,
            "path_length": 2.0,
            "path_from": 200_000,
        },
        head_layers=7,
    ),
    # For one small GPU or a patient CPU: a quarter of the channels, ten layers, the loss that needs no tricks.
    "small": _Preset(
        kind="stylegan3",
        generator={
            "z_dim": 256, "w_dim": 256, "mapping_kwargs": {"num_layers": 2},
            "channel_base": 8192, "channel_max": 256, "num_layers": 10, "margin_size": 6,
        },
        discriminator={"channel_base": 8192, "channel_max": 256},
        options={"loss": "relativistic", "penalty_every": 1, "average_ramp": 0.1, "augment": "none"},
        judge={"width": 32, "largest": 256},
    ),
    # A trial on a laptop, in minutes.
    "tiny": _Preset(
        kind="stylegan3",
        generator={
            "z_dim": 64, "w_dim": 64, "mapping_kwargs": {"num_layers": 2}, "num_fp16_res": 0, "conv_clamp": None,
            "channel_base": 1024, "channel_max": 32, "num_layers": 6, "margin_size": 4,
        },
        discriminator={"channel_base": 1024, "channel_max": 32, "num_fp16_res": 0, "conv_clamp": None},
        options={"loss": "relativistic", "penalty_every": 1, "average_ramp": 0.1, "augment": "none", "clip": 10.0,
                 "lr": 0.004, "lr_discriminator": 0.004},
        judge={"width": 16, "largest": 64},
    ),
    # The same for stages.
    "tiny-xl": _Preset(
        kind="stylegan_xl",
        generator={
            "z_dim": 64, "w_dim": 64, "mapping_kwargs": {"num_layers": 2}, "num_fp16_res": 0, "conv_clamp": None,
            "channel_base": 1024, "channel_max": 32, "num_layers": 6, "margin_size": 4,
        },
        options={"loss": "projected", "embedding": "features", "average_ramp": 0.1, "clip": 10.0, "lr": 0.004,
                 "lr_discriminator": 0.004},
        head_layers=5,
        judge={"width": 16, "largest": 64},
    ),
}  # fmt: skip


def preset(
    recipe: str,
    *,
    resolution: int,
    channels: int = 3,
    c_dim: int = 0,
    batch: int = 32,
    **changes: Any,
) -> TrainConfig:
    """The configuration of a recipe for pictures of a size.

    Args:
        recipe: "stylegan3-t", "stylegan3-r", "stylegan2" or "stylegan-xl" as published, "projected"; "small", "tiny"
            and "tiny-xl" for small machines.
        resolution, channels, c_dim: of the data; StyleGAN2 and the discriminator need a power of two.
        batch: of a step; gamma, averages and StyleGAN3's magnitudes follow from it.
        changes: fields of ``TrainConfig`` to set otherwise; ``generator`` and ``discriminator`` are merged in.

    Raises:
        UsageError: no such recipe, or values that do not go together.
    """
    if recipe not in _PRESETS:
        raise UsageError(f"no recipe is called {recipe!r}; there are {', '.join(RECIPES)}")
    if not 16 <= resolution <= 4096 or resolution & (resolution - 1):
        raise UsageError(f"pictures are 16, 32, 64 ... 4096 pixels wide, got {resolution}; give --resolution")
    if batch < 1:
        raise UsageError(f"a batch is at least 1, got {batch}")
    chosen = _PRESETS[recipe]
    options: dict[str, Any] = {
        "gamma": gamma_for(resolution, batch),
        "average_images": 1000 * average_kimg_for(batch),
        "blur_images": batch * 200_000 // 32,
        "micro_batch": batch,
        **chosen.options,
    }
    loss = changes.get("loss", options.get("loss"))
    if loss == "relativistic":
        # Huang et al. 2024 take 1 to 10 at these sizes; the penalties are what makes it converge, so in every step
        options |= {"gamma": max(options["gamma"], 1.0), "penalty_every": 1}
    if "projected" in (loss, chosen.options.get("loss")):  # projected discriminators, under any loss
        options |= {"judge": "features", "augment": "diff", "penalty_every": 1, "features": (bundled_id(),)}
    if options.get("embedding") == "features" and c_dim < 2:
        options["embedding"] = "random"  # one class has nothing to tell apart
    if loss == "projected":
        options["gamma"] = 0.0
    made = options | changes
    shape = {"img_resolution": resolution, "img_channels": channels, "c_dim": c_dim}
    generator, discriminator = _networks(chosen, made, shape)
    if chosen.kind in ("stylegan3", "stylegan_xl"):
        generator["magnitude_ema_beta"] = 0.5 ** (batch / 20_000)  # Karras et al. 2021, appendix D
    return TrainConfig(
        recipe=recipe,
        kind=chosen.kind,
        batch=batch,
        **made
        | {
            "generator": generator | dict(changes.get("generator", {})),
            "discriminator": discriminator | dict(changes.get("discriminator", {})),
        },
    )


def kind_of(recipe: str) -> str:
    """The kind of generator that a recipe makes."""
    return _PRESETS[recipe].kind


def head_layers_of(recipe: str) -> int:
    """Layers of a head on a stem of this recipe. Raises UsageError where it does not grow."""
    if not _PRESETS[recipe].head_layers:
        growing = [name for name, each in _PRESETS.items() if each.head_layers]
        raise UsageError(f"{recipe} does not grow in stages; {' and '.join(growing)} do")
    return _PRESETS[recipe].head_layers


def _networks(
    chosen: _Preset, options: Mapping[str, Any], shape: Mapping[str, int]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Constructor arguments of the generator and of the discriminator."""
    generator = {"z_dim": 512, "w_dim": 512} | chosen.generator | dict(shape)
    if options.get("judge") == "features":
        discriminator: dict[str, Any] = dict(shape) | chosen.judge
    else:
        discriminator = {"architecture": "resnet"} | chosen.discriminator | dict(shape)
        discriminator["epilogue_kwargs"] = {"mbstd_group_size": GROUP}
    if chosen.kind == "stylegan_xl":
        generator["c_dim"] = max(shape["c_dim"], 1)
        if options["embedding"] == "features":
            generator["embed_dim"] = discriminator["embed_dim"] = bundled_width()
    if options.get("precision") == "float32":
        generator["num_fp16_res"] = 0
        if options.get("judge") != "features":
            discriminator["num_fp16_res"] = 0
    return generator, discriminator

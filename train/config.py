"""What a training run is made of: one frozen record, and presets that cite where their numbers come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from editkit.errors import UsageError
from train.augment import PRESETS
from train.heuristics import average_kimg_for, gamma_for

RECIPES = ("stylegan3-t", "stylegan3-r", "stylegan2", "small", "tiny")
LOSSES = ("non-saturating", "relativistic")
AUGMENTS = ("ada", "fixed", "none")
PRECISIONS = ("auto", "float32")
GROUP = 4  # samples whose spread the discriminator sees together (minibatch standard deviation)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Everything that a run's result depends on, besides the pictures. Made by ``preset``.

    Attributes:
        recipe: the preset it began from.
        kind, generator, discriminator: constructor arguments of the networks (``editkit.networks``).
        data: hash of the data set (``ImageDataset.data_hash``); empty where it does not matter.
        batch: images of a step, over all ranks; micro_batch: of them at a time on one device, to save memory.
        loss: "non-saturating" with R1, or "relativistic" with R1 and R2 (Huang et al. 2024).
        gamma: weight of the gradient penalties; penalty_every: steps between them.
        path_length: weight of the path length penalty, 0 for none; path_every: steps between them.
        style_mixing: share of samples whose later rows come from another z.
        blur_sigma, blur_images: of what the discriminator sees, early on (``train.fading``).
        lr, lr_discriminator: Adam's; betas of both.
        average_images: half-life of the averaged generator; average_ramp: at most this share of the images so far, or
            None.
        augment: "ada", "fixed" or "none"; augment_preset: what happens (``train.augment.preset``); strength: where it
            starts, or stays; target, speed_kimg: of the adaptive controller.
        clip: of the gradients' norm, or None.
        precision: "auto" lets the networks use half precision on a GPU, "float32" does not.
        seed: of weights, data order and all noise.
    """

    recipe: str
    kind: str
    generator: dict[str, Any]
    discriminator: dict[str, Any]
    data: str = ""
    batch: int = 32
    micro_batch: int = 32
    loss: Literal["non-saturating", "relativistic"] = "non-saturating"
    gamma: float = 1.0
    penalty_every: int = 16
    path_length: float = 0.0
    path_every: int = 4
    style_mixing: float = 0.0
    blur_sigma: float = 0.0
    blur_images: int = 200_000
    lr: float = 0.0025
    lr_discriminator: float = 0.002
    betas: tuple[float, float] = (0.0, 0.99)
    average_images: float = 10_000.0
    average_ramp: float | None = None
    augment: Literal["ada", "fixed", "none"] = "ada"
    augment_preset: str = "bgc"
    strength: float = 0.0
    target: float = 0.6
    speed_kimg: float = 500.0
    clip: float | None = None
    precision: Literal["auto", "float32"] = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("loss", LOSSES), ("augment", AUGMENTS), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise UsageError(f"{name} is one of {', '.join(known)}, got {getattr(self, name)!r}")
        if self.augment_preset not in PRESETS:
            raise UsageError(f"no augmentation is called {self.augment_preset!r}; there are {', '.join(PRESETS)}")
        object.__setattr__(self, "betas", tuple(self.betas))
        if self.batch < 1 or self.micro_batch < 1 or self.batch % self.micro_batch:
            raise UsageError(f"a batch is a multiple of the micro-batch, got {self.batch} and {self.micro_batch}")
        if self.micro_batch % GROUP and self.micro_batch < self.batch:
            raise UsageError(f"a micro-batch is a multiple of {GROUP}, or the whole batch, got {self.micro_batch}")
        if min(self.penalty_every, self.path_every) < 1 or self.gamma < 0 or self.lr <= 0 or self.lr_discriminator <= 0:
            raise UsageError("intervals are at least 1, gamma at least 0 and learning rates above 0")
        if not 0 <= self.strength <= 1:
            raise UsageError(f"the strength of augmentation is 0 to 1, got {self.strength}")

    @property
    def resolution(self) -> int:
        """Side of the pictures."""
        return int(self.generator["img_resolution"])

    def to_json(self) -> dict[str, Any]:
        """JSON values; ``from_json`` is the inverse."""
        return asdict(self) | {"betas": list(self.betas)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TrainConfig:
        """Raises UsageError where a field is unknown or missing."""
        try:
            return cls(**values)
        except TypeError as error:
            raise UsageError(f"this training configuration does not fit this version: {error}") from error

    def differences(self, other: TrainConfig) -> list[str]:
        """The fields in which two configurations differ, each with both values."""
        names = [each.name for each in fields(self) if getattr(self, each.name) != getattr(other, each.name)]
        return [f"{name}: {getattr(self, name)!r} and now {getattr(other, name)!r}" for name in names]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Preset:
    kind: str
    generator: dict[str, Any]
    discriminator: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


_PRESETS: Mapping[str, _Preset] = {
    # Karras et al. 2021, appendix D: 512 channels, mapping of two layers, G 0.0025, D 0.002.
    "stylegan3-t": _Preset(kind="stylegan3", generator={"mapping_kwargs": {"num_layers": 2}}),
    # The same, section 3.2: 1x1 convolutions, radial filters, twice the channels, blur early on.
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
    # For one small GPU or a patient CPU: a quarter of the channels, ten layers, the loss that needs no tricks.
    "small": _Preset(
        kind="stylegan3",
        generator={
            "z_dim": 256, "w_dim": 256, "mapping_kwargs": {"num_layers": 2},
            "channel_base": 8192, "channel_max": 256, "num_layers": 10, "margin_size": 6,
        },
        discriminator={"channel_base": 8192, "channel_max": 256},
        options={"loss": "relativistic", "penalty_every": 1, "average_ramp": 0.1, "augment": "none"},
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
        recipe: "stylegan3-t", "stylegan3-r" or "stylegan2" as published; "small" and "tiny" for small machines.
        resolution, channels, c_dim: of the data; StyleGAN2 and the discriminator need a power of two.
        batch: of a step; gamma, averages and StyleGAN3's magnitudes follow from it.
        changes: fields of ``TrainConfig`` to set otherwise; ``generator`` and ``discriminator`` are merged in.

    Raises:
        UsageError: no such recipe, or values that do not go together.
    """
    if recipe not in _PRESETS:
        raise UsageError(f"no recipe is called {recipe!r}; there are {', '.join(RECIPES)}")
    if resolution < 8 or resolution & (resolution - 1):
        raise UsageError(f"pictures are 8, 16, 32 ... pixels wide, got {resolution}; give --resolution")
    if batch < 1:
        raise UsageError(f"a batch is at least 1, got {batch}")
    chosen = _PRESETS[recipe]
    shape = {"img_resolution": resolution, "img_channels": channels, "c_dim": c_dim}
    generator = {"z_dim": 512, "w_dim": 512} | chosen.generator | shape
    if chosen.kind == "stylegan3":
        generator["magnitude_ema_beta"] = 0.5 ** (batch / 20_000)  # Karras et al. 2021, appendix D
    discriminator = {"architecture": "resnet"} | chosen.discriminator | shape
    discriminator["epilogue_kwargs"] = {"mbstd_group_size": GROUP}
    options: dict[str, Any] = {
        "gamma": gamma_for(resolution, batch),
        "average_images": 1000 * average_kimg_for(batch),
        "blur_images": batch * 200_000 // 32,
        "micro_batch": batch,
        **chosen.options,
    }
    if options.get("loss") == "relativistic" or changes.get("loss") == "relativistic":
        options["gamma"] = max(options["gamma"], 1.0)  # Huang et al. 2024 take 1 to 10 at these sizes
    if changes.get("precision") == "float32":
        generator["num_fp16_res"] = discriminator["num_fp16_res"] = 0
    made = TrainConfig(
        recipe=recipe,
        kind=chosen.kind,
        generator=generator | dict(changes.pop("generator", {})),
        discriminator=discriminator | dict(changes.pop("discriminator", {})),
        batch=batch,
        **{name: value for name, value in options.items() if name not in changes},
        **changes,
    )
    return replace(made)

"""Settings of the starter recipe, in three sizes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from editkit.errors import CheckpointError, UsageError


def _generator_arguments(*, channel_base: int, channel_max: int, num_layers: int, batch: int) -> dict[str, Any]:
    """64 px, few layers, a wider first band than usual."""
    return {
        "z_dim": 64,
        "c_dim": 0,
        "w_dim": 256,
        "img_resolution": 64,
        "img_channels": 3,
        "channel_base": channel_base,
        "channel_max": channel_max,
        "num_layers": num_layers,
        "first_cutoff": 3.0,
        "first_stopband": 6.5,
        "margin_size": 4,
        "conv_clamp": None,
        "num_fp16_res": 0,  # half precision would need the clamp
        "magnitude_ema_beta": 0.5 ** (batch / 20_000),
        "mapping_kwargs": {"num_layers": 2, "lr_multiplier": 1.0, "w_avg_beta": 0.998},
    }


def _compact() -> dict[str, Any]:
    """1.7 GFLOP an image, 0.75 million parameters."""
    return _generator_arguments(channel_base=2048, channel_max=128, num_layers=6, batch=16)


@dataclass(frozen=True, kw_only=True, slots=True)
class StarterConfig:
    """Settings of the recipe. The bundled starter began with the defaults; its file's header has what it ended with."""

    generator: dict[str, Any] = field(default_factory=_compact)
    encoder_width: int = 64
    discriminator_width: int = 32  # channels of the finest mixed map
    discriminator_max: int = 256
    batch: int = 16
    reconstruction_images: int = 12_000  # images seen before a part of every batch are samples of the prior
    sample_share: float = 0.5  # of a batch, that part
    settle_images: int = 60_000  # after which the encoder rests, and samples follow a flow to its codes, for good
    anneal_images: float = 25_000.0  # after which learning rates fall, as its share of the images seen
    lr: float = 2e-3  # Adam, synthesis
    lr_encoder: float = 1e-3
    lr_discriminator: float = 1e-3
    clip: float = 5.0  # gradient norm, of synthesis and of encoder
    pixel_weight: float = 1.0
    feature_weight: float = 1.0
    adversarial_weight: float = 0.2
    ramp_images: int = 4_000  # over which the game comes in
    code_weight: float = 1e-3  # of the codes' mean square
    code_noise: float = 0.1  # standard deviation, in units of the codes
    prior_images: float = 4_000.0  # that the codes' distribution is taken over, about; the last ones count most
    shift: int = 8  # pixels; what the discriminator sees is moved by up to so many
    close: int = 0  # pixels; side of a square seen from close by too (losses: means over both looks); 0: none
    ema_images: float = 2_000.0  # half-life of the averaged networks
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.anneal_images > 0:
            raise UsageError(f"anneal_images is above 0, got {self.anneal_images}")
        side = self.generator["img_resolution"]
        if self.close and not 8 <= self.close < side:
            raise UsageError(f"close is 0, for no such look, or from 8 up to below {side} pixels, got {self.close}")
        if not 0 < self.sample_share < 1 or not 1 <= self.samples <= self.batch - 2:
            raise UsageError(
                f"of a batch one or more are samples, and two or more photographs whose codes have a covariance; got a "
                f"batch of {self.batch} and a sample_share of {self.sample_share}"
            )

    @property
    def samples(self) -> int:
        """Of a batch, once there are some."""
        return int(self.batch * self.sample_share)


def medium_config() -> StarterConfig:
    """For a CPU: 8 GFLOP an image, 1.9 million parameters; what a compact run grows into."""
    generator = _generator_arguments(channel_base=6144, channel_max=192, num_layers=6, batch=16)
    return StarterConfig(generator=generator)


def wide_config() -> StarterConfig:
    """For a GPU: 10.6 GFLOP an image, 3.3 million parameters, and a batch that fills one."""
    return StarterConfig(
        generator=_generator_arguments(channel_base=4096, channel_max=256, num_layers=8, batch=32),
        discriminator_width=64,
        discriminator_max=512,
        batch=32,
        reconstruction_images=60_000,
        settle_images=300_000,
        ramp_images=16_000,
        anneal_images=125_000.0,
        ema_images=10_000.0,
    )


SIZES = {"compact": StarterConfig, "medium": medium_config, "wide": wide_config}


def config_of(state: dict[str, Any] | None, *, size: str | None = None) -> StarterConfig:
    """The settings that a state was trained with; those of ``size`` (compact) where there is none.

    Raises CheckpointError for a state of an earlier recipe.
    """
    if state is None:
        return SIZES[size or "compact"]()
    unknown = sorted(set(state["config"]) - {f.name for f in fields(StarterConfig)})
    if "average_encoder" not in state or "centre" not in state["prior_input"] or unknown:
        lacks = "centre" if "average_encoder" in state else "learn"
        what = f"has the settings {', '.join(unknown)}" if unknown else f"did not {lacks} its codes"
        raise CheckpointError(f"the state is of an earlier recipe, which {what}; begin anew")
    return StarterConfig(**state["config"])


def changed(config: StarterConfig, settings: Sequence[str]) -> StarterConfig:
    """``config`` with numbers changed: "lr=0.001". Raises UsageError for another name or value."""
    numbers = {f.name: f.type for f in fields(config) if f.name != "generator"}
    values: dict[str, Any] = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in numbers:
            raise UsageError(f"No setting {name!r} of the recipe; there are {', '.join(sorted(numbers))}.")
        try:
            values[name] = int(text) if numbers[name] is int else float(text)
        except ValueError:
            raise UsageError(f"{setting!r}: {name} is {'a whole' if numbers[name] is int else 'a'} number.") from None
    return replace(config, **values)

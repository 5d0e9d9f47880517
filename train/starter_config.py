"""Settings of the starter recipe, in two sizes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from editkit.errors import UsageError


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
    """Settings of the recipe; the defaults are those of the bundled starter."""

    generator: dict[str, Any] = field(default_factory=_compact)
    discriminator_base: int = 2048  # channel_base of the discriminator
    discriminator_max: int = 128  # channel_max of the discriminator
    batch: int = 8
    reconstruction_images: int = 12_000  # images seen before the game starts
    lr: float = 4e-3  # Adam, generator
    lr_adversarial: float = 2e-3  # the same, once the game has started
    lr_discriminator: float = 3e-4
    clip: float = 5.0  # gradient norm, generator
    clip_discriminator: float = 1.0
    code_noise: float = 0.1  # standard deviation, on codes of unit variance
    gamma: float = 1.0  # weight of R1 and R2
    penalty_every: int = 2  # steps
    warm_up_images: int = 1_000  # the discriminator alone, before its gradients reach the generator
    ramp_images: int = 2_000  # over which they then come in
    adversarial_weight: float = 0.1
    matching_weight: float = 0.3
    ema_images: float = 2_000.0  # half-life of the averaged generator
    roll_back_above: float = 5.0  # penalty at which the last good state returns
    seed: int = 0


def wide_config() -> StarterConfig:
    """For a GPU: 10.6 GFLOP an image, 3.3 million parameters, and a batch that fills one."""
    return StarterConfig(
        generator=_generator_arguments(channel_base=4096, channel_max=256, num_layers=8, batch=32),
        discriminator_base=4096,
        discriminator_max=256,
        batch=32,
        reconstruction_images=60_000,
        warm_up_images=4_000,
        ramp_images=20_000,
        ema_images=10_000.0,
    )


SIZES = {"compact": StarterConfig, "wide": wide_config}


def config_of(state: dict[str, Any] | None, *, size: str = "compact") -> StarterConfig:
    """The settings that a state was trained with; those of ``size`` where there is none."""
    return SIZES[size]() if state is None else StarterConfig(**state["config"])


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

"""The discriminator of a configuration, and the game that it and the generator play."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from editkit.errors import UsageError
from editkit.networks import build_network
from train.augment import Augment, preset
from train.config import TrainConfig
from train.diff_augment import diff_augment
from train.fading import BlurFade
from train.guidance import Guidance
from train.losses import Game, NonSaturating, Relativistic
from train.path_length import PathLength
from train.projected_discriminator import Backbone, FaceBackbone, ProjectedDiscriminator
from train.projected_game import Projected
from train.streams import Source

_PENALISED: Mapping[str, type[Game]] = {"non-saturating": NonSaturating, "relativistic": Relativistic}


def build_discriminator(config: TrainConfig, backbones: Sequence[Backbone] | None = None) -> nn.Module:
    """A fresh one. Raises UsageError where ``backbones`` are not those of ``config.features``."""
    if config.judge == "pixels":
        return build_network("discriminator", config.discriminator)
    found = [FaceBackbone()] if backbones is None else list(backbones)
    ids = tuple(each.id for each in found)
    if ids != config.features:
        raise UsageError(
            f"this training sees through {', '.join(config.features) or 'no network'}, got {', '.join(ids)}; give the "
            "same with --features"
        )
    return ProjectedDiscriminator(**config.discriminator, backbones=found)


def build_game(
    config: TrainConfig,
    generator: Any,
    discriminator: nn.Module,
    *,
    strength: Callable[[], float],
    path_length: PathLength | None,
    classifier: nn.Module | None,
) -> Game:
    """The game of ``config.loss``. ``strength``: what that of adaptive augmentation is now.

    Raises UsageError where a classifier is wanted and not given, or the other way round.
    """
    c = config
    if (classifier is None) != (not c.guidance):
        raise UsageError(f"guidance is {c.guidance or 'off'}, and a classifier is {'not ' * (not classifier)}given")
    options: dict[str, Any] = {
        "augment": _augment(c, strength),
        "style_mixing": c.style_mixing,
        "path_length": path_length,
        "blur": BlurFade(sigma=c.blur_sigma, images=c.blur_images) if c.blur_sigma else None,
        "synthesis_options": {"noise_mode": "random"} if c.kind == "stylegan2" else None,
    }
    if c.loss == "projected":
        guidance = None if classifier is None else Guidance(classifier, weight=c.guidance_weight)
        return Projected(generator, discriminator, guidance=guidance, **options)
    return _PENALISED[c.loss](generator, discriminator, gamma=c.gamma, **options)


def _augment(config: TrainConfig, strength: Callable[[], float]) -> Callable[[Tensor, Source], Tensor] | None:
    if config.augment == "none":
        return None
    if config.augment == "diff":
        return diff_augment
    pipeline = Augment(preset(config.augment_preset))

    def augment(images: Tensor, source: Source) -> Tensor:
        return pipeline(images, strength=strength(), source=source)

    return augment

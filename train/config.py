"""What a training run is made of: one frozen record. ``train.presets`` makes it for a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from editkit.errors import UsageError
from train.augment import PRESETS

RECIPES = ("stylegan3-t", "stylegan3-r", "stylegan2", "projected", "stylegan-xl", "small", "tiny", "tiny-xl")
LOSSES = ("non-saturating", "relativistic", "projected")
AUGMENTS = ("ada", "fixed", "diff", "none")
JUDGES = ("pixels", "features")
EMBEDDINGS = ("features", "random")
PRECISIONS = ("auto", "float32")
GROUP = 4  # samples whose spread the discriminator sees together (minibatch standard deviation)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Everything that a run's result depends on, besides the pictures. Made by ``presets.preset``.

    Attributes:
        recipe: the preset it began from.
        kind, generator, discriminator: constructor arguments of the networks (``editkit.networks``).
        data: hash of the data set (``ImageDataset.data_hash``); empty where it does not matter.
        batch: images of a step, over all ranks; micro_batch: of them at a time on one device, to save memory.
        loss: "non-saturating" with R1, "relativistic" with R1 and R2 (Huang et al. 2024), or "projected": the hinge
            loss without penalties (Sauer et al. 2021).
        judge: what the discriminator sees: "pixels", or "features" of the frozen networks ``features``, their ids
            (``train.feature_backbones``).
        gamma: weight of the gradient penalties; penalty_every: steps between them.
        path_length: weight of the path length penalty, 0 for none; path_every: steps between them; path_from: images
            before the first.
        style_mixing: share of samples whose later rows come from another z.
        blur_sigma, blur_images: of what the discriminator sees, early on (``train.fading``).
        lr, lr_discriminator: Adam's; betas of both.
        average_images: half-life of the averaged generator; average_ramp: at most this share of the images so far, or
            None.
        augment: "ada", "fixed", "diff" (``train.diff_augment``) or "none"; augment_preset: what happens
            (``train.augment.preset``); strength: where it starts, or stays; target, speed_kimg: of the adaptive
            controller.
        embedding: where StyleGAN-XL's class embedding begins: "features" of each class's pictures, or "random".
        guidance: id of the classifier that guides the generator, or empty; guidance_weight: of its loss.
        head_layers: of a grown StyleGAN-XL, the layers that learn; 0: all do. begun: id of the weights it begins from.
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
    loss: Literal["non-saturating", "relativistic", "projected"] = "non-saturating"
    judge: Literal["pixels", "features"] = "pixels"
    features: tuple[str, ...] = ()
    gamma: float = 1.0
    penalty_every: int = 16
    path_length: float = 0.0
    path_every: int = 4
    path_from: int = 0
    style_mixing: float = 0.0
    blur_sigma: float = 0.0
    blur_images: int = 200_000
    lr: float = 0.0025
    lr_discriminator: float = 0.002
    betas: tuple[float, float] = (0.0, 0.99)
    average_images: float = 10_000.0
    average_ramp: float | None = None
    augment: Literal["ada", "fixed", "diff", "none"] = "ada"
    augment_preset: str = "bgc"
    strength: float = 0.0
    target: float = 0.6
    speed_kimg: float = 500.0
    clip: float | None = None
    embedding: Literal["features", "random"] = "random"
    guidance: str = ""
    guidance_weight: float = 0.0
    head_layers: int = 0
    begun: str = ""
    precision: Literal["auto", "float32"] = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        known_values = {"loss": LOSSES, "augment": AUGMENTS, "precision": PRECISIONS, "judge": JUDGES}
        for name, known in (known_values | {"embedding": EMBEDDINGS}).items():
            if getattr(self, name) not in known:
                raise UsageError(f"{name} is one of {', '.join(known)}, got {getattr(self, name)!r}")
        if self.augment_preset not in PRESETS:
            raise UsageError(f"no augmentation is called {self.augment_preset!r}; there are {', '.join(PRESETS)}")
        object.__setattr__(self, "betas", tuple(self.betas))
        object.__setattr__(self, "features", tuple(self.features))
        if self.batch < 1 or self.micro_batch < 1 or self.batch % self.micro_batch:
            raise UsageError(f"a batch is a multiple of the micro-batch, got {self.batch} and {self.micro_batch}")
        if self.micro_batch % GROUP and self.micro_batch < self.batch:
            raise UsageError(f"a micro-batch is a multiple of {GROUP}, or the whole batch, got {self.micro_batch}")
        if self.judge == "pixels" and self.micro_batch > GROUP and self.micro_batch % GROUP:
            raise UsageError(
                f"the discriminator compares {GROUP} samples with each other: a batch above that is a multiple of it, "
                f"got {self.micro_batch}"
            )
        if min(self.penalty_every, self.path_every) < 1 or self.gamma < 0 or self.lr <= 0 or self.lr_discriminator <= 0:
            raise UsageError("intervals are at least 1, gamma at least 0 and learning rates above 0")
        if not 0 <= self.strength <= 1:
            raise UsageError(f"the strength of augmentation is 0 to 1, got {self.strength}")
        if self.strength and self.augment not in ("ada", "fixed"):
            raise UsageError(
                f"a strength is of augmentation ada or fixed, which is {self.augment} here; give --augment"
            )
        if self.loss == "projected" and (self.judge != "features" or self.gamma or self.penalty_every != 1):
            raise UsageError("the projected loss judges features and has no gradient penalty; leave gamma out")
        if self.embedding == "features" and (self.kind != "stylegan_xl" or self.judge != "features"):
            raise UsageError("a class embedding from features is of StyleGAN-XL with a projected discriminator")
        if self.guidance and self.loss != "projected":
            raise UsageError("a classifier guides the projected loss; leave it out, or the loss")
        if not 0 <= self.guidance_weight < float("inf") or self.path_from < 0 or self.head_layers < 0:
            raise UsageError("the classifier's weight, the first image with path lengths and head layers are from 0")

    @property
    def resolution(self) -> int:
        """Side of the pictures."""
        return int(self.generator["img_resolution"])

    @property
    def z_dim(self) -> int:
        """Length of z."""
        return int(self._first["z_dim"])

    @property
    def c_dim(self) -> int:
        """Classes that the generator knows; StyleGAN-XL has one where the data have no labels."""
        return int(self._first["c_dim"])

    @property
    def _first(self) -> Mapping[str, Any]:
        """The generator's arguments; of a grown one those of its lowest stem."""
        arguments: Mapping[str, Any] = self.generator
        while "stem" in arguments:
            arguments = arguments["stem"]
        return arguments

    def to_json(self) -> dict[str, Any]:
        """JSON values; ``from_json`` is the inverse."""
        return asdict(self) | {"betas": list(self.betas), "features": list(self.features)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TrainConfig:
        """Raises UsageError where a field is unknown or missing."""
        try:
            return cls(**values)
        except TypeError as error:
            raise UsageError(f"this training configuration does not fit this version: {error}") from error

    def differences(self, other: TrainConfig) -> dict[str, tuple[Any, Any]]:
        """Where two configurations differ, with both values; of nested settings the innermost: "generator.z_dim"."""
        return _differences(self.to_json(), other.to_json(), "")


def _differences(kept: Mapping[str, Any], now: Mapping[str, Any], above: str) -> dict[str, tuple[Any, Any]]:
    found: dict[str, tuple[Any, Any]] = {}
    for name in [*kept, *(name for name in now if name not in kept)]:
        one, other = kept.get(name), now.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            found |= _differences(one, other, f"{above}{name}.")
        elif one != other:
            found[above + name] = (one, other)
    return found

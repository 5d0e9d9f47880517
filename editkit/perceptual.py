"""How different two pictures look: LPIPS where its weights are at hand, else a distance of a network trained here.

Both compare the activations of a convolutional network, as Zhang et al., "The Unreasonable Effectiveness of Deep
Features as a Perceptual Metric" (CVPR 2018), equation 1: at every stage the channel vectors are brought to unit
length, squared differences are averaged over the picture and summed with weights. Numbers of different distances do
not compare: every report names the distance it used. Nothing here downloads anything.

Convention: images are float32 [N, 3, H, W], RGB, in [-1, 1]; a distance is [N], zero for equal pictures, and its
gradient flows to the images (weights are frozen).
"""

from __future__ import annotations

import importlib.resources
import importlib.util
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from editkit.errors import CheckpointError, MissingWeightsError, UsageError
from editkit.lpips_trunk import LPIPS_TRUNKS, load_trunk, lpips_distance, lpips_model, lpips_units, trunk_path
from editkit.networks.features import FeatureNetwork, resize

CALIBRATED_SIDES = (64, 128)
"""Sides in pixels at which the bundled distance is scaled so that an average pair of real faces is 1 apart."""

_EPSILON = 1e-2
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A target whose features are kept, for the many steps of a projection.

    Attributes:
        name: of the distance.
        distance: images [N, 3, H, W] of the target's size -> [N]; a target of one picture serves any N.
    """

    name: str
    distance: Callable[[Tensor], Tensor]


class PerceptualDistance(Protocol):
    """What ``Bundled`` and ``LPIPS`` have in common."""

    @property
    def name(self) -> str:
        """For reports, such as "lpips-alex"."""
        ...

    @property
    def unit(self) -> str:
        """What a distance of 1 means."""
        ...

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """[N, 3, H, W] and [N or 1, 3, H, W] -> [N], differentiable in both."""
        ...

    def prepare(self, target: Tensor) -> Prepared:
        """Compute the target's features once."""
        ...


class Bundled:
    """The distance of the bundled feature network (editkit/models/features.md): no download needed.

    The channels' weights were fitted to order synthetic distortions by strength; an average pair of photos of different
    people is 1 apart, at 64 and at 128 px. Larger pictures are reduced by area to 128 px. It was trained on aligned
    faces: on other pictures it is a statistic of edges and colours and no more.

    Args:
        device: where the network runs; images must be there too.
        weights: another features file; the bundled one by default.
    """

    name = "editkit-faces"
    unit = "the mean distance between two photos of different people, aligned, at the same size"

    def __init__(self, *, device: str | torch.device = "cpu", weights: Path | None = None) -> None:
        self.network = feature_network(device=device, weights=weights)

    @classmethod
    def of(cls, network: FeatureNetwork) -> Bundled:
        """The distance of a network in memory; how training judges one before it is written."""
        made = cls.__new__(cls)
        made.network = network
        return made

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """[N, 3, H, W] and [N or 1, 3, H, W] -> [N]. Raises UsageError where the shapes do not match."""
        _check_pair(first, second.shape)
        return self._distance(self._units(first), self._units(second), first)

    def prepare(self, target: Tensor) -> Prepared:
        """Keep the features of ``target`` [N or 1, 3, H, W]; no gradient flows to it."""
        shape = target.shape
        with torch.no_grad():
            kept = self._units(target)

        def distance(images: Tensor) -> Tensor:
            _check_pair(images, shape)
            return self._distance(self._units(images), kept, images)

        return Prepared(name=self.name, distance=distance)

    def features(self, images: Tensor) -> Tensor:
        """The embedding [N, 256] that ``fd_faces`` compares sets of pictures by."""
        return self.network.embed(images)

    def _units(self, images: Tensor) -> list[Tensor]:
        return unit_vectors(self.network.stages(_reduced(images, CALIBRATED_SIDES[-1])))

    def _distance(self, first: Sequence[Tensor], second: Sequence[Tensor], images: Tensor) -> Tensor:
        low, high = CALIBRATED_SIDES
        small, large = self.network.channel_weights
        side = min(max(min(*images.shape[2:]), low), high)
        weights = torch.lerp(small, large, (side - low) / (high - low))
        return channel_differences(first, second) @ weights


class LPIPS:
    """LPIPS v0.1 with its linear heads (package lpips), on weights that are already on this machine.

    Pictures above 256 px are reduced to it by area, as StyleGAN's projector does (Karras et al. 2020, appendix D).

    Args:
        net: the trunk, "alex" or "vgg".
        device: where the network runs; images must be there too.

    Raises:
        MissingWeightsError: the package or the trunk's weights are not on this machine; the message says what to do.
        CheckpointError: the file of weights is damaged.
    """

    unit = "LPIPS; two different faces are about 0.4 to 0.6 apart"

    def __init__(self, *, net: Literal["alex", "vgg"] = "alex", device: str | torch.device = "cpu") -> None:
        if net not in LPIPS_TRUNKS:
            raise UsageError(f"LPIPS trunks are {', '.join(LPIPS_TRUNKS)}, got {net!r}.")
        path = trunk_path(net)
        if not path.is_file():
            raise MissingWeightsError(
                f"The weights of LPIPS-{net} are not on this machine: put {path.name} (published by torchvision at "
                f"https://download.pytorch.org/models/{path.name}) at {path}, or use the bundled distance."
            )
        self.name = f"lpips-{net}"
        self._model = lpips_model(net).to(device)
        load_trunk(self._model, path)

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """[N, 3, H, W] and [N or 1, 3, H, W] -> [N]. Raises UsageError where the shapes do not match."""
        _check_pair(first, second.shape)
        return lpips_distance(self._model, self._units(first), self._units(second))

    def prepare(self, target: Tensor) -> Prepared:
        """Keep the features of ``target`` [N or 1, 3, H, W]; no gradient flows to it."""
        shape = target.shape
        with torch.no_grad():
            kept = self._units(target)

        def distance(images: Tensor) -> Tensor:
            _check_pair(images, shape)
            return lpips_distance(self._model, self._units(images), kept)

        return Prepared(name=self.name, distance=distance)

    def _units(self, images: Tensor) -> list[Tensor]:
        return lpips_units(self._model, _reduced(images, 256))


def best_available(device: str | torch.device = "cpu") -> PerceptualDistance:
    """LPIPS (alex, else vgg) where its weights are at hand and the package imports, else the bundled distance."""
    for net in LPIPS_TRUNKS:
        if not (trunk_path(net).is_file() and importlib.util.find_spec("lpips")):
            continue
        try:
            return LPIPS(net=net, device=device)  # type: ignore[arg-type]  # a key of LPIPS_TRUNKS
        except (MissingWeightsError, CheckpointError) as error:
            _log.warning("%s The bundled distance is used instead.", error)
    return Bundled(device=device)


def describe(distance: PerceptualDistance | None = None) -> dict[str, object]:
    """For reports and ``editkit doctor``: the distance in use, its unit, and which weights are at hand.

    distance: the one in use; what ``best_available`` would choose when None (by looking for files only).
    """
    at_hand = {f"lpips-{net}": trunk_path(net).is_file() for net in LPIPS_TRUNKS}
    package = importlib.util.find_spec("lpips") is not None
    chosen = next((name for name, found in at_hand.items() if found and package), Bundled.name)
    name = chosen if distance is None else distance.name
    return {
        "name": name,
        "unit": Bundled.unit if name == Bundled.name else LPIPS.unit,
        "lpips_package": package,
        "at_hand": {Bundled.name: bundled_weights().is_file(), **at_hand},
        "weights_folder": str(trunk_path("alex").parent),
    }


def bundled_weights() -> Path:
    """The features file in the package."""
    return Path(str(importlib.resources.files("editkit"))) / "models" / "features.safetensors"


def feature_network(*, device: str | torch.device = "cpu", weights: Path | None = None) -> FeatureNetwork:
    """The feature network with frozen float32 weights, shared by all who ask for the same file and device.

    Raises CheckpointError when the file is missing, damaged, or of another kind.
    """
    return _feature_network(str(torch.device(device)), weights or bundled_weights())


def unit_vectors(stages: Sequence[Tensor]) -> list[Tensor]:
    """Each stage with the channel vector of every pixel brought to length one (nearly: weak ones fade to zero)."""
    return [stage * torch.rsqrt(stage.square().sum(dim=1, keepdim=True) + _EPSILON) for stage in stages]


def channel_differences(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """Mean over pixels of the squared difference of each channel, all stages side by side: [N, channels]."""
    return torch.cat([(a - b).square().mean((2, 3)) for a, b in zip(first, second, strict=True)], 1)


@lru_cache(maxsize=4)
def _feature_network(device: str, weights: Path) -> FeatureNetwork:
    from editkit.checkpoints.native import read_checkpoint

    checkpoint = read_checkpoint(weights)
    if checkpoint.header["kind"] != "features":
        raise CheckpointError(f"{weights} holds {checkpoint.header['kind']!r}, a features file is needed.")
    # The network is kept for later callers, whatever mode the first one is in; and what somebody seeded does not depend
    # on whether it was there already.
    with torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            network = FeatureNetwork(**checkpoint.header["arguments"])
            network.load_state_dict({name: tensor.float() for name, tensor in checkpoint.tensors.items()})
        except (RuntimeError, TypeError, UsageError) as error:
            raise CheckpointError(f"{weights} does not fit the feature network: {error}") from error
        return network.to(device).eval().requires_grad_(False)


def _reduced(images: Tensor, largest: int) -> Tensor:
    if images.ndim != 4:
        raise UsageError(f"A distance needs images [N, 3, H, W], got {tuple(images.shape)}.")
    height, width = images.shape[2:]
    scale = min(1.0, largest / max(height, width, 1))
    return resize(images, (max(1, round(height * scale)), max(1, round(width * scale))))


def _check_pair(images: Tensor, target: torch.Size) -> None:
    same = images.ndim == 4 and len(target) == 4 and images.shape[1:] == target[1:]
    if not same or target[0] not in (1, images.shape[0]):
        raise UsageError(
            f"A distance compares images of the same size, [N, 3, H, W] with [N or 1, 3, H, W]; got "
            f"{tuple(images.shape)} and {tuple(target)}."
        )

"""Weights that editkit uses when they are at hand but never downloads: what they are and where they go.

They lie where torch.hub keeps its files, so that weights fetched by any other program are found.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from editkit.errors import MissingWeightsError


@dataclass(frozen=True, kw_only=True, slots=True)
class OptionalWeights:
    """One file of optional weights."""

    file: str
    """Its name in ``weights_folder()``; torch.hub puts the first digits of the sha256 there."""
    package: str
    """The package that reads it: "lpips" or "face-alignment"."""
    purpose: str
    """What gets better with it."""
    url: str
    """Where its authors offer it."""

    @property
    def path(self) -> Path:
        """Where it lies, or has to be put."""
        return weights_folder() / self.file

    @property
    def at_hand(self) -> bool:
        """Whether a file of that name is there and not empty."""
        return self.path.is_file() and self.path.stat().st_size > 0


def _trunk(file: str, network: str) -> OptionalWeights:
    return OptionalWeights(
        file=file,
        package="lpips",
        purpose=f"LPIPS with the {network} trunk",
        url=f"https://download.pytorch.org/models/{file}",
    )


def _face(file: str, purpose: str) -> OptionalWeights:
    return OptionalWeights(
        file=file,
        package="face-alignment",
        purpose=purpose,
        url=f"https://www.adrianbulat.com/downloads/python-fan/{file}",
    )


LPIPS_TRUNKS: dict[str, OptionalWeights] = {
    "alex": _trunk("alexnet-owt-7be5be79.pth", "AlexNet"),
    "vgg": _trunk("vgg16-397923af.pth", "VGG-16"),
    "squeeze": _trunk("squeezenet1_1-b8a52dc0.pth", "SqueezeNet"),
}
FACE_DETECTOR = _face("s3fd-619a316812.pth", "finding faces")
FACE_LANDMARKS = _face("2DFAN4-11f355bf06.pth.tar", "68 landmarks of a face")
ALL: tuple[OptionalWeights, ...] = (*LPIPS_TRUNKS.values(), FACE_DETECTOR, FACE_LANDMARKS)


def weights_folder() -> Path:
    """``$TORCH_HOME/hub/checkpoints``, found as torch.hub finds it but without importing torch."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", os.path.join(cache, "torch"))
    return Path(home).expanduser() / "hub" / "checkpoints"


def require(*weights: OptionalWeights) -> None:
    """Check that files are at hand before a package that would download them is called.

    Raises:
        MissingWeightsError: one is not; the message names each file, its source and its place.
    """
    missing = [one for one in weights if not one.at_hand]
    if missing:
        wanted = "; ".join(f"{one.file} ({one.purpose}) from {one.url}" for one in missing)
        raise MissingWeightsError(
            f"optional weights are not on this machine: {wanted}. Put them into {weights_folder()}"
        )

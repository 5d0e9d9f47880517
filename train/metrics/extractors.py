"""Networks that turn pictures into features for distances between sets, and the names their distances get.

``FaceFeatures`` is the bundled network: its distances are ``fd_faces``, ``kid_faces`` ..., never FID. ``Inception`` is
torch-fidelity's port of the network that FID is defined on, from a state dict; it is read with torch's restricted
reader, so nothing in it is executed. TorchScript files are programs and are not read.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import torch
from torch import Tensor

from editkit.checkpoints.fetch import Source, checksum, fetch
from editkit.checkpoints.sniff import is_pickle
from editkit.checkpoints.state_dicts import read_state_dict
from editkit.errors import CheckpointError, MissingWeightsError
from editkit.files import user_folder
from editkit.optional_weights import weights_folder
from editkit.perceptual import bundled_weights, feature_network
from train.metrics.pictures import as_bytes

INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
INCEPTION_URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION_FILE}"
_NAMES = {"fd": "fid", "kid": "kid", "pr": "pr", "is": "is"}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Features:
    """``values`` [N, D]; ``logits`` [N, classes] of networks that classify. On the CPU."""

    values: Tensor
    logits: Tensor | None = None


class Extractor(Protocol):
    """What distances ask of a network."""

    @property
    def id(self) -> str:
        """Names the network and its weights: part of the key that features are kept under."""
        ...

    def name(self, metric: str) -> str:
        """What "fd", "kid", "pr" or "is" is called on these features."""
        ...

    def __call__(self, images: Tensor) -> Features:
        """[N, 3, R, R] in [-1, 1] to features."""
        ...


class FaceFeatures:
    """The embedding of the bundled feature network, see editkit/models/features.md."""

    def __init__(self, *, device: str = "cpu") -> None:
        self._network, self._device = feature_network(device=device), device
        self.id = f"faces-{checksum(bundled_weights())[:16]}"

    def name(self, metric: str) -> str:
        """ "fd_faces", "kid_faces", "pr_faces"."""
        return f"{metric}_faces"

    def __call__(self, images: Tensor) -> Features:
        """See ``Extractor``."""
        with torch.no_grad():
            return Features(values=self._network.embed(images.to(self._device)).cpu())


class Inception:
    """Inception-v3 of 2015-12-05, torch-fidelity's port: 2048 features, 1008 logits without bias.

    Raises:
        MissingWeightsError: torch-fidelity is not installed.
        CheckpointError: the file is not a state dict of this network.
    """

    def __init__(self, path: Path, *, device: str = "cpu") -> None:
        weights = read_state_dict(path)
        kind = _inception_class()
        buffer = io.BytesIO()  # the package would unpickle the file without restriction; it gets our own copy
        torch.save(weights, buffer)
        buffer.seek(0)
        try:
            network = kind("inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=buffer)
        except RuntimeError as error:
            raise CheckpointError(
                f"{path} is not the Inception network of torch-fidelity: {str(error)[:300]}"
            ) from error
        self._network, self._device = network.to(device), device
        self.id = f"inception-{checksum(path)[:16]}"

    def name(self, metric: str) -> str:
        """ "fid", "kid", "pr", "is"."""
        return _NAMES[metric]

    def __call__(self, images: Tensor) -> Features:
        """See ``Extractor``."""
        with torch.no_grad():
            values, logits = self._network(as_bytes(images).to(self._device))
        return Features(values=values.float().cpu(), logits=logits.float().cpu())


def load_extractor(source: str | Path | None, *, device: str = "cpu") -> Extractor:
    """Inception from weights of torch-fidelity, a path or an http(s) address.

    source: None takes Inception weights that lie in ``editkit.optional_weights.weights_folder()``.
    Raises MissingWeightsError where there is no file, CheckpointError where it is of another kind.
    """
    path = weights_folder() / INCEPTION_FILE if source is None else fetched(str(source))
    if not path.is_file():
        what = "the Inception network is" if source is None else f"{path} is"
        raise MissingWeightsError(
            f"{what} not on this machine: put {INCEPTION_FILE} from {INCEPTION_URL} into {weights_folder()}, or name a "
            "file or URL with --inception; fd_faces, kid_faces and pr_faces need neither"
        )
    return Inception(path, device=device)


def _is_weights(head: bytes) -> bool:
    return head.startswith(b"PK\x03\x04") or is_pickle(head)  # torch.save writes a zip since 1.6


def fetched(source: str) -> Path:
    """The path itself, or of an http(s) address the file in ``user_folder()`` that it is kept as.

    Raises CheckpointError where it cannot be fetched.
    """
    if not source.startswith(("https://", "http://")):
        return Path(source)
    name = hashlib.sha256(source.encode()).hexdigest()[:8] + "-" + Path(urlsplit(source).path).name
    hint = "Fetch it yourself and give its path"
    return fetch(
        Source(url=source, kind="a file of weights", accepts=_is_weights, hint=hint), user_folder() / "metrics" / name
    )


def _inception_class() -> Any:
    from editkit.torchvision_remedy import import_torchvision

    try:
        import_torchvision()
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except (ImportError, RuntimeError) as error:
        raise MissingWeightsError(
            f"FID needs the package torch-fidelity ({error}): pip install torch-fidelity, or use fd_faces"
        ) from error
    return FeatureExtractorInceptionV3

"""Networks that turn pictures into features for distances between sets, and the names their distances get.

``FaceFeatures`` is the bundled network: its distances are ``fd_faces``, ``kid_faces`` ..., never FID. ``Inception`` is
torch-fidelity's port of the network that FID is defined on, from a state dict; it is read with torch's restricted
reader, so nothing in it is executed. ``Script`` is a TorchScript module: a program, which runs when it is used; take
one from a source you trust. Its distances carry the file's name.
"""

from __future__ import annotations

import hashlib
import io
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from editkit.errors import CheckpointError, MissingWeightsError
from editkit.files import atomic_path, ensure_folder, user_folder
from editkit.optional_weights import weights_folder
from editkit.perceptual import bundled_weights, feature_network
from train.metrics.pictures import as_bytes

INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
INCEPTION_URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION_FILE}"
_NAMES = {"fd": "fid", "kid": "kid", "pr": "pr", "is": "is"}
_CHUNK = 2**20


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
        self.id = f"faces-{_sha256(bundled_weights())[:16]}"

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
        weights = _state_dict(path)
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
        self.id = f"inception-{_sha256(path)[:16]}"

    def name(self, metric: str) -> str:
        """ "fid", "kid", "pr", "is"."""
        return _NAMES[metric]

    def __call__(self, images: Tensor) -> Features:
        """See ``Extractor``."""
        with torch.no_grad():
            values, logits = self._network(as_bytes(images).to(self._device))
        return Features(values=values.float().cpu(), logits=logits.float().cpu())


class Script:
    """A TorchScript module: uint8 [N, 3, R, R] to features [N, D], or to a pair of features and logits [N, classes].

    Raises CheckpointError where the file is none.
    """

    def __init__(self, path: Path, *, device: str = "cpu") -> None:
        try:
            self._module = torch.jit.load(str(path), map_location=device).eval()
        except (RuntimeError, OSError, ValueError) as error:
            raise CheckpointError(f"{path} is not a TorchScript module: {str(error)[:300]}") from error
        self._device, self._path = device, path
        self._stem = re.sub(r"[^0-9A-Za-z.-]+", "-", path.stem)
        self.id = f"script-{_sha256(path)[:16]}"

    def name(self, metric: str) -> str:
        """ "fd_STEM", "kid_STEM" ...; STEM is the file's."""
        return f"{metric}_{self._stem}"

    def __call__(self, images: Tensor) -> Features:
        """See ``Extractor``. Raises CheckpointError where the module gives something else."""
        try:
            with torch.no_grad():
                found: Any = self._module(as_bytes(images).to(self._device))
        except RuntimeError as error:
            raise CheckpointError(f"{self._path} does not take uint8 [N, 3, R, R]: {str(error)[-300:]}") from error
        parts = found if isinstance(found, tuple | list) else (found,)
        if len(parts) not in (1, 2) or any(
            not isinstance(p, Tensor) or p.ndim != 2 or len(p) != len(images) for p in parts
        ):
            raise CheckpointError(f"{self._path} gives no features [N, D], or a pair of features and logits")
        return Features(values=parts[0].float().cpu(), logits=parts[1].float().cpu() if len(parts) == 2 else None)


def load_extractor(source: str | Path | None, *, device: str = "cpu") -> Extractor:
    """A network from a path or URL: ``.pth`` Inception weights of torch-fidelity, anything else TorchScript.

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
    return Inception(path, device=device) if path.suffix == ".pth" else Script(path, device=device)


def fetched(source: str) -> Path:
    """The path itself, or of a URL (https, http, file) the file that it was kept as in ``user_folder()``.

    Raises MissingWeightsError where it cannot be fetched.
    """
    url = urllib.parse.urlparse(source)
    if url.scheme not in ("https", "http", "file"):
        return Path(source)
    name = hashlib.sha256(source.encode()).hexdigest()[:8] + "-" + Path(url.path).name
    target = user_folder() / "metrics" / name
    if target.is_file():
        return target
    ensure_folder(target.parent)
    try:
        with urllib.request.urlopen(source, timeout=60) as answer, atomic_path(target) as temporary:
            with temporary.open("wb") as stream:
                while chunk := answer.read(_CHUNK):
                    stream.write(chunk)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise MissingWeightsError(f"cannot fetch {source} ({error}); fetch it yourself and give its path") from error
    return target


def _state_dict(path: Path) -> dict[str, Tensor]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's restricted reader raises many kinds
        raise CheckpointError(f"{path} is not a file of weights: {str(error).splitlines()[0][:200]}") from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise CheckpointError(f"{path} is not a state dict, a mapping of names to tensors")
    return found


def _inception_class() -> Any:
    from editkit.torchvision_remedy import import_torchvision

    try:
        import_torchvision()
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except (ImportError, RuntimeError) as error:
        raise MissingWeightsError(
            f'FID needs the package torch-fidelity ({error}): pip install "editkit[metrics]", or use fd_faces'
        ) from error
    return FeatureExtractorInceptionV3


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

"""The feed-forward method: a code in a few looks, without any search.

Source: Alaluf et al. 2021, "ReStyle: A Residual-Based StyleGAN Encoder via Iterative Refinement", section 3. It starts
at the encoder's ``start``; every look sees the photo beside the current reconstruction and moves the code. Departure:
the best of the looks is kept, by the loss of the search. The network is in ``projector.encoder_network``.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from editkit.errors import CheckpointError, GeneratorMismatchError, UsageError
from editkit.generator import MODELS
from editkit.labels import Classes
from editkit.latent import Latent
from editkit.perceptual import PerceptualDistance
from projector.curvature import Curvature
from projector.driving import Found, OnStep, means
from projector.encoder_network import EncoderNetwork
from projector.losses import PictureLoss, Weights
from projector.result import Step, Stop
from projector.statistics import sample_statistics

if TYPE_CHECKING:
    from editkit.generator import Generator


@dataclass(frozen=True, kw_only=True, slots=True)
class Encode:
    """Settings of the feed-forward method.

    Attributes:
        iterations: looks at the photo.
        space: "w+", or "w", the mean of the rows.
        encoder: file of ``editkit train encoder``; None takes the bundled one that fits the generator.
    """

    name: ClassVar[str] = "encode"

    iterations: int = 5
    space: Literal["w", "w+"] = "w+"
    encoder: str | None = None

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise UsageError(f"an encoder looks at least once, got iterations={self.iterations}")
        if self.space not in ("w", "w+"):
            raise UsageError(f"an encoder finds codes in w or w+, got {self.space!r}")
        if self.encoder is not None:
            object.__setattr__(self, "encoder", os.fspath(self.encoder))

    def find(
        self,
        G: Generator,
        targets: Tensor,
        *,
        perceptual: PerceptualDistance,
        seed: int = 0,
        classes: Classes | None = None,
        on_step: OnStep | None = None,
    ) -> Found:
        """Codes for ``targets`` [N, 3, R, R]; samples do not interact. ``seed`` changes nothing. As ``search``.

        Raises:
            CheckpointError: no encoder is at hand for ``G``, or its file is damaged.
            GeneratorMismatchError: the file is of another generator.
            UsageError: a class was asked for, which encoders know nothing of.
        """
        self.check(G, classes)
        network, _ = load_encoder(G, self.encoder)
        started = time.monotonic()
        targets = targets.to(G.device)
        statistics, weights = sample_statistics(G), Weights()
        loss = PictureLoss(targets, perceptual, weights)
        codes = network.start.expand(len(targets), -1, -1)

        def latent_of(codes: Tensor) -> Latent:
            rows = codes.mean(1, keepdim=True).expand_as(codes) if self.space == "w" else codes
            ws = statistics.mean + rows @ statistics.axes
            return Latent(space=self.space, codes=ws, generator=G.spec.id, parent=G.spec.parent_id)

        best = torch.full([len(targets)], torch.inf, device=G.device)
        kept, history, stop = codes, [], Stop.ENCODED
        try:
            with torch.no_grad():
                image = G.synthesize(latent_of(codes[:1])).expand_as(targets)
                for index in range(self.iterations):
                    codes = codes + network(targets, image)
                    image = G.synthesize(latent_of(codes))
                    terms = loss(image)
                    shared = codes.mean(1, keepdim=True)
                    terms["prior"] = weights.prior * shared.square().mean([1, 2])
                    if self.space == "w+":
                        terms["spread"] = weights.spread * (codes - shared).square().mean([1, 2])
                    total = torch.stack(list(terms.values())).sum(0)  # [N]
                    better = total < best
                    best = torch.where(better, total, best)
                    kept = torch.where(better[:, None, None], codes, kept)
                    progress = (index + 1) / self.iterations
                    losses = means(terms, total)
                    history.append(Step(index=index, total=self.iterations, losses=losses, progress=progress))
                    if on_step is not None and on_step(history[-1]) is False:
                        stop = Stop.CANCELLED
                        break
        except KeyboardInterrupt:
            stop = Stop.CANCELLED
        latent = latent_of(kept)
        latent = Latent(space=latent.space, codes=latent.tensor.cpu(), generator=latent.generator, parent=latent.parent)
        return Found(latent=latent, history=tuple(history), stop=stop, seconds=time.monotonic() - started)

    def check(self, G: Generator, classes: Classes | None) -> None:
        """Raises UsageError where a class is asked for."""
        if classes is not None:
            raise UsageError("encoders do not take a class; search with --method w+ instead (projector.Optimise)")


def fitting_encoder(G: Generator) -> Path | None:
    """The bundled encoder of ``G``, or of what it is a copy of; None where there is none."""
    from editkit.checkpoints.header import read_header

    ids = {G.spec.id, G.spec.parent_id}
    bundled = sorted(MODELS.glob("encoder*.safetensors"))
    return next((path for path in bundled if _owner(read_header(path)) in ids), None)


def load_encoder(G: Generator, source: str | os.PathLike[str] | None = None) -> tuple[EncoderNetwork, Curvature]:
    """The encoder of ``G`` with frozen float32 weights and the curvature of its W+, shared by all who ask for them.

    source: a file of ``editkit train encoder``; by default the bundled one that fits.

    Raises:
        CheckpointError: none fits, or the file is missing, damaged or of another kind.
        GeneratorMismatchError: the file is of another generator.
    """
    from editkit.checkpoints.header import read_header

    path = fitting_encoder(G) if source is None else Path(source)
    train = f"editkit train encoder --generator {G.spec.name}"
    if path is None:
        raise CheckpointError(
            f"no encoder is at hand for generator {G.spec.name!r} ({G.spec.id[:12]}); train one with `{train}` and "
            "name its file, or search without one (--method w+)"
        )
    header = read_header(path)
    if header["kind"] != "encoder":
        raise CheckpointError(f"{path} holds a {header['kind']!r} network; an encoder file is needed")
    owner = _owner(header)
    if owner not in (G.spec.id, G.spec.parent_id):
        raise GeneratorMismatchError(
            f"{path} is an encoder of generator {str(owner)[:12]}, not of {G.spec.name!r} ({G.spec.id[:12]}); train "
            f"one with `{train}`"
        )
    network, curvature = _load(str(G.device), path, path.stat().st_mtime_ns)
    if (network.num_ws, network.w_dim) != (G.spec.num_ws, G.spec.w_dim):
        raise CheckpointError(
            f"{path} gives codes [{network.num_ws}, {network.w_dim}], {G.spec.name!r} takes "
            f"[{G.spec.num_ws}, {G.spec.w_dim}]; the file is damaged"
        )
    return network, curvature


def _owner(header: dict[str, object]) -> object:
    training = header.get("training")
    return training.get("generator") if isinstance(training, dict) else None


@lru_cache(maxsize=4)
def _load(device: str, path: Path, changed: int) -> tuple[EncoderNetwork, Curvature]:
    """``changed``: when the file was, so that a new one is read."""
    from editkit.checkpoints.native import read_checkpoint

    checkpoint = read_checkpoint(path)
    # The network is kept for later callers, whatever mode the first one is in.
    with torch.inference_mode(False), torch.no_grad():
        try:
            tensors = {name: tensor.float() for name, tensor in checkpoint.tensors.items()}
            basis, shrink = (tensors.pop(f"curvature.{name}").to(device) for name in ("basis", "shrink"))
            network = EncoderNetwork(**checkpoint.header["arguments"])
            tensors.setdefault("start", network.start)  # files of before there was one begin at the mean of W
            network.load_state_dict(tensors)
            if basis.shape != (network.num_ws, *shrink.shape[1:], network.w_dim) or shrink.shape != basis.shape[:2]:
                raise ValueError(f"directions {list(basis.shape)}")
            basis = (
                torch.linalg.qr(basis.transpose(1, 2)).Q.transpose(1, 2).contiguous()
            )  # half precision left it not quite orthonormal
        except (KeyError, RuntimeError, TypeError, ValueError, UsageError) as error:
            raise CheckpointError(f"{path} does not fit the encoder: {error}") from error
        return network.to(device).eval().requires_grad_(False), Curvature(basis=basis, shrink=shrink)

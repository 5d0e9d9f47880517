"""Generators: what every part of editkit may ask of one, and loading and saving them.

Convention: images are float32 [N, 3, R, R], about in [-1, 1], whatever channels a network has (see ``editkit.colour``);
transforms are forward (see ``editkit.transform``) and
are inverted once, here. A generator is never changed by who uses it; tuning makes a new one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from editkit.checkpoints import catalogue
from editkit.device import resolve_device
from editkit.errors import CheckpointError
from editkit.label_prior import LabelPrior
from editkit.latent import Latent
from editkit.network_generator import NetworkGenerator

if TYPE_CHECKING:
    from editkit.transform import Transform

__all__ = [
    "Generator",
    "GeneratorSpec",
    "NetworkGenerator",
    "from_tensors",
    "load_generator",
    "random_generator",
    "save_generator",
]

log = logging.getLogger(__name__)

DEFAULT = "faces64"
MODELS = Path(__file__).parent / "models"


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorSpec:
    """What is known of a generator without running it.

    Attributes:
        id: SHA-256 of the weights; ``parent_id``: of those it is a half-precision or tuned copy of.
        name, kind: for people, and of the network ("stylegan3", "stylegan2" or "stylegan_xl").
        resolution, channels: of the network's image, 1 grey, 3 RGB, 4 RGB with alpha.
        z_dim, w_dim, c_dim: of z, w and label; num_ws: rows of W+.
        class_names: of the classes a label chooses from, c_dim of them, where known; labels: what random ones are drawn
            from, where known.
        domain: what it shows; alignment: the crop it expects ("faces128", "ffhq" or "centre"); licence: of the weights.
    """

    id: str
    parent_id: str | None = None
    name: str
    kind: str
    resolution: int
    channels: int
    z_dim: int
    w_dim: int
    num_ws: int
    c_dim: int
    class_names: tuple[str, ...] | None = None
    labels: LabelPrior | None = None
    domain: str | None = None
    alignment: str = "centre"
    licence: str | None = None


@runtime_checkable
class Generator(Protocol):
    """What projection, directions and rendering ask of a generator."""

    @property
    def spec(self) -> GeneratorSpec: ...

    @property
    def w_avg(self) -> Tensor:
        """[w_dim], the mean of w."""
        ...

    @property
    def device(self) -> torch.device: ...

    def map(
        self,
        z: Tensor,
        *,
        label: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Latent:
        """z [N, z_dim] to a latent in w, or in w+ where ``truncation_cutoff`` makes rows differ."""
        ...

    def synthesize(self, latent: Latent, *, transform: Transform | None = None) -> Tensor:
        """A latent in w, w+ or s to float32 [N, 3, R, R]; differentiable."""
        ...


def load_generator(source: str | os.PathLike[str] | None = None, *, device: str = "auto") -> NetworkGenerator:
    """The bundled default, a bundled or published name, a native checkpoint (.safetensors) or an official pickle.

    Args:
        source: None for the default ("faces64"); a name in ``editkit/models``; that of a published network, which is
            never downloaded here; or a path. Pickles are read without executing anything in them; one that the
            catalogue knows gets its facts, another ``alignment="centre"``: ``editkit convert`` can say better.
        device: "auto", "cpu", "cuda" or "mps".

    Raises:
        CheckpointError: missing, damaged, of an unknown kind, or not a generator.
        SchemaError: written by a newer editkit.
        MemoryBudgetError: it would not fit; the message has the numbers.
        DeviceError: no such device.
    """
    where = resolve_device(device)
    path = _find(source)
    if path.suffix == ".pkl":
        return _from_pickle(path, where)
    from editkit.checkpoints.native import read_checkpoint

    checkpoint = read_checkpoint(path)
    return from_tensors(checkpoint.tensors, checkpoint.header, device=where)


def from_tensors(tensors: Mapping[str, Tensor], header: Mapping[str, Any], *, device: torch.device) -> NetworkGenerator:
    """A generator from weights and a header (see ``editkit.checkpoints.header``). Raises as ``load_generator``."""
    from editkit.network_loading import load_network
    from editkit.networks import GENERATOR_KINDS

    kind, arguments, name = header["kind"], header["arguments"], header.get("name") or header["id"][:12]
    if kind not in GENERATOR_KINDS:
        raise CheckpointError(f"{name!r} is of kind {kind!r}, not a generator ({', '.join(GENERATOR_KINDS)})")
    network: Any = load_network(kind, arguments, tensors, name=name, device=device)
    names = header.get("class_names")
    if names is not None and len(names) != network.c_dim:
        raise CheckpointError(f"{name!r} names {len(names)} classes and has {network.c_dim}; the file is damaged")
    held = header.get("labels") if network.c_dim else None
    if held is None and names is None and network.c_dim > 1 and kind != "stylegan_xl" and header.get("training"):
        log.warning(
            "the file of %r does not tell the labels that it was trained on: as random ones classes are drawn, all "
            "alike. If its labels are vectors, such pictures and figures mean nothing: give --class values",
            name,
        )
    spec = GeneratorSpec(
        id=header["id"],
        parent_id=header.get("parent_id"),
        name=name,
        kind=kind,
        resolution=network.img_resolution,
        channels=network.img_channels,
        z_dim=network.z_dim,
        w_dim=network.w_dim,
        num_ws=network.num_ws,
        c_dim=network.c_dim,
        class_names=None if names is None else tuple(names),
        labels=None if held is None else LabelPrior.from_header(held, c_dim=network.c_dim, name=name),
        domain=header.get("domain"),
        alignment=header.get("alignment") or "centre",
        licence=header.get("licence"),
    )
    return NetworkGenerator(network, spec, arguments)


def save_generator(generator: NetworkGenerator, path: str | os.PathLike[str]) -> None:
    """Writes a native checkpoint. Raises OutputError where that is not possible."""
    from editkit.checkpoints.native import write_checkpoint

    spec = generator.spec
    kept = ("kind", "name", "domain", "alignment", "licence", "parent_id")
    header: dict[str, Any] = {name: getattr(spec, name) for name in kept} | {"arguments": generator.arguments}
    if spec.class_names is not None:
        header["class_names"] = list(spec.class_names)
    if spec.labels is not None:
        header["labels"] = spec.labels.to_header()
    write_checkpoint(path, generator.state_dict(), header)


_SMALL: Mapping[str, Mapping[str, Any]] = {
    "stylegan3": {"channel_base": 512, "channel_max": 16, "num_layers": 6, "margin_size": 4},
    "stylegan2": {"channel_base": 512, "channel_max": 16, "mapping_kwargs": {"num_layers": 2}},
    "stylegan_xl": {"c_dim": 4, "channel_base": 512, "channel_max": 16, "num_layers": 6, "margin_size": 4},
}


def random_generator(
    *, seed: int = 0, resolution: int = 32, alignment: str = "centre", kind: str = "stylegan3", **arguments: Any
) -> NetworkGenerator:
    """A small, untrained generator: for trials and tests.

    Args:
        kind: "stylegan3" (configuration T), "stylegan2" or "stylegan_xl" (a stem of four classes).
        arguments: of the network's constructor, over those that make it small.
    """
    from editkit.checkpoints.native import weights_id
    from editkit.networks import build_network

    full: dict[str, Any] = {
        "z_dim": 32,
        "c_dim": 0,
        "w_dim": 32,
        "img_resolution": resolution,
        "img_channels": 3,
        **_SMALL.get(kind, {}),
        **arguments,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(kind, full | ({"embed_dim": 8} if kind == "stylegan_xl" else {}))
        if kind == "stylegan2":  # as drawn it would be 0, and noise modes would not differ
            for name, parameter in network.named_parameters():
                if name.endswith("noise_strength"):
                    torch.nn.init.constant_(parameter, 0.1)
    tensors = network.state_dict()
    header = {"kind": kind, "arguments": full, "id": weights_id(tensors), "name": f"random-{seed}"}
    return from_tensors(tensors, header | {"alignment": alignment}, device=torch.device("cpu"))


def bundled_generators() -> set[str]:
    """Names of the generators in the package; beside them lie other networks, and ``NAME.discriminator`` of one."""
    others = {"landmarks", "features", "encoder64"}
    return {path.stem for path in MODELS.glob("*.safetensors") if "." not in path.stem} - others


def _find(source: str | os.PathLike[str] | None) -> Path:
    name = DEFAULT if source is None else os.fspath(source)
    bundled = MODELS / f"{name}.safetensors"
    if not os.path.exists(name) and bundled.is_file():
        return bundled
    path = Path(name)
    if path.suffix in (".safetensors", ".pkl"):
        return path
    return catalogue.resolve(name, bundled=bundled_generators())


def _from_pickle(path: Path, device: torch.device) -> NetworkGenerator:
    from editkit.checkpoints.native import weights_id
    from editkit.checkpoints.official import import_official

    found = import_official(path, networks=("G_ema",))
    if "G_ema" not in found:
        raise CheckpointError(f"{path} holds no generator (G_ema)")
    network = found["G_ema"]
    header = {
        "kind": network.kind,
        "arguments": network.arguments,
        "id": weights_id(network.tensors),
        "name": path.stem,
        **catalogue.facts(path, network.kind, network.arguments),
    }
    return from_tensors(network.tensors, header, device=device)

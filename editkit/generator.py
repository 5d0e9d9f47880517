"""Generators: what every part of editkit may ask of one, and loading and saving them.

Convention: images are float32 [N, 3, R, R], about in [-1, 1]; transforms are forward (see ``editkit.transform``) and
are inverted once, here. A generator is never changed by who uses it; tuning makes a new one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from editkit.checkpoints import catalogue
from editkit.device import resolve_device
from editkit.errors import CheckpointError, LatentError
from editkit.latent import Latent, Space
from editkit.layers import check_widths

if TYPE_CHECKING:
    from editkit.networks.stylegan3 import StyleGAN3Generator
    from editkit.transform import Transform

DEFAULT = "faces64"
MODELS = Path(__file__).parent / "models"


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorSpec:
    """What is known of a generator without running it.

    Attributes:
        id: SHA-256 of the weights; ``parent_id``: of those it is a half-precision or tuned copy of.
        name, kind: for people, and of the network ("stylegan3").
        resolution, channels: of the image; z_dim, w_dim, c_dim: of z, w and label; num_ws: rows of W+.
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


class NetworkGenerator:
    """A ``Generator`` over a network of this package."""

    def __init__(self, network: StyleGAN3Generator, spec: GeneratorSpec, arguments: Mapping[str, Any]) -> None:
        """``network``: in evaluation mode from now on, its parameters frozen; ``arguments`` built it."""
        self._network = network.eval().requires_grad_(False)
        self._spec = spec
        self.arguments = dict(arguments)

    @property
    def spec(self) -> GeneratorSpec:
        """Facts, without running anything."""
        return self._spec

    @property
    def w_avg(self) -> Tensor:
        """[w_dim], a copy."""
        return self._network.mapping.w_avg.clone()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._network.mapping.w_avg.device

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of the weights, by their published names."""
        return {name: tensor.clone() for name, tensor in self._network.state_dict().items()}

    def map(
        self,
        z: Tensor,
        *,
        label: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Latent:
        """z [N, z_dim] to a latent in w, or in w+ where ``truncation_cutoff`` makes rows differ.

        Args:
            label: [N, c_dim], one-hot or dense; zeros (no class) where a conditional generator gets none.
            truncation_psi: 1 leaves w, 0 gives ``w_avg``; truncation_cutoff: rows that it reaches, None for all.

        Raises:
            LatentError: z or label has the wrong shape.
        """
        spec = self._spec
        if z.ndim != 2 or z.shape[1] != spec.z_dim:
            raise LatentError(f"{spec.name!r} takes z of shape [N, {spec.z_dim}], got {list(z.shape)}")
        if label is not None and label.shape != (z.shape[0], spec.c_dim):
            raise LatentError(f"{spec.name!r} takes labels [{z.shape[0]}, {spec.c_dim}], got {list(label.shape)}")
        if label is None and spec.c_dim:
            label = z.new_zeros(z.shape[0], spec.c_dim)
        ws = self._network.mapping(
            z.to(self.device),
            None if label is None else label.to(self.device),
            truncation_psi=truncation_psi,
            truncation_cutoff=truncation_cutoff,
        )
        space: Space = "w" if truncation_cutoff is None or truncation_psi == 1 else "w+"
        return Latent(space=space, codes=ws, generator=spec.id, parent=spec.parent_id)

    def styles(self, latent: Latent) -> Latent:
        """A latent in w or w+ to StyleSpace (s), layer by layer."""
        latent.require("w", "w+").check(self._spec)
        codes = self._network.synthesis.styles(latent.tensor.to(self.device))
        return Latent(space="s", codes=codes, generator=self._spec.id, parent=self._spec.parent_id)

    def synthesize(self, latent: Latent, *, transform: Transform | None = None) -> Tensor:
        """A latent in w, w+ or s to float32 [N, 3, R, R], about in [-1, 1]; differentiable in codes and transform.
        A sample's image does not depend on the rest of its batch.

        Raises:
            LatentError: in z, or of the wrong shape; GeneratorMismatchError: it belongs to another generator.
            UsageError: neither one transform nor one a sample.
        """
        latent.require("w", "w+", "s").check(self._spec)
        inverse = None if transform is None else transform.expand(len(latent)).inverse().to(self.device).matrix
        synthesis = self._network.synthesis
        if latent.space == "s":
            styles = {name: codes.to(self.device) for name, codes in latent.styles.items()}
            check_widths({name: codes.shape[1] for name, codes in styles.items()}, synthesis.style_widths())
            return synthesis.from_styles(styles, transform=inverse)
        return synthesis(latent.tensor.to(self.device), transform=inverse)


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
    from editkit.checkpoints.arguments import check_network
    from editkit.memory import check_fits, working_memory
    from editkit.networks import GENERATOR_KINDS, build_network

    kind, arguments, name = header["kind"], header["arguments"], header.get("name") or header["id"][:12]
    if kind not in GENERATOR_KINDS:
        raise CheckpointError(f"{name!r} is of kind {kind!r}, not a generator ({', '.join(GENERATOR_KINDS)})")
    check_network(kind, arguments, {key: tuple(tensor.shape) for key, tensor in tensors.items()})
    weights = sum(tensor.numel() * 4 for tensor in tensors.values())
    check_fits(weights + working_memory(arguments), f"generator {name!r}", device=device)
    with torch.random.fork_rng(devices=[]):  # its first weights are drawn and thrown away: leave the caller's stream
        network = build_network(kind, arguments)
    try:
        network.load_state_dict({key: tensor.float() for key, tensor in tensors.items()})
    except RuntimeError as error:
        raise CheckpointError(
            f"the weights of {name!r} do not fit its arguments: {str(error).splitlines()[-1]}"
        ) from error
    network.to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    spec = GeneratorSpec(
        id=header["id"],
        parent_id=header.get("parent_id"),
        name=name,
        kind=kind,
        resolution=arguments["img_resolution"],
        channels=arguments.get("img_channels", 3),
        z_dim=arguments["z_dim"],
        w_dim=arguments["w_dim"],
        num_ws=network.num_ws,  # type: ignore[arg-type]
        c_dim=arguments["c_dim"],
        domain=header.get("domain"),
        alignment=header.get("alignment") or "centre",
        licence=header.get("licence"),
    )
    return NetworkGenerator(network, spec, arguments)  # type: ignore[arg-type]


def save_generator(generator: NetworkGenerator, path: str | os.PathLike[str]) -> None:
    """Writes a native checkpoint. Raises OutputError where that is not possible."""
    from editkit.checkpoints.native import write_checkpoint

    spec = generator.spec
    header = {name: getattr(spec, name) for name in ("kind", "name", "domain", "alignment", "licence", "parent_id")}
    write_checkpoint(path, generator.state_dict(), header | {"arguments": generator.arguments})


def random_generator(
    *, seed: int = 0, resolution: int = 32, alignment: str = "centre", **arguments: Any
) -> NetworkGenerator:
    """A small, untrained StyleGAN3-T: for trials and tests. ``arguments`` go to ``StyleGAN3Generator``."""
    from editkit.checkpoints.native import weights_id
    from editkit.networks import build_network

    full: dict[str, Any] = {
        "z_dim": 32,
        "c_dim": 0,
        "w_dim": 32,
        "img_resolution": resolution,
        "img_channels": 3,
        "channel_base": 512,
        "channel_max": 16,
        "num_layers": 6,
        "margin_size": 4,
    } | arguments
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network("stylegan3", full)
    tensors = network.state_dict()
    header = {"kind": "stylegan3", "arguments": full, "id": weights_id(tensors), "name": f"random-{seed}"}
    return from_tensors(tensors, header | {"alignment": alignment}, device=torch.device("cpu"))


def _find(source: str | os.PathLike[str] | None) -> Path:
    name = DEFAULT if source is None else os.fspath(source)
    bundled = MODELS / f"{name}.safetensors"
    if not os.path.exists(name) and bundled.is_file():
        return bundled
    path = Path(name)
    if path.suffix in (".safetensors", ".pkl"):
        return path
    return catalogue.resolve(name, bundled={p.stem for p in MODELS.glob("*.safetensors")} - {"landmarks", "features"})


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

"""Weight deltas: what pivotal tuning adds to the weights of a generator, kept apart from it.

Convention: a delta is a tensor a state-dict name, added to the weights; names that it lacks stay as they are. It knows
its generator, and no other takes it. Files are safetensors with the header {schema, generator, parent}; see
``editkit.tensorfile``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from editkit.errors import CheckpointError, GeneratorMismatchError, UsageError
from editkit.tensorfile import read_tensors, write_tensors

if TYPE_CHECKING:
    from editkit.generator import Generator, GeneratorSpec
    from editkit.network_generator import NetworkGenerator

DELTA_SCHEMA = 1
KIND = "weight-delta"
NAME = "tuning.safetensors"
"""Of the delta in a folder that `editkit project --method pivotal` wrote, beside the latent."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WeightDelta:
    """Differences of weights that know their generator.

    Attributes:
        tensors: state-dict name -> difference, floating point, on the CPU.
        generator: id of the generator that they are added to.
        parent: id of that generator's parent, or None.
    """

    tensors: Mapping[str, Tensor]
    generator: str
    parent: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.generator, str) or not self.generator:
            raise CheckpointError(f"a weight delta needs the id of its generator, got {self.generator!r}")
        if not self.tensors:
            raise CheckpointError("a weight delta without tensors changes nothing; it may be damaged")
        for name, tensor in self.tensors.items():
            if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
                raise CheckpointError(f"the weight delta of {name!r} is not a floating-point tensor; it may be damaged")
            if not bool(torch.isfinite(tensor).all()):
                raise CheckpointError(f"the weight delta of {name!r} holds NaN or infinite values; tune again")

    def check(self, spec: GeneratorSpec) -> Self:
        """Self, if it is for the generator of ``spec``. Raises GeneratorMismatchError, which names both ids."""
        if self.generator != spec.id:
            raise GeneratorMismatchError(
                f"this weight delta is for generator {self.generator[:12]} and cannot be added to {spec.name!r}, "
                f"{spec.id[:12]}; load the generator that was tuned, or project the photo again"
            )
        return self

    def halved(self) -> WeightDelta:
        """In half precision where the values allow it: half the size, each within 0.05 % or 3e-8."""
        limit = torch.finfo(torch.float16).max
        return replace(
            self, tensors={n: t.half() if bool((t.abs() < limit).all()) else t for n, t in self.tensors.items()}
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it. Raises OutputError."""
        header = {"generator": self.generator, "parent": self.parent}
        write_tensors(path, self.tensors, kind=KIND, schema=DELTA_SCHEMA, header=header)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> WeightDelta:
        """Read what ``save`` wrote.

        Raises:
            CheckpointError: missing, damaged, not a delta, or with bad values.
            SchemaError: written by a newer editkit.
        """
        tensors, header = read_tensors(path, kind=KIND, schema=DELTA_SCHEMA, error=CheckpointError)
        try:
            return cls(tensors=tensors, generator=header.get("generator"), parent=header.get("parent"))  # type: ignore[arg-type]  # checked
        except CheckpointError as problem:
            raise CheckpointError(f"{path}: {problem}") from problem

    def added_to(self, G: Generator) -> NetworkGenerator:
        """A new generator, ``G`` with the differences added; ``G`` stays as it is.

        It has an id of its own and ``parent_id`` that of ``G``, so that latents of ``G`` go with it.

        Raises:
            GeneratorMismatchError: the delta is for another generator.
            CheckpointError: it names weights that ``G`` lacks, or of another shape.
            UsageError: ``G`` is of another making, whose weights are not known.
        """
        from editkit.checkpoints.native import weights_id
        from editkit.network_generator import NetworkGenerator

        self.check(G.spec)
        if not isinstance(G, NetworkGenerator):
            raise UsageError(f"{G.spec.name!r} is not a network of editkit; its weights cannot be changed")
        weights = G.state_dict()
        for name, difference in self.tensors.items():
            if name not in weights or weights[name].shape != difference.shape:
                has = list(weights[name].shape) if name in weights else "no such weights"
                raise CheckpointError(
                    f"the delta of {name!r} is {list(difference.shape)}, {G.spec.name!r} has {has}; it may be damaged"
                )
            weights[name] = weights[name] + difference.to(weights[name])
        spec = replace(G.spec, id=weights_id(weights), parent_id=G.spec.id, name=f"{G.spec.name} (tuned)")
        return G.with_weights(weights, spec)


def between(first: WeightDelta | None, second: WeightDelta | None, share: float) -> WeightDelta | None:
    """What lies between two deltas, ``share`` of the way from the first to the second; None is a generator as it is.

    At 0 it is ``first`` itself, at 1 ``second``. Weights that one of them lacks are 0 there.

    Raises:
        GeneratorMismatchError: they are for different generators.
        CheckpointError: they differ in shape.
    """
    if first is second or share == 0:
        return first
    if share == 1:
        return second
    known = [one for one in (first, second) if one is not None]
    if len({one.generator for one in known}) > 1:
        raise GeneratorMismatchError(
            f"weight deltas of different generators, {' and '.join(one.generator[:12] for one in known)}, have nothing "
            "between them; project the photos with one generator"
        )
    summed: dict[str, Tensor] = {}
    for delta, weight in ((first, 1 - share), (second, share)):
        for name, tensor in ({} if delta is None else delta.tensors).items():
            part = tensor.float() * weight
            if name in summed and summed[name].shape != part.shape:
                raise CheckpointError(f"two weight deltas differ in the shape of {name!r}; one of them may be damaged")
            summed[name] = summed[name] + part if name in summed else part
    return replace(known[0], tensors=summed)

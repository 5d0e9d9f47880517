"""A direction in a generator's latent space, and its file format.

Convention: a vector has the shape of its space for one sample: ``w`` [w_dim], added to every row; ``w+``
[num_ws, w_dim]; ``s`` a mapping layer -> [C]. An edit adds strength times vector, so the vector is one unit long.
File: safetensors with ``w``, ``w+`` or ``s.<layer>`` and a JSON header with everything else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from editkit.errors import DirectionError, GeneratorMismatchError, LatentError
from editkit.layers import Layers, checked_names, checked_rows
from editkit.tensorfile import is_finite_number, read_tensors, write_tensors

if TYPE_CHECKING:
    from editkit.generator import GeneratorSpec

DIRECTION_SCHEMA = 1
# The style of StyleGAN3's input layer, which is its learned placement, under this name in s.
PLACEMENT_LAYER = "input"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+.-]{0,63}")
_NDIM = {"w": 1, "w+": 2}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Direction:
    """A named direction of one generator.

    Attributes:
        name: a noun, such as ``warmth``; letters, digits and ``_ + . -``, at most 64.
        vector: finite floating point, not all zero; shape by ``space`` (see the module's convention).
        space: "w", "w+" or "s".
        generator: id of the generator it was made for.
        strength: (low, high) the range in which results look right, in units; low <= 0 <= high.
        unit: what one unit is, such as "one standard deviation along the component".
        method: how it was found, such as "ganspace".
        reference: paper, data or seeds behind it.
        scores: measured figures by name, such as {"effect:warmth": 1.4}.
        target: the score that it is meant to move and is judged by, whatever its name; "" where none is known.
    """

    name: str
    vector: Tensor | Mapping[str, Tensor]
    space: Literal["w", "w+", "s"]
    generator: str
    strength: tuple[float, float] = (-3.0, 3.0)
    unit: str = ""
    method: str = ""
    reference: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    target: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise DirectionError(f"a direction's name has letters, digits and _ + . - (at most 64), got {self.name!r}")
        if not isinstance(self.generator, str) or not self.generator:
            raise DirectionError(f"direction {self.name!r} needs the id of its generator, got {self.generator!r}")
        self._check_vector()
        bounds = tuple(self.strength) if isinstance(self.strength, Sequence) else ()
        if len(bounds) != 2 or not all(map(is_finite_number, bounds)) or not bounds[0] <= 0 <= bounds[1]:
            raise DirectionError(f"direction {self.name!r}: strength is (low <= 0, high >= 0), got {self.strength!r}")
        object.__setattr__(self, "strength", (float(bounds[0]), float(bounds[1])))
        if not all(isinstance(key, str) and is_finite_number(value) for key, value in self.scores.items()):
            raise DirectionError(f"direction {self.name!r}: scores are finite numbers by name, got {self.scores!r:.99}")
        object.__setattr__(self, "scores", dict(self.scores))

    @property
    def touches_placement(self) -> bool:
        """Whether it drives StyleGAN3's learned placement: row 0 of W+ (every w direction), the input layer of s."""
        if isinstance(self.vector, Tensor):
            return self.space == "w" or bool((self.vector[0] != 0).any())
        return PLACEMENT_LAYER in self.vector and bool((self.vector[PLACEMENT_LAYER] != 0).any())

    def check(self, spec: GeneratorSpec) -> Direction:
        """Self, if made for the generator of ``spec`` or its parent and of its shape.

        Raises:
            GeneratorMismatchError: made for another generator; both ids are named.
            DirectionError: the shape is not that of ``spec``.
        """
        if self.generator not in (spec.id, spec.parent_id):
            raise GeneratorMismatchError(
                f"direction {self.name!r} was made for generator {self.generator[:12]} and cannot be used with "
                f"{spec.name!r}, {spec.id[:12]}; make one for it with `editkit directions find`"
            )
        if isinstance(self.vector, Tensor):
            needed = (spec.w_dim,) if self.space == "w" else (spec.num_ws, spec.w_dim)
            if tuple(self.vector.shape) != needed:
                found = list(self.vector.shape)
                raise DirectionError(f"direction {self.name!r} is {found}, {spec.name!r} needs {list(needed)}")
        return self

    def on_layers(self, layers: Layers, *, num_ws: int | None = None) -> Direction:
        """The part on some rows (in s: layers); w becomes w+ and needs ``num_ws``. Raises DirectionError."""
        try:
            if not isinstance(self.vector, Tensor):
                chosen = checked_names(layers, self.vector)
                return replace(self, vector={name: self.vector[name] for name in chosen})
            rows = self.vector
            if self.space == "w":
                if num_ws is None:
                    raise DirectionError(f"direction {self.name!r} is in w; give num_ws to restrict it to rows")
                rows = rows.expand(num_ws, -1)
            kept = torch.zeros_like(rows)
            index = checked_rows(layers, len(rows))
            kept[index] = rows[index]
        except LatentError as problem:
            raise DirectionError(f"direction {self.name!r}: {problem}") from problem
        return replace(self, vector=kept, space="w+")

    def named_tensors(self) -> dict[str, Tensor]:
        """The vector by its names in a file: ``w``, ``w+``, or ``s.<layer>``."""
        if isinstance(self.vector, Tensor):
            return {self.space: self.vector}
        return {f"s.{layer}": part for layer, part in self.vector.items()}

    def header(self) -> dict[str, Any]:
        """Everything but the vector, as JSON values."""
        return {
            "name": self.name,
            "space": self.space,
            "generator": self.generator,
            "strength": list(self.strength),
            "unit": self.unit,
            "method": self.method,
            "reference": self.reference,
            "scores": dict(self.scores),
            "target": self.target,
        }

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Direction:
        """The inverse of ``header`` and ``named_tensors``. Raises DirectionError."""
        space = header.get("space")
        try:
            vector: Any = (
                {name.removeprefix("s."): part for name, part in tensors.items() if name.startswith("s.")}
                if space == "s"
                else tensors[str(space)]
            )
            return cls(
                name=header["name"],
                vector=vector,
                space=header["space"],
                generator=header["generator"],
                strength=tuple(header["strength"]),
                unit=str(header.get("unit", "")),
                method=str(header.get("method", "")),
                reference=str(header.get("reference", "")),
                scores=header.get("scores", {}),
                target=str(header.get("target", "")),
            )
        except (KeyError, TypeError, AttributeError) as problem:
            raise DirectionError(f"this direction lacks a part or holds a wrong one ({problem})") from problem

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file. Raises OutputError."""
        write_tensors(path, self.named_tensors(), kind="direction", schema=DIRECTION_SCHEMA, header=self.header())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Direction:
        """Read what ``save`` wrote. Raises DirectionError, or SchemaError for a newer file."""
        tensors, header = read_tensors(path, kind="direction", schema=DIRECTION_SCHEMA, error=DirectionError)
        try:
            return cls.from_parts(header, tensors)
        except DirectionError as problem:
            raise DirectionError(f"{path}: {problem}") from problem

    def _check_vector(self) -> None:
        if self.space == "s":
            fits = isinstance(self.vector, Mapping) and bool(self.vector)
            parts = list(self.vector.values()) if fits else []
            ndim = 1
        elif self.space in _NDIM:
            parts, ndim = [self.vector], _NDIM[self.space]
            fits = True
        else:
            raise DirectionError(f"direction {self.name!r}: unknown space {self.space!r}; the spaces are w, w+, s")
        if not fits or not all(isinstance(p, Tensor) and p.is_floating_point() and p.ndim == ndim for p in parts):
            shape = {"w": "[w_dim]", "w+": "[num_ws, w_dim]", "s": "a mapping layer -> [C]"}[self.space]
            raise DirectionError(f"direction {self.name!r}: a vector in {self.space} is floating point, {shape}")
        if not all(bool(torch.isfinite(part).all()) for part in parts):
            raise DirectionError(f"direction {self.name!r} holds NaN or infinite values; make it again")
        if not any(bool((part != 0).any()) for part in parts):
            raise DirectionError(f"direction {self.name!r} is zero everywhere and would do nothing")
        if self.space == "s":
            object.__setattr__(self, "vector", dict(self.vector))

"""Latent codes that know their generator.

Convention: spaces are ``z`` [N, z_dim], ``w`` and ``w+`` [N, num_ws, w_dim] (in ``w`` the rows of a sample are equal)
and ``s``, a mapping layer -> [N, C]. Row 0 of W+ drives StyleGAN3's learned placement. Operations return new latents.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from editkit.errors import GeneratorMismatchError, LatentError
from editkit.latent_checks import checked_noise, checked_styles
from editkit.layers import Layers, checked_names, checked_rows

if TYPE_CHECKING:
    from editkit.generator import GeneratorSpec
    from editkit.transform import Transform

Space = Literal["z", "w", "w+", "s"]
SPACES: tuple[Space, ...] = ("z", "w", "w+", "s")
_ROWS: tuple[Space, ...] = ("w", "w+")
_AXES = {"z": "[N, z_dim]", "w": "[N, num_ws, w_dim]", "w+": "[N, num_ws, w_dim]"}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Latent:
    """Codes of N samples. Shapes are checked when made; values by ``check`` and ``check_finite``.

    Attributes:
        space: "z", "w", "w+" or "s".
        codes: floating-point tensor, or for "s" a mapping layer -> [N, C]. May carry gradients.
        generator: id of the generator that the codes belong to.
        parent: id of that generator's parent, where it is a tuned or half-precision copy: directions of the parent
            then apply.
        noise: of a StyleGAN2, layer -> [N, r, r]: noise maps in place of the generator's own; None for those.
    """

    space: Space
    codes: Tensor | Mapping[str, Tensor]
    generator: str
    parent: str | None = None
    noise: Mapping[str, Tensor] | None = None

    def __post_init__(self) -> None:
        self._check_shapes()
        if self.noise is not None:
            object.__setattr__(self, "noise", checked_noise(self.noise, len(self)))

    def _check_shapes(self) -> None:
        if self.space not in SPACES:
            raise LatentError(f"unknown latent space {self.space!r}; the spaces are {', '.join(SPACES)}")
        if not isinstance(self.generator, str) or not self.generator:
            raise LatentError(f"a latent needs the id of its generator, got {self.generator!r}")
        if self.space == "s":
            object.__setattr__(self, "codes", checked_styles(self.codes))
            return
        codes, ndim = self.codes, 2 if self.space == "z" else 3
        if not isinstance(codes, Tensor) or not codes.is_floating_point() or codes.ndim != ndim or not codes.numel():
            shape = list(codes.shape) if isinstance(codes, Tensor) else type(codes).__name__
            raise LatentError(f"codes in {self.space} are floating point {_AXES[self.space]}, got {shape}")

    @property
    def tensor(self) -> Tensor:
        """The codes in z, w or w+. Raises LatentError in s, where there is one tensor a layer."""
        if not isinstance(self.codes, Tensor):
            raise LatentError("codes in s are one tensor a layer; use latent.styles")
        return self.codes

    @property
    def styles(self) -> Mapping[str, Tensor]:
        """The codes in s: layer -> [N, C]. Raises LatentError in z, w and w+."""
        if isinstance(self.codes, Tensor):
            raise LatentError(f"codes in {self.space} are one tensor; use latent.tensor")
        return self.codes

    def __len__(self) -> int:
        return len(self.codes) if isinstance(self.codes, Tensor) else len(next(iter(self.codes.values())))

    def __getitem__(self, index: int | slice | Sequence[int]) -> Latent:
        """Some of the samples; an int keeps the sample axis. Raises IndexError out of range."""
        if isinstance(index, int):
            index = range(len(self))[index]
            index = slice(index, index + 1)
        elif not isinstance(index, slice):
            index = [range(len(self))[i] for i in index]
        return self._map(lambda codes: codes[index])

    def to(self, device: torch.device | str) -> Latent:
        """On another device."""
        return self._map(lambda codes: codes.to(device))

    def detach(self) -> Latent:
        """Without gradients."""
        return self._map(lambda codes: codes.detach())

    def require(self, *spaces: Space) -> Latent:
        """Self, if its space is one of ``spaces``. Raises LatentError naming both."""
        if self.space not in spaces:
            hint = "; map it first: G.map(latent.codes)" if self.space == "z" else ""
            raise LatentError(f"a latent in {' or '.join(spaces)} is needed, got one in {self.space}{hint}")
        return self

    def check(self, spec: GeneratorSpec) -> Latent:
        """Self, if the generator of ``spec`` (or its parent) made it and the shape fits.

        Raises:
            GeneratorMismatchError: made for another generator; both ids are named.
            LatentError: the shape is not that of ``spec``.
        """
        if self.generator not in (spec.id, spec.parent_id):
            parent = f" (parent {spec.parent_id[:12]})" if spec.parent_id else ""
            raise GeneratorMismatchError(
                f"this latent was made for generator {self.generator[:12]} and cannot be used with {spec.name!r}, "
                f"{spec.id[:12]}{parent}; load the generator it was made for, or project the photo again"
            )
        if isinstance(self.codes, Tensor):
            needed = (spec.z_dim,) if self.space == "z" else (spec.num_ws, spec.w_dim)
            if tuple(self.codes.shape[1:]) != needed:
                found = list(self.codes.shape[1:])
                raise LatentError(f"codes in {self.space} of {spec.name!r} are {list(needed)} a sample, got {found}")
        return self

    def check_finite(self) -> Latent:
        """Self, if every value is finite and the rows of a W code are equal. Raises LatentError otherwise."""
        if not all(bool(torch.isfinite(codes).all()) for codes in self.named_tensors().values()):
            raise LatentError(f"this latent in {self.space} holds NaN or infinite values; make it again")
        if self.space == "w" and not bool((self.tensor == self.tensor[:, :1]).all()):
            raise LatentError('the rows of this W latent differ; codes with a row a layer are in "w+"')
        return self

    def lerp(self, other: Latent, t: float) -> Latent:
        """On the straight line from self (t = 0, exactly) to ``other`` (t = 1, exactly); beyond it outside 0..1.

        One sample goes with any number. w with w+ gives w+. Raises LatentError or GeneratorMismatchError.
        """
        first, second = _aligned(self, other)
        ends = second.named_tensors()
        return first._with({name: torch.lerp(codes, ends[name], t) for name, codes in first.named_tensors().items()})

    def slerp(self, other: Latent, t: float) -> Latent:
        """On the great circle between two Z codes, lengths interpolated. Raises LatentError outside z."""
        first, second = _aligned(self.require("z"), other.require("z"))
        a, b = torch.broadcast_tensors(first.tensor, second.tensor)  # [N, z_dim]
        length_a, length_b = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
        unit_a, unit_b = a / length_a, b / length_b
        # The angle through half chords, accurate near 0 where arccos is not.
        apart, along = (unit_a - unit_b).norm(dim=1, keepdim=True), (unit_a + unit_b).norm(dim=1, keepdim=True)
        angle = 2 * torch.atan2(apart, along)  # [N, 1]
        if bool((angle > math.pi - 1e-3).any()):
            raise LatentError("two opposite Z codes have no single great circle between them; choose another pair")
        sine = torch.sin(angle)
        near = sine < 1e-4
        safe = torch.where(near, torch.ones_like(sine), sine)
        weight_a = torch.where(near, torch.full_like(sine, 1 - t), torch.sin((1 - t) * angle) / safe)
        weight_b = torch.where(near, torch.full_like(sine, t), torch.sin(t * angle) / safe)
        return replace(self, codes=(weight_a * unit_a + weight_b * unit_b) * torch.lerp(length_a, length_b, t))

    def truncate(self, w_avg: Tensor | Mapping[str, Tensor], psi: float, *, cutoff: int | None = None) -> Latent:
        """Towards the mean: w_avg + psi (w - w_avg), in rows below ``cutoff`` (all by default). Karras et al. 2019, B.

        psi 1 changes nothing, exactly. ``w_avg`` is [w_dim]; in s, which is affine in w, the mean's styles, layer ->
        [C], without a cutoff. Raises LatentError in z, or for a mean that does not fit.
        """
        if self.space == "s" and isinstance(w_avg, Mapping):
            if cutoff is not None or {k: v.shape[-1:] for k, v in w_avg.items()} != {
                k: v.shape[1:] for k, v in self.styles.items()
            }:
                raise LatentError("truncation in s needs the mean's styles, of the same layers, and has no cutoff")
            return replace(self, codes={k: torch.lerp(w_avg[k].to(v), v, psi) for k, v in self.styles.items()})
        codes = self.require(*_ROWS).tensor
        if not isinstance(w_avg, Tensor):
            raise LatentError(f"w_avg is a tensor [{codes.shape[2]}] in {self.space}, got a mapping")
        if w_avg.shape != codes.shape[2:]:
            raise LatentError(f"w_avg is [{codes.shape[2]}] here, got {list(w_avg.shape)}")
        count = codes.shape[1] if cutoff is None else cutoff
        if not 0 <= count <= codes.shape[1]:
            raise LatentError(f"truncation_cutoff is 0 to {codes.shape[1]} here, got {cutoff}")
        head = torch.lerp(w_avg.to(codes), codes[:, :count], psi)
        partly = 0 < count < codes.shape[1]
        return replace(self, space="w+" if partly else self.space, codes=torch.cat([head, codes[:, count:]], dim=1))

    def mix(self, other: Latent, layers: Layers) -> Latent:
        """Style mixing: the rows ``layers`` (in s: the layers so named) from ``other``, the rest from self.

        From w the result is in w+. Raises LatentError for layers that are not there or spaces that do not go together.
        """
        first, second = _aligned(self.as_w_plus(), other.as_w_plus())
        if first.space == "s":
            chosen = checked_names(layers, first.styles)
            count = max(len(first), len(second))
            mixed = {
                name: (second if name in chosen else first).styles[name].expand(count, -1) for name in first.styles
            }
            return replace(first, codes=mixed)
        rows = checked_rows(layers, first.require("w+").tensor.shape[1])
        a, b = torch.broadcast_tensors(first.tensor, second.tensor)
        mask = torch.zeros(a.shape[1], 1, dtype=torch.bool, device=a.device)
        mask[rows] = True
        return replace(first, codes=torch.where(mask, b, a))

    def as_w_plus(self) -> Latent:
        """A W latent as W+; any other as it is."""
        return replace(self, space="w+") if self.space == "w" else self

    def save(
        self, path: str | os.PathLike[str], *, transform: Transform | None = None, alignment: Any | None = None
    ) -> None:
        """Write a safetensors file: ``z``, ``w`` or ``s.<layer>``, and a header {schema, space, generator, ...}.

        ``alignment`` is a mapping of JSON values, or something with ``to_dict()``; it is kept beside the codes so that
        an edit can be pasted back later, as is ``transform``. Raises OutputError, or LatentError for bad values.
        """
        from editkit.latent_file import write_latent

        write_latent(path, self, transform=transform, alignment=alignment)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Latent:
        """Read what ``save`` wrote; ``editkit.latent_file.read_latent`` gives the placement and alignment as well.

        Raises:
            LatentError: missing, damaged, not a latent, or with bad values.
            SchemaError: written by a newer editkit.
        """
        from editkit.latent_file import read_latent

        return read_latent(path).latent

    def named_tensors(self) -> dict[str, Tensor]:
        """By their names in a file: ``z``, ``w`` (for w and w+) or ``s.<layer>``, and ``noise.<layer>``."""
        maps = {f"noise.{layer}": values for layer, values in (self.noise or {}).items()}
        if isinstance(self.codes, Tensor):
            return {"z" if self.space == "z" else "w": self.codes} | maps
        return {f"s.{layer}": codes for layer, codes in self.codes.items()} | maps

    def _with(self, tensors: Mapping[str, Tensor]) -> Latent:
        """The same latent with other values, named as ``named_tensors`` names them."""
        maps = {name.removeprefix("noise."): part for name, part in tensors.items() if name.startswith("noise.")}
        if isinstance(self.codes, Tensor):
            return replace(self, codes=next(iter(tensors.values())), noise=maps or None)
        styles = {name.removeprefix("s."): part for name, part in tensors.items() if name.startswith("s.")}
        return replace(self, codes=styles, noise=maps or None)

    def _with_noise_of(self, other: Latent) -> Latent:
        if self.noise is not None or other.noise is None:
            return self
        return replace(self, noise={name: maps[:1].expand(len(self), -1, -1) for name, maps in other.noise.items()})

    def _map(self, function: Callable[[Tensor], Tensor]) -> Latent:
        return self._with({name: function(codes) for name, codes in self.named_tensors().items()})


def concatenate(latents: Iterable[Latent]) -> Latent:
    """One latent of all samples in order; w with w+ gives w+. Raises LatentError or GeneratorMismatchError."""
    parts = list(latents)
    if not parts:
        raise LatentError("no latents to concatenate; give at least one")
    if len({part.space for part in parts}) > 1:
        parts = [part.as_w_plus() for part in parts]
    first = parts[0]
    for part in parts[1:]:
        _check_pair(first, part)
    named = [part.named_tensors() for part in parts]
    return first._with({name: torch.cat([tensors[name].to(a) for tensors in named]) for name, a in named[0].items()})


def _check_pair(first: Latent, second: Latent) -> None:
    if first.space != second.space:
        raise LatentError(f"a latent in {first.space} and one in {second.space} do not go together")
    if first.generator != second.generator:
        raise GeneratorMismatchError(
            f"these latents belong to different generators, {first.generator[:12]} and {second.generator[:12]}; "
            "project both photos with one generator"
        )
    a, b = first.named_tensors(), second.named_tensors()
    if a.keys() != b.keys() or any(a[name].shape[1:] != b[name].shape[1:] for name in a):
        raise LatentError(f"two latents in {first.space} have different shapes or layers")


def _aligned(first: Latent, second: Latent) -> tuple[Latent, Latent]:
    """Both in one space and on one device, with sample counts that go together; self's dtype wins."""
    if first.space != second.space:
        first, second = first.as_w_plus(), second.as_w_plus()
    if (first.noise is None) != (second.noise is None):  # one set of maps serves both
        first, second = first._with_noise_of(second), second._with_noise_of(first)
    _check_pair(first, second)
    if len(first) != len(second) and 1 not in (len(first), len(second)):
        raise LatentError(f"latents of {len(first)} and {len(second)} samples do not go together")
    kinds = first.named_tensors()
    return first, second._with({name: codes.to(kinds[name]) for name, codes in second.named_tensors().items()})

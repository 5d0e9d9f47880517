"""Edits, recipes of edits, and style mixing.

Convention: an edit adds strength x vector to the rows ``layers`` (all by default). Edits of one recipe add up, in
order: those in w and w+ first, then the code is converted, then those in s. Strength 0 leaves every bit as it was.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from editkit.direction import Direction
from editkit.errors import DirectionError, GeneratorMismatchError, LatentError, RecipeError
from editkit.latent import Latent
from editkit.layers import Layers, checked_names, checked_rows
from editkit.tensorfile import is_finite_number
from editkit.transform import Transform

if TYPE_CHECKING:
    from editkit.generator import Generator


@dataclass(frozen=True, slots=True)
class Edit:
    """One direction at one strength.

    Attributes:
        direction: a Direction, or the name of one, to be looked up by ``directions.resolve``.
        strength: in the direction's units; 0 changes nothing.
        layers: rows of W+ (in s: layer names) to which it is limited; None for all of them.
    """

    direction: Direction | str
    strength: float
    layers: tuple[int, ...] | tuple[str, ...] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.direction, Direction | str) or not self.direction:
            raise RecipeError(f"an edit needs a Direction or its name, got {type(self.direction).__name__}")
        if not is_finite_number(self.strength):
            raise RecipeError(f"edit {self.name!r}: strength is a finite number, got {self.strength!r}")
        if self.layers is not None:
            layers = (self.layers,) if isinstance(self.layers, int | str) else tuple(self.layers)
            if not all(isinstance(layer, int | str) and not isinstance(layer, bool) for layer in layers):
                raise RecipeError(f"edit {self.name!r}: layers are row numbers or layer names, got {layers!r}")
            object.__setattr__(self, "layers", layers)

    @property
    def name(self) -> str:
        """The name of its direction."""
        return self.direction if isinstance(self.direction, str) else self.direction.name


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Edits with a name, and a placement. ``save`` and ``load`` are JSON; see ``editkit.recipe_file``.

    Attributes:
        name: what it is called.
        edits: in the order in which they are added.
        transform: a placement for the result (of one sample), or None.
        generator: id of the generator; taken from the directions where they are given.
    """

    name: str
    edits: tuple[Edit, ...]
    transform: Transform | None = None
    generator: str | None = None
    schema: int = 1

    def __post_init__(self) -> None:
        edits = (self.edits,) if isinstance(self.edits, Edit) else tuple(self.edits)
        if not all(isinstance(edit, Edit) for edit in edits):
            raise RecipeError(f"recipe {self.name!r}: edits are Edit objects, got {edits!r:.100}")
        object.__setattr__(self, "edits", edits)
        ids = {edit.direction.generator for edit in edits if isinstance(edit.direction, Direction)}
        ids |= set() if self.generator is None else {self.generator}
        if len(ids) > 1:
            both = ", ".join(sorted(found[:12] for found in ids))
            raise GeneratorMismatchError(f"recipe {self.name!r} mixes directions of several generators: {both}")
        object.__setattr__(self, "generator", next(iter(ids), None))

    @property
    def summary(self) -> str:
        """The edits in a line for people: "warmth +1.4"; a placement is named, not told."""
        parts = [f"{edit.name} {edit.strength:+g}" for edit in self.edits]
        return ", ".join(parts + (["placed"] if self.transform is not None else [])) or "none"

    def to_json(self, *, embed: bool = True) -> str:
        """JSON text; with ``embed`` it holds the vectors and works anywhere, without it only their names."""
        from editkit.recipe_file import recipe_to_json

        return recipe_to_json(self, embed=embed)

    @classmethod
    def from_json(cls, text: str, *, source: str = "recipe") -> Recipe:
        """Parse what ``to_json`` wrote. Raises RecipeError, or SchemaError for a newer one."""
        from editkit.recipe_file import recipe_from_json

        return recipe_from_json(text, source=source)

    def save(self, path: str | os.PathLike[str], *, embed: bool = True) -> None:
        """Write JSON. Raises OutputError."""
        from editkit.recipe_file import write_recipe

        write_recipe(path, self, embed=embed)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recipe:
        """Read JSON. Raises RecipeError, or SchemaError for a newer file."""
        from editkit.recipe_file import read_recipe

        return read_recipe(path)


def apply_edits(latent: Latent, edits: Recipe | Edit | Iterable[Edit], *, generator: Generator | None = None) -> Latent:
    """The edited latent, in w+ (from w or w+), or in s where it was or an edit is.

    ``generator`` turns w+ into s, which edits in s need: first come the edits in w and w+, then those in s, each in
    the order given. A latent that is in s already takes edits in w and w+ through the generator too, whose styles are
    affine in w: they move by what the edit's step moves them.

    Raises:
        LatentError: the latent is in z, or a direction's space or layers do not go with it.
        GeneratorMismatchError: a direction of another generator than the latent's, or its parent.
        RecipeError: an edit only names its direction; ``directions.resolve(G, recipe)`` looks it up.
    """
    sequence = edits.edits if isinstance(edits, Recipe) else (edits,) if isinstance(edits, Edit) else tuple(edits)
    result = latent.require("w", "w+", "s").as_w_plus()
    for edit in sorted(sequence, key=_in_s):
        if _in_s(edit) and result.space != "s" and generator is not None:
            result = as_styles(result, generator)
        direction = _usable(edit, result, through=generator is not None)
        tensors: Tensor | dict[str, Tensor]
        if result.space != "s":
            tensors = _rows(result, direction, edit)
        elif direction.space == "s" or generator is None:
            tensors = _styles(result, direction, edit)
        else:
            tensors = _moved_styles(result, direction, edit, generator)
        if edit.strength != 0:  # checked above even at 0; adding 0 times a vector would turn -0.0 into 0.0
            result = replace(result, codes=tensors)
    return result


def as_styles(latent: Latent, generator: Generator) -> Latent:
    """A latent in w, w+ or s as one in s, differentiable. Raises LatentError for a generator without StyleSpace."""
    if latent.space == "s":
        return latent.check(generator.spec)
    make = getattr(generator, "styles", None)
    if make is None:
        raise LatentError(f"{generator.spec.name!r} has no StyleSpace; edit in w or w+")
    found: Latent = make(latent)
    return found


def mix(first: Latent, second: Latent, layers: Layers) -> Latent:
    """Style mixing: rows ``layers`` (in s: layers so named) of ``second``, the rest of ``first``; see Latent.mix."""
    return first.mix(second, layers)


def _in_s(edit: Edit) -> bool:
    return isinstance(edit.direction, Direction) and edit.direction.space == "s"


def _usable(edit: Edit, latent: Latent, *, through: bool) -> Direction:
    direction = edit.direction
    if isinstance(direction, str):
        raise RecipeError(f"edit {direction!r} only names its direction; look it up with directions.resolve(G, recipe)")
    if direction.generator not in (latent.generator, latent.parent):
        raise GeneratorMismatchError(
            f"direction {direction.name!r} was made for generator {direction.generator[:12]}, "
            f"this latent for {latent.generator[:12]}; use a direction of the latent's generator"
        )
    if (direction.space == "s") != (latent.space == "s") and not (through and latent.space == "s"):
        hint = "; say whose styles it has: apply_edits(latent, recipe, generator=G)"
        raise LatentError(
            f"direction {direction.name!r} is in {direction.space} and cannot be added to a latent in {latent.space}"
            f"{hint}"
        )
    return direction


def _rows(latent: Latent, direction: Direction, edit: Edit) -> Tensor:
    codes, vector = latent.tensor, direction.named_tensors()[direction.space]
    # w: [w_dim] goes to every row; w+: [num_ws, w_dim]
    if tuple(vector.shape) != tuple(codes.shape[-vector.ndim :]):
        found, needed = list(vector.shape), list(codes.shape[-vector.ndim :])
        raise DirectionError(f"direction {direction.name!r} is {found}, this latent needs {needed}")
    step = edit.strength * vector.to(codes)
    if edit.layers is None:
        return codes + step
    mask = torch.zeros(codes.shape[1], 1, dtype=torch.bool, device=codes.device)
    mask[checked_rows(edit.layers, codes.shape[1])] = True
    return torch.where(mask, codes + step, codes)  # other rows keep every bit


def _moved_styles(latent: Latent, direction: Direction, edit: Edit, generator: Generator) -> dict[str, Tensor]:
    """Styles after a step in w or w+: A (w + d) + b = (A w + b) + A d."""
    spec = generator.spec
    zero = latent.styles[next(iter(latent.styles))].new_zeros(1, spec.num_ws, spec.w_dim)
    still = Latent(space="w+", codes=zero, generator=latent.generator, parent=latent.parent)
    before = as_styles(still, generator).styles
    after = as_styles(replace(still, codes=_rows(still, direction, edit)), generator).styles
    checked_names(after, latent.styles)
    return {name: codes + (after[name] - before[name]).to(codes) for name, codes in latent.styles.items()}


def _styles(latent: Latent, direction: Direction, edit: Edit) -> dict[str, Tensor]:
    parts = {name.removeprefix("s."): part for name, part in direction.named_tensors().items()}
    checked_names(parts, latent.styles)
    chosen = list(parts) if edit.layers is None else checked_names(edit.layers, latent.styles)
    edited = dict(latent.styles)
    for name in chosen:
        if name not in parts:
            continue
        if parts[name].shape != edited[name].shape[1:]:
            found, needed = list(parts[name].shape), list(edited[name].shape[1:])
            raise DirectionError(f"direction {direction.name!r} is {found} in layer {name!r}, the latent {needed}")
        edited[name] = edited[name] + edit.strength * parts[name].to(edited[name])
    return edited

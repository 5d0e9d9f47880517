"""The file format of recipes: JSON that embeds its vectors (portable), or names them.

Convention: {"kind": "recipe", "schema", "written_by", "name", "generator", "transform", "edits": [{"direction",
"strength", "layers"}]}, where a direction is a name or an object with its header and ``vector``: tensor name ->
{"shape", "data"}, float32 little-endian in base64.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from editkit import __version__
from editkit.direction import Direction
from editkit.edits import Edit, Recipe
from editkit.errors import DirectionError, RecipeError, UsageError
from editkit.files import write_text
from editkit.tensorfile import parse_header
from editkit.transform import Transform

RECIPE_SCHEMA = 1


def recipe_to_json(recipe: Recipe, *, embed: bool = True) -> str:
    """JSON text of ``recipe``, ending in a newline; with ``embed`` it holds the vectors."""
    document = {
        "kind": "recipe",
        "schema": RECIPE_SCHEMA,
        "written_by": __version__,
        "name": recipe.name,
        "generator": recipe.generator,
        "transform": None if recipe.transform is None else recipe.transform.tolist(),
        "edits": [
            {
                "direction": _packed(edit.direction) if embed and isinstance(edit.direction, Direction) else edit.name,
                "strength": edit.strength,
                "layers": None if edit.layers is None else list(edit.layers),
            }
            for edit in recipe.edits
        ],
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def recipe_from_json(text: str, *, source: str = "recipe") -> Recipe:
    """Parse what ``recipe_to_json`` wrote; ``source`` names it in messages. Raises RecipeError or SchemaError."""
    document = parse_header(text, kind="recipe", schema=RECIPE_SCHEMA, error=RecipeError, source=source)
    try:
        placed = document.get("transform")
        return Recipe(
            name=str(document["name"]),
            edits=tuple(_edit(found) for found in document["edits"]),
            transform=None if placed is None else Transform.from_list(placed),
            generator=document.get("generator"),
            schema=RECIPE_SCHEMA,
        )
    except (KeyError, TypeError, AttributeError) as problem:
        raise RecipeError(f"{source}: lacks a part or holds a wrong one ({problem})") from problem
    except (RecipeError, DirectionError, UsageError) as problem:
        raise RecipeError(f"{source}: {problem}") from problem


def write_recipe(path: str | os.PathLike[str], recipe: Recipe, *, embed: bool = True) -> None:
    """Write ``recipe`` as JSON. Raises OutputError."""
    write_text(path, recipe_to_json(recipe, embed=embed))


def read_recipe(path: str | os.PathLike[str]) -> Recipe:
    """Read what ``write_recipe`` wrote. Raises RecipeError or SchemaError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such file; check the path") from None
    except OSError as problem:
        reason = problem.strerror or problem
        raise RecipeError(
            f"{path}: cannot be read ({reason}); check its permissions, or copy it elsewhere"
        ) from problem
    except UnicodeDecodeError as problem:
        raise RecipeError(f"{path}: cannot be read as a recipe ({problem}); a JSON file is needed") from problem
    return recipe_from_json(text, source=str(path))


def _packed(direction: Direction) -> dict[str, Any]:
    vector = {}
    for name, part in direction.named_tensors().items():
        data = part.detach().cpu().float().numpy().astype("<f4").tobytes()
        vector[name] = {"shape": list(part.shape), "data": base64.b64encode(data).decode("ascii")}
    return {**direction.header(), "vector": vector}


def _edit(found: Mapping[str, Any]) -> Edit:
    direction, layers = found["direction"], found.get("layers")
    if not isinstance(direction, str):
        tensors = {name: _unpacked(part) for name, part in direction["vector"].items()}
        direction = Direction.from_parts(direction, tensors)
    return Edit(direction, found["strength"], layers=None if layers is None else tuple(layers))


def _unpacked(part: Mapping[str, Any]) -> Tensor:
    shape = tuple(part["shape"])
    try:
        data = base64.b64decode(part["data"], validate=True)
    except (binascii.Error, ValueError) as problem:
        raise RecipeError(f"a vector is not base64 ({problem}); it may be damaged") from problem
    if not all(isinstance(n, int) and n > 0 for n in shape) or len(data) != 4 * math.prod(shape):
        raise RecipeError(f"a vector of shape {list(shape)} has {len(data)} bytes; it may be damaged")
    return torch.from_numpy(np.frombuffer(data, dtype="<f4").astype(np.float32).reshape(shape))

"""Ranges of directions that were found, cut where pictures leave what the generator's samples look like.

The bundled feature network is one of faces: of other pictures it cannot say. What samples look like to it
(``directions.likeness``) takes over a thousand of them, which are drawn once and kept.

File: safetensors, ``means.<kind>`` [D] and ``precisions.<kind>`` [D, D]; header {generator, network, samples}.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from directions.attributes import Scorer
from directions.calibration import counted, known_baseline, times
from directions.likeness import FACES, SAMPLES, Likeness
from directions.score import measure, sample_latents
from editkit.direction import Direction
from editkit.errors import DirectionError, EditkitError
from editkit.files import ensure_folder, user_folder
from editkit.labels import Classes
from editkit.perceptual import bundled_weights
from editkit.rendering import render
from editkit.tensorfile import read_tensors, write_tensors

if TYPE_CHECKING:
    from editkit.generator import Generator

PATIENCE = 150.0
"""Seconds of drawing that a range is cut for where nobody asked."""
_SCHEMA, _KIND = 1, "likeness"
_KINDS = 2  # the embedding, and the stages
_SEED = 410_000  # of the samples that a unit is measured on again


def why_not(G: Generator, *, asked: bool = False) -> str:
    """Why ranges of ``G`` are not cut, in words; "" where they are.

    ``asked``: however long that takes. Else it is timed on a picture, unless the samples are kept already.
    """
    if "face" not in (G.spec.domain or "") or G.spec.channels != 3:
        return "what pictures look like is only known of faces"
    if not bundled_weights().is_file():
        return "the feature network's weights are not at hand"
    if asked or _kept(G) is not None:
        return ""
    render(G, sample_latents(G, samples=1))  # the first picture of all takes longer
    begun = time.monotonic()
    render(G, sample_latents(G, samples=4))
    seconds = (time.monotonic() - begun) / 4 * SAMPLES
    return "" if seconds <= PATIENCE else f"that would take {seconds / 60:.0f} minutes here the first time: --cut"


def cut(
    G: Generator, direction: Direction, scorer: Scorer | None = None, *, classes: Classes | None = None
) -> Direction:
    """``direction`` over the part of its range on which pictures look like samples of ``G``.

    A unit stays one standard deviation of ``scorer``, which is measured again over what is left; without one a unit
    stays what it is. Raises DirectionError where nothing is left, or the score goes the other way within it.
    """
    low, high = _of(G).ends(G, direction)
    if (low, high) == direction.strength:
        return direction
    if high - low < 1e-3 * (direction.strength[1] - direction.strength[0]):
        raise DirectionError(f"pictures leave what samples look like as soon as {direction.name!r} is applied")
    shorter = replace(direction, strength=(low, high))
    if scorer is None:
        return replace(direction, strength=(round(low, 4), round(high, 4)))
    against = known_baseline(G, [scorer], classes=classes)
    options = {"against": against, "samples": FACES, "seed": _SEED, "classes": classes, "strengths": (low, high)}
    effect = counted(measure(G, shorter, [scorer], **options), scorer.name)  # type: ignore[arg-type]
    if effect <= 0:
        raise DirectionError(
            f"{direction.name!r} does not move {scorer.name} within what samples look like; keep its range: --no-cut"
        )
    return replace(times(shorter, 1 / effect), strength=(round(low * effect, 4), round(high * effect, 4)))


def _of(G: Generator) -> Likeness:
    """Of ``G``, from the file or made and kept."""
    found = _kept(G)
    if found is None:
        found = Likeness.of(G)
        tensors = {f"means.{i}": one.float() for i, one in enumerate(found.means)}
        tensors |= {f"precisions.{i}": one.float() for i, one in enumerate(found.precisions)}
        ensure_folder(_path(G).parent)
        write_tensors(_path(G), tensors, kind=_KIND, schema=_SCHEMA, header=_header(G))
    return found


def _kept(G: Generator) -> Likeness | None:
    """What is in the file; None where it is not there, damaged, or of another network."""
    try:
        tensors, header = read_tensors(_path(G), kind=_KIND, schema=_SCHEMA, error=DirectionError)
    except EditkitError:
        return None
    names = [f"{word}.{i}" for word in ("means", "precisions") for i in range(_KINDS)]
    wanted = _header(G)
    if {key: header.get(key) for key in wanted} != wanted or not set(names) <= set(tensors):
        return None
    parts: list[torch.Tensor] = [tensors[name].double() for name in names]
    return Likeness(means=tuple(parts[:_KINDS]), precisions=tuple(parts[_KINDS:]))


def _path(G: Generator) -> Path:
    return user_folder() / "likeness" / f"{G.spec.id[:12]}.safetensors"


def _header(G: Generator) -> dict[str, object]:
    digest = hashlib.sha256(bundled_weights().read_bytes()).hexdigest()[:12]
    return {"generator": G.spec.id, "network": digest, "samples": SAMPLES}

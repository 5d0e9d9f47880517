"""Directions that others published, as bare arrays: InterFaceGAN's boundaries, GANSpace's components, SeFa's vectors.

Convention: the last axis of an array is w_dim; before it come the rows of W+ where a direction has them, and before
those the directions: [w_dim], [1, w_dim], [K, w_dim], [K, 1, w_dim] in w, [num_ws, w_dim], [K, num_ws, w_dim] in w+.
A .npz of GANSpace holds ``lat_comp``, ``lat_stdev`` and ``lat_mean`` (Härkönen et al. 2020, section 3). Arrays do not
say which generator they belong to: who imports them does, and is believed unless the file's own mean says otherwise.
Nothing pickled is ever loaded. Directions in z are not edited along here, and are not imported.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from directions.attributes import Scorer
from directions.boundary import LinearSVM
from directions.calibration import calibrated, known_baseline
from directions.covariance import Spread, spread_of_w
from directions.methods import Progress
from editkit.direction import Direction
from editkit.errors import DirectionError, GeneratorMismatchError, LatentError
from editkit.labels import Classes
from editkit.latent_arrays import read_arrays

if TYPE_CHECKING:
    from editkit.generator import Generator, GeneratorSpec

SUFFIXES = (".npy", ".npz", ".safetensors")
RANGE = 3.0
_FAR = 0.5  # standard deviations of w between a file's mean and the generator's, from which on it is another's
_SAMPLES = 10_000
_ID_DIGITS = 8  # of an id, that name a generator


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Published:
    """What a file holds.

    Attributes:
        vectors: float64 [K, w_dim], or [K, num_ws, w_dim].
        source: the file, and which array of it.
        mean: [w_dim], of w, where the file says it.
    """

    vectors: Tensor
    source: str
    mean: Tensor | None = None


def read_published(path: str | Path, *, space: Literal["w", "w+"] = "w", key: str | None = None) -> Published:
    """The directions in a .npy or .npz; ``key`` names the array where a .npz holds several.

    Raises DirectionError: unreadable, pickled, another kind of file, several arrays, or a shape of none of the above.
    """
    file = Path(path)
    if file.suffix.lower() not in SUFFIXES[:2]:
        raise DirectionError(
            f"{file}: directions are imported from {', '.join(SUFFIXES)}, got {file.suffix or 'none'!r}"
        )
    try:
        arrays = read_arrays(file)
    except LatentError as problem:
        raise DirectionError(str(problem)) from problem
    name = _chosen(arrays, file, key)
    array = arrays[name].double()
    source = f"{file.name}{f', {name}' if name else ''}"
    if space == "w":
        if array.ndim == 3 and array.shape[1] == 1:
            array = array[:, 0]
        array = array[None] if array.ndim == 1 else array
    else:
        array = array[None] if array.ndim == 2 else array
    if array.ndim != (2 if space == "w" else 3):
        shapes = "[w_dim], [K, w_dim] or [K, 1, w_dim]" if space == "w" else "[num_ws, w_dim] or [K, num_ws, w_dim]"
        raise DirectionError(f"{source}: directions in {space} are {shapes}, got {list(arrays[name].shape)}")
    if not bool(torch.isfinite(array).all()):
        raise DirectionError(f"{source}: holds NaN or infinite values; get the file again")
    mean = arrays["lat_mean"].double().flatten() if name == "lat_comp" and "lat_mean" in arrays else None
    return Published(vectors=array, source=source, mean=mean)


def import_directions(
    G: Generator,
    path: str | Path,
    *,
    name: str,
    space: Literal["w", "w+"] = "w",
    chosen: Iterable[int] | None = None,
    layers: Iterable[int] | None = None,
    key: str | None = None,
    made_for: str | None = None,
    refit: Scorer | None = None,
    classes: Classes | None = None,
    on_progress: Progress | None = None,
) -> tuple[Direction, ...]:
    """Directions of a .npy, a .npz, or a .safetensors of ours, for ``G``.

    Lengths in a file are not trusted: a unit is one standard deviation of G's own w along the vector.

    Args:
        name: of the direction; several are called <name>-<number in the file>.
        space: of arrays, "w" or "w+".
        chosen: which of several, counted from 0; all by default.
        layers: rows of W+ to which they are limited.
        made_for: name or id (its first digits will do) of the generator that an array was made for, where known.
        refit: ask for directions of another generator all the same: each is tried on G and put in units of this score;
            where it does not fit, or does not move the score by a standard deviation within a safe range, a boundary
            for the score is fitted on G instead.

    Raises:
        GeneratorMismatchError: made for another generator, and ``refit`` was not asked for.
        DirectionError: an unreadable file, a wrong shape, or vectors along which w does not vary.
    """
    file = Path(path)
    if file.suffix.lower() == ".safetensors":
        held = replace(Direction.load(file), name=name)
        if not _other(held.generator, G.spec):
            held.check(G.spec)
            return (held if layers is None else held.on_layers(tuple(layers), num_ws=G.spec.num_ws),)
        if refit is None:
            raise _mismatch(file, held.generator[:12], G.spec)
        return (_refitted(G, held, refit, classes, on_progress, source=file.name),)
    found = read_published(file, space=space, key=key)
    spread = spread_of_w(G, samples=max(_SAMPLES, 2 * G.spec.w_dim), classes=classes)
    foreign = made_for is not None and _other(made_for, G.spec)
    if foreign and refit is None:
        raise _mismatch(file, str(made_for), G.spec)
    if not foreign and found.mean is not None and (far := _distance(found.mean, spread)) > _FAR:
        foreign = True
        if refit is None:
            raise _mismatch(file, f"another: its mean of w is {far:.1f} standard deviations off, made", G.spec)
    wanted = (G.spec.w_dim,) if space == "w" else (G.spec.num_ws, G.spec.w_dim)
    fits = tuple(found.vectors.shape[1:]) == wanted
    if not fits and not foreign:
        got = list(found.vectors.shape[1:])
        raise DirectionError(f"{found.source}: vectors of {G.spec.name!r} in {space} are {list(wanted)}, got {got}")
    count = len(found.vectors)
    numbers = list(range(count)) if chosen is None else list(chosen)
    if not numbers or any(not 0 <= number < count for number in numbers):
        raise DirectionError(f"{found.source}: holds directions 0 to {count - 1}, asked for {numbers}")
    made = []
    for number in numbers:
        label = name if len(numbers) == 1 else f"{name}-{number}"
        one = _unit(G, found.vectors[number], spread, label, found.source, number) if fits else None
        if one is not None and layers is not None:
            one = one.on_layers(tuple(layers), num_ws=G.spec.num_ws)
        if foreign and refit is not None:
            source = f"{found.source}, direction {number}"
            made.append(_refitted(G, one, refit, classes, on_progress, source=source, name=label))
        elif one is not None:
            made.append(one)
    return tuple(made)


def _unit(G: Generator, vector: Tensor, spread: Spread, name: str, source: str, number: int) -> Direction:
    """``vector`` [w_dim] or [num_ws, w_dim] scaled to one standard deviation of w along it, over the rows it moves."""
    rows = vector.reshape(-1, G.spec.w_dim)
    moved = rows[(rows != 0).any(1)]
    size = float(moved.square().sum(1).mean().sqrt()) if len(moved) else 0.0
    along = torch.einsum("rd,de,re->r", moved, spread.covariance, moved).clamp(min=0).mean() if len(moved) else 0
    deviation = float(along) ** 0.5 / size if size else 0.0
    if deviation <= 1e-6 * float(spread.covariance.diagonal().sum()) ** 0.5:
        raise DirectionError(f"{source}: w of {G.spec.name!r} does not vary along direction {number}; leave it out")
    return Direction(
        name=name,
        vector=(vector * (deviation / size)).float(),
        space="w" if vector.ndim == 1 else "w+",
        generator=G.spec.id,
        strength=(-RANGE, RANGE),
        unit="one standard deviation of w along the direction",
        method="imported",
        reference=f"{source}, direction {number}",
    )


def _refitted(
    G: Generator,
    one: Direction | None,
    scorer: Scorer,
    classes: Classes | None,
    on_progress: Progress | None,
    *,
    source: str,
    name: str | None = None,
) -> Direction:
    name = name if one is None else one.name
    try:
        if one is not None:
            own = replace(one, generator=G.spec.id, scores={}).check(G.spec)
            against = known_baseline(G, [scorer], classes=classes)
            tried = calibrated(G, own, scorer, against=against, classes=classes)
            if tried.strength[1] >= 1:
                return replace(tried, method="imported, calibrated here", reference=f"{source}, of another generator")
    except DirectionError:
        pass  # of another shape, or it does not move the score
    (fresh,) = LinearSVM(scorer=scorer, classes=classes).find(G, on_progress=on_progress)
    return replace(fresh, name=name or fresh.name, reference=f"in place of {source}; {fresh.reference}")


def _distance(mean: Tensor, spread: Spread) -> float:
    """Root mean square over dimensions, in standard deviations of w; infinite for another width."""
    if mean.shape != spread.mean.shape:
        return float("inf")
    return float(((mean - spread.mean).square().sum() / spread.covariance.diagonal().sum()).sqrt())


def _other(generator: str, spec: GeneratorSpec) -> bool:
    known = [identity for identity in (spec.id, spec.parent_id) if identity]
    told = generator.strip()
    by_id = len(told) >= _ID_DIGITS and any(identity.startswith(told.lower()) for identity in known)
    return not (by_id or told == spec.name)


def _mismatch(file: Path, made_for: str, spec: GeneratorSpec) -> GeneratorMismatchError:
    return GeneratorMismatchError(
        f"{file}: made for {made_for}, not for {spec.name!r}, {spec.id[:12]}; load the generator it was made for, or "
        "ask for a re-fit to a score (--refit ATTRIBUTE)"
    )


def _chosen(arrays: dict[str, Tensor], file: Path, key: str | None) -> str:
    if key is None and "lat_comp" in arrays:
        return "lat_comp"
    if key is None and len(arrays) == 1:
        return next(iter(arrays))
    if key is None or key not in arrays:
        shown = ", ".join(f"{name or 'array'} {list(array.shape)}" for name, array in arrays.items())
        asked = "several arrays; choose one with key (--key)" if key is None else f"no array called {key!r}"
        raise DirectionError(f"{file}: {asked}: {shown[:300]}")
    return key

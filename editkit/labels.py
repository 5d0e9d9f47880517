"""Class labels of conditional generators.

Convention: a label is [N, c_dim] float32 on the CPU: one-hot for a class, or dense values. Where none is asked for, the
label is drawn for each seed, the same for that seed on every machine and independent of z: from the labels that the
generator was trained on where its file tells them (``editkit.label_prior``), else uniform over the classes. A generator
with ``c_dim`` 0 has no labels, and its label is None.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from editkit.errors import UsageError

if TYPE_CHECKING:
    from editkit.generator import GeneratorSpec
    from editkit.label_prior import LabelPrior

Classes = int | str | Sequence[int | str] | Sequence[float] | Tensor
"""An index, a name, one of them a sample, or dense values: [c_dim] for all samples or [N, c_dim]."""


def label_tensor(spec: GeneratorSpec, classes: Classes, *, count: int) -> Tensor:
    """The label [count, c_dim] for ``classes`` of the generator of ``spec``.

    Args:
        classes: an index (3, "3"), a name ("cat", any case), a sequence with one of them a sample, or dense values: a
            floating tensor [c_dim] or [count, c_dim], or c_dim floats. Text of digits is an index; text with commas
            that is no name ("3,cat") is one a sample.
        count: of samples; a single class goes with any.

    Raises:
        UsageError: the generator is unconditional, the class is unknown or out of range, or counts do not agree.
    """
    if spec.c_dim == 0:
        raise UsageError(f"{spec.name!r} has no classes (c_dim 0); leave the class {classes!r:.40} out")
    if isinstance(classes, Tensor) and classes.is_floating_point():
        return _dense(spec, classes.detach().cpu().float(), count)
    if isinstance(classes, Tensor):
        classes = classes.tolist()
    if isinstance(classes, str) and "," in classes and not _named(spec, classes):
        classes = [part.strip() for part in classes.split(",")]
    if isinstance(classes, int | str):
        return _one_hot(spec, [class_index(spec, classes)] * count)
    if not isinstance(classes, Sequence) or not classes:
        raise UsageError(f"a class is an index, a name, a sequence of them or dense values, got {classes!r:.60}")
    if any(isinstance(value, float) for value in classes):
        if not all(isinstance(value, Real) for value in classes):
            raise UsageError(f"dense label values are numbers, got {classes!r:.60}")
        return _dense(spec, torch.tensor([float(value) for value in classes]), count)
    if len(classes) not in (1, count):
        raise UsageError(f"{len(classes)} classes do not go with {count} samples; give one, or one a sample")
    found = [class_index(spec, one) for one in classes]  # type: ignore[arg-type]  # no floats are left
    return _one_hot(spec, found * count if len(found) == 1 else found)


def class_index(spec: GeneratorSpec, one: int | str) -> int:
    """The index of a class given by index or name. Raises UsageError: unknown, or out of range."""
    if isinstance(one, str) and one.strip().lstrip("-").isdecimal():
        one = int(one)
    if isinstance(one, int) and not isinstance(one, bool):
        if not 0 <= one < spec.c_dim:
            raise UsageError(f"{spec.name!r} has the classes 0 to {spec.c_dim - 1}, got {one}")
        return one
    names = class_names(spec)
    if not names:
        raise UsageError(f"{spec.name!r} names no classes; give an index from 0 to {spec.c_dim - 1}, not {one!r:.40}")
    matches = _named(spec, str(one))
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UsageError(f"{spec.name!r} has {len(matches)} classes named {one!r}; give an index: {matches}")
    shown = ", ".join(names[:40]) + (f" and {len(names) - 40} more" if len(names) > 40 else "")
    raise UsageError(f"{spec.name!r} has no class {one!r:.40}; it has {shown}")


def class_names(spec: GeneratorSpec) -> tuple[str, ...]:
    """Names of the classes, by index; empty where the checkpoint has none."""
    return tuple(getattr(spec, "class_names", None) or ())


def _prior(spec: GeneratorSpec) -> LabelPrior | None:
    return getattr(spec, "labels", None)


def _named(spec: GeneratorSpec, text: str) -> list[int]:
    """The classes of that name, in any case."""
    return [index for index, name in enumerate(class_names(spec)) if name.casefold() == text.strip().casefold()]


def seeded_classes(spec: GeneratorSpec, seeds: Sequence[int]) -> tuple[int, ...]:
    """The class that each seed draws; where nothing is known of the data, sha256 of "class <seed>" modulo c_dim.

    Empty for an unconditional generator, and for one whose labels are vectors.
    """
    prior = _prior(spec)
    if spec.c_dim == 0 or (prior is not None and prior.vectors):
        return ()
    if prior is not None:
        return prior.classes(seeds)
    digests = (hashlib.sha256(f"class {int(seed)}".encode()).digest() for seed in seeds)
    return tuple(int.from_bytes(digest[:8], "big") % spec.c_dim for digest in digests)


def labels_for_seeds(spec: GeneratorSpec, seeds: Sequence[int], classes: Classes | None = None) -> Tensor | None:
    """The label [len(seeds), c_dim]: of ``classes`` where given, else what each seed draws.

    None for an unconditional generator. Raises UsageError as ``label_tensor`` does.
    """
    if classes is not None:
        return label_tensor(spec, classes, count=len(seeds))
    prior = _prior(spec)
    if prior is not None:
        return prior.draw(seeds)
    return _one_hot(spec, seeded_classes(spec, seeds)) if spec.c_dim else None


def _one_hot(spec: GeneratorSpec, indices: Sequence[int]) -> Tensor:
    return torch.nn.functional.one_hot(torch.tensor(indices, dtype=torch.long), spec.c_dim).float()


def _dense(spec: GeneratorSpec, values: Tensor, count: int) -> Tensor:
    if values.ndim not in (1, 2) or values.shape[-1] != spec.c_dim or (values.ndim == 2 and len(values) != count):
        raise UsageError(
            f"dense labels of {spec.name!r} are [{spec.c_dim}] or [{count}, {spec.c_dim}], got {list(values.shape)}"
        )
    if not all(math.isfinite(value) for value in values.flatten().tolist()):
        raise UsageError("dense labels are finite numbers, got NaN or infinity")
    return values.expand(count, -1).clone()

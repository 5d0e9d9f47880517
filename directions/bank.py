"""A bank of labelled samples: what every score says of a generator's own pictures, by seed.

A bank keeps seeds and scores only; latents come from the seeds again, which takes a thousandth of the time of the
pictures. Labelling goes on where it stopped. File: safetensors, ``<score>`` float32 [N] each, sample i of seed
``seed + i``; header {generator, seed, samples}.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from directions import attributes
from directions.attributes import Scorer
from directions.methods import Progress
from editkit.errors import DirectionError, GeneratorMismatchError
from editkit.files import ensure_folder, user_folder
from editkit.labels import Classes
from editkit.latent import Latent
from editkit.rendering import render
from editkit.sampling import sample_w
from editkit.tensorfile import read_tensors, write_tensors

if TYPE_CHECKING:
    from editkit.generator import Generator

SCHEMA = 1
_KEEP_EVERY = 512  # samples between two writes


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SampleBank:
    """Scores of the seeds ``seed`` to ``seed + len(bank) - 1`` of one generator.

    Attributes:
        generator: its id.
        seed: of the first sample.
        scores: name -> float32 [N].
    """

    generator: str
    seed: int
    scores: Mapping[str, Tensor]

    def __len__(self) -> int:
        return min((len(values) for values in self.scores.values()), default=0)

    def latents(self, G: Generator, *, count: int | None = None, classes: Classes | None = None) -> Latent:
        """The first ``count`` samples (all by default) in w."""
        self.check(G)
        return sample_w(G, range(self.seed, self.seed + (len(self) if count is None else count)), classes=classes)

    def check(self, G: Generator) -> SampleBank:
        """Self, if it is of ``G`` or its parent. Raises GeneratorMismatchError."""
        if self.generator not in (G.spec.id, G.spec.parent_id):
            raise GeneratorMismatchError(
                f"this bank was labelled on generator {self.generator[:12]}, not on {G.spec.name!r}, "
                f"{G.spec.id[:12]}; label its own samples with `editkit directions label`"
            )
        return self

    def save(self, path: Path) -> None:
        """Write a safetensors file. Raises OutputError."""
        header = {"generator": self.generator, "seed": self.seed, "samples": len(self)}
        write_tensors(path, dict(self.scores), kind="sample bank", schema=SCHEMA, header=header)

    @classmethod
    def load(cls, path: Path) -> SampleBank:
        """Read what ``save`` wrote. Raises DirectionError: missing, damaged, NaN; SchemaError: too new."""
        tensors, header = read_tensors(path, kind="sample bank", schema=SCHEMA, error=DirectionError)
        generator, seed = header.get("generator"), header.get("seed")
        if not isinstance(generator, str) or not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise DirectionError(f"{path}: this sample bank does not say its generator and first seed; make it again")
        for name, values in tensors.items():
            if values.ndim != 1 or not values.is_floating_point() or not bool(torch.isfinite(values).all()):
                raise DirectionError(f"{path}: the scores of {name!r} are not finite numbers, one a sample")
        return cls(generator=generator, seed=seed, scores={name: values.float() for name, values in tensors.items()})


def labelled(
    G: Generator,
    scorers: Sequence[Scorer],
    *,
    samples: int = 10_000,
    seed: int = 0,
    classes: Classes | None = None,
    batch: int = 32,
    path: Path | None = None,
    on_progress: Progress | None = None,
) -> SampleBank:
    """Scores of ``samples`` samples by all ``scorers``: kept ones are used, what is missing is rendered and kept.

    Ctrl-C loses at most the last few hundred; the next call goes on.

    Args:
        scorers: see ``directions.attributes``; a scorer is known by its name.
        samples, seed: of the seeds ``seed`` and up.
        classes: of a conditional generator, see ``editkit.labels``; by default each seed draws its own. Banks of chosen
            classes are not kept.
        path: the file; by default the user's own for this generator, begun from the one that came with the package.
        on_progress: called with (done, total) samples.

    Raises:
        DirectionError: no samples asked for, a scorer that gives NaN, or a damaged file.
        OutputError: the file cannot be written.
    """
    if samples < 1:
        raise DirectionError(f"a bank needs at least one sample, got {samples}")
    names = [each.name for each in scorers]
    kept = _known(G, seed, path) if classes is None else SampleBank(generator=G.spec.id, seed=seed, scores={})
    scores = {name: values for name, values in kept.scores.items()}
    where = path or user_bank(G.spec.id)
    done = min(len(scores.get(name, ())) for name in names) if names else 0
    unsaved = 0
    try:
        while done < samples:
            stop = min(done + batch, samples)
            latents = sample_w(G, range(seed + done, seed + stop), classes=classes)
            missing = [each for each in scorers if len(scores.get(each.name, ())) < stop]
            found = attributes.label(render(G, latents, batch=batch), missing)
            for name, values in found.items():
                check_scores(name, values)
                begun = scores.get(name, torch.zeros(0))[:done]
                scores[name] = torch.cat([begun, values.float()])
            unsaved += stop - done
            done = stop
            if on_progress is not None:
                on_progress(done, samples)
            if unsaved >= _KEEP_EVERY and done < samples and classes is None:
                _save(G, seed, scores, where)
                unsaved = 0
    finally:
        if unsaved and classes is None:
            _save(G, seed, scores, where)
    return SampleBank(generator=G.spec.id, seed=seed, scores={name: scores[name][:samples] for name in names})


def check_scores(name: str, values: Tensor) -> None:
    """Raises DirectionError for NaN or infinite scores."""
    if not bool(torch.isfinite(values).all()):
        raise DirectionError(f"the scorer {name!r} gives NaN or infinite values on some pictures; mend it")


def bundled_bank(generator: str) -> Path:
    """Where the bank that comes with the package lies, if there is one for the generator of that id."""
    return Path(str(importlib.resources.files("directions"))) / "bundled" / f"{generator[:12]}.bank.safetensors"


def user_bank(generator: str) -> Path:
    """Where the user's own bank of a generator is kept."""
    return user_folder() / "banks" / f"{generator[:12]}.safetensors"


def _known(G: Generator, seed: int, path: Path | None) -> SampleBank:
    """What is kept of these seeds; of several files the longer scores."""
    scores: dict[str, Tensor] = {}
    for file in (user_bank(G.spec.id), bundled_bank(G.spec.id)) if path is None else (path,):
        if not file.is_file():
            continue
        kept = SampleBank.load(file)
        if kept.generator != G.spec.id or kept.seed != seed:
            continue
        for name, values in kept.scores.items():
            if len(values) > len(scores.get(name, ())):
                scores[name] = values
    return SampleBank(generator=G.spec.id, seed=seed, scores=scores)


def _save(G: Generator, seed: int, scores: Mapping[str, Tensor], path: Path) -> None:
    ensure_folder(path.parent)
    SampleBank(generator=G.spec.id, seed=seed, scores=scores).save(path)

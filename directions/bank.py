"""A bank of labelled samples: what scorers say of a generator's own pictures, by seed.

A bank keeps seeds and scores only; latents come from the seeds again, which takes a thousandth of the time of the
pictures. Labelling goes on where it stopped, after Ctrl-C or a killed process alike.

File: safetensors, ``<score>`` float [N] each, sample i of seed ``seed + i``; header {generator, seed, identities}. A
score whose scorer has changed since (``Scorer.identity``) is labelled again.
"""

from __future__ import annotations

import importlib.resources
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from editkit.locks import locked
from editkit.rendering import render
from editkit.sampling import sample_w
from editkit.tensorfile import read_tensors, write_tensors

if TYPE_CHECKING:
    from editkit.generator import Generator

SCHEMA = 1
SAMPLES = 10_000
"""How many samples are labelled where nothing else is asked for."""
BUNDLED_SUFFIX = ".bank.safetensors"
_KEEP_EVERY = 256  # samples between two writes

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SampleBank:
    """Scores of samples of one generator. Some scores may be of more samples than others.

    Attributes:
        generator: its id.
        seed: of the first sample; sample i has ``seed + i``.
        scores: name -> float32 [N], finite.
        identities: name -> ``Scorer.identity`` of the scorer that gave them.
    """

    generator: str
    seed: int
    scores: Mapping[str, Tensor]
    identities: Mapping[str, str]

    def __post_init__(self) -> None:
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise DirectionError(f"a sample bank's seed is a whole number from 0 on, got {self.seed!r}")
        for name, values in self.scores.items():
            if not isinstance(values, Tensor) or values.ndim != 1 or not values.is_floating_point():
                raise DirectionError(f"the scores of {name!r} in a sample bank are floating point, one a sample")
            check_scores(name, values)
            if not isinstance(self.identities.get(name), str):
                raise DirectionError(f"a sample bank does not say which scorer gave {name!r}; label it again")

    def __len__(self) -> int:
        """Samples that all scores are known of."""
        return min((len(values) for values in self.scores.values()), default=0)

    def latents(self, G: Generator, *, count: int | None = None, classes: Classes | None = None) -> Latent:
        """The first ``count`` samples (all by default) in w. Raises GeneratorMismatchError."""
        self.check(G)
        return sample_w(G, range(self.seed, self.seed + (len(self) if count is None else count)), classes=classes)

    def check(self, G: Generator) -> SampleBank:
        """Self, if it is of ``G``. Raises GeneratorMismatchError: another one's pictures score otherwise."""
        if self.generator != G.spec.id:
            raise GeneratorMismatchError(
                f"this sample bank was labelled on generator {self.generator[:12]}, not on {G.spec.name!r}, "
                f"{G.spec.id[:12]}; give another file name, and its own samples are labelled"
            )
        return self

    def of(self, scorers: Sequence[Scorer]) -> SampleBank:
        """The scores that these scorers, unchanged, have given."""
        same = [each.name for each in scorers if self.identities.get(each.name) == each.identity]
        return SampleBank(
            generator=self.generator,
            seed=self.seed,
            scores={name: self.scores[name] for name in same},
            identities={name: self.identities[name] for name in same},
        )

    def merged(self, other: SampleBank) -> SampleBank:
        """Both together; where both know a score, the one of more samples, self's at a draw.

        Raises DirectionError for other seeds, GeneratorMismatchError for another generator.
        """
        if other.generator != self.generator:
            raise GeneratorMismatchError(
                f"sample banks of generators {self.generator[:12]} and {other.generator[:12]} do not go together"
            )
        if other.seed != self.seed:
            raise DirectionError(
                f"sample banks from seed {self.seed} and from seed {other.seed} do not go together; keep two files"
            )
        longer = {name: v for name, v in other.scores.items() if len(v) > len(self.scores.get(name, ()))}
        identities = {name: other.identities[name] for name in longer}
        return SampleBank(
            generator=self.generator,
            seed=self.seed,
            scores={**self.scores, **longer},
            identities={**self.identities, **identities},
        )

    def save(self, path: Path, *, dtype: torch.dtype = torch.float32) -> None:
        """Write a safetensors file, whole or not at all. Raises OutputError."""
        header = {"generator": self.generator, "seed": self.seed, "identities": dict(self.identities)}
        tensors = {name: values.to(dtype) for name, values in self.scores.items()}
        write_tensors(path, tensors, kind="sample bank", schema=SCHEMA, header=header)

    @classmethod
    def load(cls, path: Path) -> SampleBank:
        """Read what ``save`` wrote.

        Raises DirectionError: missing, damaged, of another kind, or with NaN; SchemaError: too new.
        """
        tensors, header = read_tensors(path, kind="sample bank", schema=SCHEMA, error=DirectionError)
        generator, identities = header.get("generator"), header.get("identities")
        if not isinstance(generator, str) or not isinstance(identities, dict):
            raise DirectionError(f"{path}: this sample bank does not say its generator and scorers; remove it")
        try:
            return cls(
                generator=generator,
                seed=header.get("seed"),  # type: ignore[arg-type]  # checked when made
                scores={name: v.float() if v.is_floating_point() else v for name, v in tensors.items()},
                identities=identities,
            )
        except DirectionError as problem:
            raise DirectionError(f"{path}: {problem}") from problem


def labelled(
    G: Generator,
    scorers: Sequence[Scorer],
    *,
    samples: int = SAMPLES,
    seed: int = 0,
    classes: Classes | None = None,
    batch: int = 32,
    path: Path | None = None,
    on_progress: Progress | None = None,
) -> SampleBank:
    """Scores of ``samples`` samples by all ``scorers``: kept ones are used, what is missing is rendered and kept.

    Whatever ends it loses at most the last few hundred; the next call goes on. Scores that are known of all samples
    cost nothing, so the bank that comes with the package makes this immediate.

    Args:
        scorers: see ``directions.attributes``; one is known by its ``identity``.
        samples, seed: of the seeds ``seed`` and up.
        classes: of a conditional generator, see ``editkit.labels``; by default each seed draws its own. Banks of chosen
            classes are not kept.
        batch: pictures at once.
        path: the file; by default the user's own for this generator, begun from the one that came with the package.
        on_progress: called with (done, total) samples.

    Raises:
        DirectionError: no samples asked for, a scorer that gives NaN, or a file that is damaged or of other seeds.
        GeneratorMismatchError: a file of another generator.
        OutputError: the file cannot be written.
    """
    if samples < 1:
        raise DirectionError(f"a sample bank needs at least one sample, got {samples}")
    if not scorers:
        raise DirectionError("a sample bank needs a scorer")
    where = path or user_bank(G.spec.id, seed)
    begun = known(G, scorers, seed=seed, path=path) if classes is None else _empty(G, seed)
    scores = dict(begun.scores)
    identities = {each.name: each.identity for each in scorers}
    done = first = min(min(len(scores.get(name, ())) for name in identities), samples)
    if 0 < done < samples:
        log.info("%d of %d samples are labelled already", done, samples)

    def keep() -> None:
        if classes is None:
            _keep(SampleBank(generator=G.spec.id, seed=seed, scores=scores, identities=identities), where)

    unsaved = 0
    try:
        while done < samples:
            stop = min(done + batch, samples)
            latents = sample_w(G, range(seed + done, seed + stop), classes=classes)
            missing = [each for each in scorers if len(scores.get(each.name, ())) < stop]
            found = attributes.label(render(G, latents, batch=batch), missing)
            for name, values in found.items():
                check_scores(name, values)
            for name, values in found.items():
                scores[name] = torch.cat([scores.get(name, torch.zeros(0))[:done], values.float()])
            done, unsaved = stop, unsaved + stop - done
            if on_progress is not None:
                on_progress(done, samples)
            if unsaved >= _KEEP_EVERY:
                keep()
                unsaved = 0
    finally:
        if unsaved:
            keep()
    if done == first and on_progress is not None:
        on_progress(samples, samples)
    cut = {name: scores[name][:samples] for name in identities}
    return SampleBank(generator=G.spec.id, seed=seed, scores=cut, identities=identities)


def known(G: Generator, scorers: Sequence[Scorer], *, seed: int = 0, path: Path | None = None) -> SampleBank:
    """What is kept of these seeds and scorers; the package's own bank is looked at unless the file was chosen.

    Nothing is labelled; the bank may be empty. Raises as ``labelled``.
    """
    found, own = _empty(G, seed), path or user_bank(G.spec.id, seed)
    if own.is_file():
        found = found.merged(_readable(own).check(G).of(scorers))
    return found.merged(_shipped(G, scorers, seed)) if path is None else found


def usual_samples(G: Generator, scorers: Sequence[Scorer], *, seed: int = 0) -> int:
    """How many samples to take where nobody says: all of the shipped bank, so that nothing is labelled, or 10,000."""
    shipped = _shipped(G, scorers, seed).scores
    return min(len(shipped.get(each.name, ())) for each in scorers) or SAMPLES


def check_scores(name: str, values: Tensor) -> None:
    """Raises DirectionError for NaN or infinite scores."""
    if not bool(torch.isfinite(values).all()):
        raise DirectionError(f"the scorer {name!r} gives NaN or infinite values on some pictures; mend it")


def bundled_bank(generator: str) -> Path:
    """Where the bank that comes with the package lies, if there is one for the generator of that id."""
    return Path(str(importlib.resources.files("directions"))) / "bundled" / f"{generator[:12]}{BUNDLED_SUFFIX}"


def user_bank(generator: str, seed: int = 0) -> Path:
    """Where the user's own bank of a generator is kept: a file for each first seed."""
    return user_folder() / "banks" / f"{generator[:12]}-{seed}.safetensors"


def _empty(G: Generator, seed: int) -> SampleBank:
    return SampleBank(generator=G.spec.id, seed=seed, scores={}, identities={})


def _shipped(G: Generator, scorers: Sequence[Scorer], seed: int) -> SampleBank:
    """What the bank that comes with the package says of these seeds and scorers."""
    path = bundled_bank(G.spec.id)
    found = SampleBank.load(path) if path.is_file() else _empty(G, seed)
    return found.of(scorers) if found.generator == G.spec.id and found.seed == seed else _empty(G, seed)


def _readable(path: Path) -> SampleBank:
    try:
        return SampleBank.load(path)
    except DirectionError as problem:
        raise DirectionError(f"{problem}; remove it to label again") from problem


def _keep(found: SampleBank, path: Path) -> None:
    """Write what was found together with what others have kept there meanwhile."""
    ensure_folder(path.parent)
    with locked(path.with_name(path.name + ".lock")):
        kept = SampleBank.load(path) if path.is_file() else found
        stale = [name for name, one in found.identities.items() if kept.identities.get(name, one) != one]
        scores = {name: values for name, values in kept.scores.items() if name not in stale}
        found.merged(replace(kept, scores=scores)).save(path)

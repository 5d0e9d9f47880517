"""Several metrics of one generator in one go: every network runs once over the pictures, whatever is asked for.

Distances need real pictures; path length, equivariance and separability do not. See the modules of this package for
each formula.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from editkit.errors import UsageError
from train.metrics.backbone_features import read_features
from train.metrics.equivariance import equivariance
from train.metrics.extractors import Extractor, FaceFeatures, load_extractor
from train.metrics.feature_sets import features_of, real_features, sample_batches
from train.metrics.frechet import frechet_distance, statistics
from train.metrics.inception_score import inception_score, probabilities_of
from train.metrics.kid import kernel_distance
from train.metrics.pictures import Pictures
from train.metrics.ppl import path_length
from train.metrics.precision_recall import precision_recall
from train.metrics.separability import linear_separability
from train.metrics.spectra import average_spectrum, radial_slice, spectral_gap, whitening

if TYPE_CHECKING:
    from editkit.generator import Generator
    from editkit.labels import Classes

FACES = ("fd_faces", "kid_faces", "pr_faces")
INCEPTION = ("fid", "kid", "pr", "is")
GIVEN = ("fd_features", "kid_features", "pr_features")
SEPARABILITY = ("ls_faces_z", "ls_faces_w")
WITHOUT_DATA = ("ppl", "ppl_faces", "eqt_integer", "eqt_fractional", "eqr", *SEPARABILITY)
METRICS = (*FACES, *INCEPTION, *GIVEN, *WITHOUT_DATA, "spectra")
SHORT = {"eqt": ("eqt_integer", "eqt_fractional"), "ls_faces": SEPARABILITY, "separability": SEPARABILITY}
_FEWEST = 16  # pictures in a set: below it every distance is noise
Progress = Callable[[str, int, int], object]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Panel:
    """Figures by name, and what they were taken from: counts, networks, spectra."""

    values: dict[str, float]
    facts: dict[str, Any]
    spectra: dict[str, Tensor]  # "real" and "fake" where asked for


def measure_panel(
    G: Generator,
    *,
    metrics: Sequence[str] = ("fd_faces",),
    data: str | Path | None = None,
    samples: int = 1000,
    real_limit: int | None = None,
    inception: str | Path | None = None,
    features: str | None = None,
    seed: int = 0,
    classes: Classes | None = None,
    batch: int = 16,
    on_progress: Progress | None = None,
) -> Panel:
    """Measures ``G``.

    Args:
        metrics: of ``METRICS``, or a name of ``SHORT`` for all of its kinds.
        data: folder or zip of the real pictures; needed by distances and spectra.
        samples: pictures of the generator, for all metrics; the seeds from ``seed`` on.
        real_limit: of the real pictures, the first so many; all by default.
        inception: path or URL of the network of fid, kid, pr and is, see ``train.metrics.extractors``.
        features: the network of fd_features, kid_features and pr_features, see
            ``train.metrics.backbone_features``; their figures are named after it.
        classes: of a conditional generator; drawn for each seed by default.

    Raises:
        UsageError: an unknown metric, no data where some is needed, too few pictures.
        TrainingDataError: the data cannot be read. MissingWeightsError, CheckpointError: the network cannot.
    """
    wanted = _expanded(metrics)
    if samples < 1 or batch < 1 or (real_limit is not None and real_limit < 1):
        raise UsageError(
            f"samples, batch and the limit of real pictures are from 1, got {samples}, {batch}, {real_limit}"
        )
    say = on_progress or (lambda what, done, total: None)
    values: dict[str, float] = {}
    facts: dict[str, Any] = {"generator": G.spec.name, "generator_id": G.spec.id, "samples": samples, "seed": seed}
    spectra: dict[str, Tensor] = {}
    comparing = [name for name in wanted if name not in WITHOUT_DATA]
    if any(name in GIVEN for name in wanted) != (features is not None):
        raise UsageError(f"{', '.join(GIVEN)} and --features NETWORK belong together; got one alone")
    pictures = _pictures(G, comparing, data, real_limit, samples)
    if pictures is not None:
        facts |= {"data": str(data), "real": len(pictures)}

    def fake() -> Any:
        return sample_batches(G, samples, seed=seed, classes=classes, batch=batch)

    spaces = [name.removeprefix("ls_faces_") for name in wanted if name in SEPARABILITY]
    if spaces:  # first: it is what cannot be had of every generator
        apart = linear_separability(
            G, samples=samples, spaces=spaces, seed=seed, batch=batch, classes=classes,
            on_progress=lambda done, total: say("separability", done, total),
        )  # fmt: skip
        values |= {f"ls_faces_{space}": value for space, value in apart.values.items()}
        facts["separability"] = {space: dict(found) for space, found in apart.entropies.items()}
    device = str(G.device)
    loaders: dict[tuple[str, ...], Callable[[], Extractor]] = {
        FACES: lambda: FaceFeatures(device=device),
        INCEPTION: lambda: load_extractor(inception, device=device),
        GIVEN: lambda: read_features(features or "", device=device),
    }
    for group, load in loaders.items():
        chosen = [name for name in wanted if name in group]
        if chosen and pictures is not None:
            extractor = load()
            facts[f"network of {', '.join(chosen)}"] = extractor.id
            values |= _feature_metrics(
                chosen, pictures, fake, extractor, samples=samples, seed=seed, batch=batch, say=say
            )
    if "spectra" in wanted and pictures is not None:
        whiten = whitening(pictures.batches(batch))
        spectra = {
            "real": average_spectrum(_counted(pictures.batches(batch), "spectrum of real", len(pictures), say), whiten),
            "fake": average_spectrum(_counted(fake(), "spectrum of samples", samples, say), whiten),
        }
        values["spectra_gap_db"] = spectral_gap(spectra["real"], spectra["fake"])
        facts["spectra"] = {
            f"{name}_{degrees}": radial_slice(spectrum, degrees)[1].tolist()
            for name, spectrum in spectra.items()
            for degrees in (0, 45)
        }
    for asked in (name for name in ("ppl", "ppl_faces") if name in wanted):
        from editkit.perceptual import Bundled, best_available

        distance = Bundled(device=device) if asked == "ppl_faces" else best_available(device)
        name = "ppl_faces" if distance.name == Bundled.name else f"ppl_{distance.name}"
        if name in values:
            continue
        values[name] = path_length(
            G, distance, samples=samples, seed=seed, classes=classes, batch=batch,
            on_progress=lambda done, total: say("path length", done, total),
        )  # fmt: skip
    kinds = [name for name in wanted if name.startswith("eq")]
    if kinds:
        found = equivariance(
            G, samples=samples, kinds=kinds, batch=min(batch, 4), seed=seed, classes=classes,
            on_progress=lambda done, total: say("equivariance", done, total),
        )  # fmt: skip
        values |= {f"{kind}_db": value for kind, value in found.psnr.items()}
        values |= {f"{kind}_normalised_db": value for kind, value in found.normalised.items()}
        facts["deviation"] = found.deviation
    return Panel(values=values, facts=facts, spectra=spectra)


def _expanded(metrics: Sequence[str]) -> list[str]:
    wanted = [name for metric in metrics for name in SHORT.get(metric, (metric,))]
    unknown = sorted(set(wanted) - set(METRICS))
    if unknown or not wanted:
        known = ", ".join((*METRICS, *SHORT))
        raise UsageError(f"no metric is called {', '.join(unknown) or 'nothing'!r}; there are {known}")
    return list(dict.fromkeys(wanted))


def _pictures(
    G: Generator, comparing: list[str], data: str | Path | None, limit: int | None, samples: int
) -> Pictures | None:
    if not comparing:
        return None
    if data is None:
        raise UsageError(f"{', '.join(comparing)} compare with real pictures: give --data, a folder or a zip of them")
    pictures = Pictures(data, resolution=G.spec.resolution, channels=G.spec.channels, limit=limit)
    if min(len(pictures), samples) < _FEWEST:
        raise UsageError(
            f"{len(pictures)} real pictures and {samples} samples are too few to compare: at least {_FEWEST} of "
            "each, and thousands for figures that mean something"
        )
    return pictures


def _feature_metrics(
    chosen: list[str], pictures: Pictures, fake: Callable[[], Any], extractor: Extractor, *, samples: int, seed: int,
    batch: int, say: Progress,
) -> dict[str, float]:  # fmt: skip
    real = real_features(
        pictures, extractor, batch=batch, on_progress=lambda done, total: say("features of real", done, total)
    )
    made = features_of(fake(), extractor, on_batch=lambda done: say("features of samples", done, samples))
    values: dict[str, float] = {}
    for metric in (name.removesuffix("_faces").removesuffix("_features").replace("fid", "fd") for name in chosen):
        name = extractor.name(metric)
        if metric == "fd":
            values[name] = frechet_distance(statistics(real.values), statistics(made.values))
        elif metric == "kid":
            values[name] = kernel_distance(real.values, made.values, seed=seed)
        elif metric == "pr":
            found = precision_recall(real.values, made.values)
            values |= {
                name.replace("pr", "precision", 1): found.precision,
                name.replace("pr", "recall", 1): found.recall,
            }
        else:
            if made.logits is None:
                raise UsageError("the inception score needs class probabilities; this network gives features only")
            values[name], values[f"{name}_deviation"] = inception_score(probabilities_of(made.logits))
    return values


def _counted(batches: Any, what: str, total: int, say: Progress) -> Any:
    done = 0
    for part in batches:
        yield part
        done += len(part)
        say(what, done, total)

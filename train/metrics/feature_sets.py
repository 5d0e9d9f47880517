"""Features of real pictures, kept between runs, and of a generator's samples.

Kept in ``user_folder()/metrics`` under a hash of the pictures' bytes, the network, and the resolution: another picture,
network, size or number of channels is another file, so nothing has to be cleared by hand.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from editkit.errors import CheckpointError, EditkitError, OutputError
from editkit.files import ensure_folder, user_folder
from editkit.rendering import render
from editkit.sampling import sample_w
from editkit.tensorfile import read_tensors, write_tensors
from train.metrics.extractors import Extractor, Features
from train.metrics.pictures import Pictures, as_seen

if TYPE_CHECKING:
    from editkit.generator import Generator
    from editkit.labels import Classes

_KIND, _SCHEMA = "metric-features", 1
_READING = 2  # of how pictures become features: another number makes all kept ones anew
_log = logging.getLogger(__name__)
Progress = Callable[[int, int], object]


def features_of(batches: Iterable[Tensor], extractor: Extractor, *, on_batch: Callable[[int], object]) -> Features:
    """Of pictures [N, 3, R, R] in batches; ``on_batch(done)`` is called after each."""
    found: list[Features] = []
    done = 0
    for batch in batches:
        found.append(extractor(batch))
        done += len(batch)
        on_batch(done)
    logits = [part.logits for part in found if part.logits is not None]
    return Features(values=torch.cat([part.values for part in found]), logits=torch.cat(logits) if logits else None)


def real_features(
    pictures: Pictures, extractor: Extractor, *, batch: int = 32, on_progress: Progress | None = None
) -> Features:
    """Of all ``pictures``; kept ones where nothing changed. That they cannot be kept is no error."""
    key = [pictures.digest(), extractor.id, pictures.resolution, pictures.channels, _SCHEMA, _READING]
    path = _cache_folder() / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]}.safetensors"
    if path.is_file():
        try:
            tensors, _ = read_tensors(path, kind=_KIND, schema=_SCHEMA, error=CheckpointError)
            return Features(values=tensors["values"], logits=tensors.get("logits"))
        except (EditkitError, KeyError) as error:
            _log.warning("kept features are computed again: %s", error)
    total = len(pictures)
    found = features_of(
        pictures.batches(batch), extractor, on_batch=lambda done: on_progress and on_progress(done, total)
    )
    tensors = {"values": found.values} | ({} if found.logits is None else {"logits": found.logits})
    try:
        ensure_folder(path.parent)
        write_tensors(path, tensors, kind=_KIND, schema=_SCHEMA, header={"pictures": total, "network": extractor.id})
    except OutputError as error:
        _log.warning("features of the real pictures are not kept: %s", error)
    return found


def sample_batches(
    G: Generator, count: int, *, seed: int = 0, classes: Classes | None = None, batch: int = 16
) -> Iterable[Tensor]:
    """``count`` untruncated pictures of the seeds from ``seed`` on, as a file would hold them, in batches."""
    for start in range(seed, seed + count, batch):
        seeds = range(start, min(start + batch, seed + count))
        yield as_seen(render(G, sample_w(G, seeds, classes=classes), batch=batch))


def _cache_folder() -> Path:
    return user_folder() / "metrics"

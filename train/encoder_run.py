"""A run of the encoder's training: it goes on from a state, keeps one, and says how it does."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from editkit.generator import Generator
from editkit.perceptual import PerceptualDistance
from projector.encoder_network import EncoderNetwork
from train.dataset import ImageDataset
from train.encoder import EncoderConfig, EncoderTraining, Progress
from train.photo_codes import PhotoCodes
from train.state_file import load_state, save_state

_log = logging.getLogger(__name__)


def train_encoder(
    G: Generator,
    photos: ImageDataset | None,
    config: EncoderConfig,
    *,
    perceptual: PerceptualDistance,
    state: Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_search: Callable[[int, int], None] | None = None,
) -> tuple[EncoderNetwork, Progress, PhotoCodes | None]:
    """Train an encoder for ``G``: the averaged network, the last progress, and where codes of photographs lie.

    Args:
        photos: training pictures of the generator's resolution, or None: samples only.
        perceptual: part of the loss.
        state: file from which an earlier run goes on, where there is one; written once a minute, and also on Ctrl-C.
        on_search: called with how many photographs are searched for, and how many will be; ``config.minutes`` begin
            after that.

    Raises:
        UsageError, TrainingDataError: a generator or photographs that do not fit.
        CheckpointError: ``state`` is damaged or of another generator, or the loss became infinite.
        OutputError: ``state`` cannot be written.
    """
    training = EncoderTraining(G, photos, config, perceptual=perceptual)
    if state is not None and state.is_file():
        training.load_state_dict(load_state(state))
        _log.info("going on from step %d", training.step)
    sums: dict[str, list[float]] = {}
    progress = Progress(step=training.step, pictures=training.step * config.batch, seconds=training.seconds, losses={})
    try:
        training.look_for_photos(on_search)
        if state is not None and training.step == 0 and training.photo_codes is not None:
            save_state(state, training.state_dict())
        last_log = last_save = mark = time.monotonic()
        while training.fraction < 1.0:
            for name, value in training.advance().items():
                sums.setdefault(name, []).append(value)
            now = time.monotonic()
            training.seconds, mark = training.seconds + now - mark, now
            if now - last_log >= 15.0 or training.fraction >= 1.0:
                means = {name: sum(values) / len(values) for name, values in sums.items()}
                progress = Progress(
                    step=training.step, pictures=training.step * config.batch, seconds=training.seconds, losses=means
                )
                _log.info("step %d: %s", training.step, {name: round(value, 4) for name, value in means.items()})
                if on_progress is not None:
                    on_progress(progress)
                sums, last_log = {}, now
            if state is not None and now - last_save >= 60.0:
                save_state(state, training.state_dict())
                last_save = now
    finally:
        if state is not None and (training.step or training.photo_codes is not None):
            save_state(state, training.state_dict())
    return training.average.requires_grad_(False).eval(), progress, training.photo_codes

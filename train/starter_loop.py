"""The loop around ``StarterTraining``: log, save, go back after a divergence, stop in time."""

import copy
import logging
import time
from collections.abc import Callable
from dataclasses import replace

from train.starter import DivergedError, StarterTraining

log = logging.getLogger(__name__)


def run(
    training: StarterTraining,
    *,
    until_images: int,
    save: Callable[[StarterTraining], None],
    save_every: float = 120.0,
    report_every: int = 50,
    deadline: float | None = None,
) -> None:
    """Steps until ``until_images`` photographs were shown, or ``deadline`` (``time.monotonic``) has passed.

    ``save`` is called every ``save_every`` seconds and at the end, also on Ctrl-C. A divergence goes back to the last
    saved state, with other samples and half the discriminator's learning rate.
    """
    good = copy.deepcopy(training.state_dict())
    started, first = time.monotonic(), training.seen
    last_save = started
    sums: dict[str, list[float]] = {}
    steps = 0
    try:
        while training.seen < until_images and (deadline is None or time.monotonic() < deadline):
            try:
                report = training.step()
            except DivergedError as error:
                log.warning("%s: back to the last saved state", error)
                rollbacks = training.rollbacks + 1
                training.load_state_dict(good)
                training.rollbacks = rollbacks
                c = training.config
                training.config = replace(c, seed=c.seed + 1, lr_discriminator=c.lr_discriminator * 0.5)
                for group in training.optimizer_d.param_groups:
                    group["lr"] = training.config.lr_discriminator
                continue
            steps += 1
            for name, value in report.items():
                sums.setdefault(name, []).append(value)
            if steps % report_every == 0:
                rate = (training.seen - first) / (time.monotonic() - started)
                text = " ".join(f"{name} {sum(v) / len(v):.3f}" for name, v in sums.items())
                log.info("%d images, %.1f images/s: %s", training.seen, rate, text)
                sums = {}
            if time.monotonic() - last_save > save_every:
                save(training)
                good, last_save = copy.deepcopy(training.state_dict()), time.monotonic()
    finally:
        save(training)

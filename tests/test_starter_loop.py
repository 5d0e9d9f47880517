"""The loop around the starter recipe: rollback, saving on Ctrl-C, deadline, distances and the best by them."""

from __future__ import annotations

import copy
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from starter_fixtures import CONFIG, equal, plain_pictures, started

from train.starter import StarterTraining
from train.starter_config import config_of
from train.starter_loop import Measure, run
from train.starter_measure import distance_measure
from train.training import DivergedError


@pytest.fixture
def images() -> np.ndarray:
    return plain_pictures()


def test_divergence_goes_back_to_the_saved_state(images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    training = started(CONFIG, images)
    calls = []
    step = StarterTraining.step

    def sometimes(self: StarterTraining) -> dict[str, float]:
        calls.append(self.seen)
        if len(calls) == 3:
            raise DivergedError("game became nan")
        return step(self)

    monkeypatch.setattr(StarterTraining, "step", sometimes)
    run(training, until_images=12, save=lambda t: None, save_every=10**6)
    assert calls == [0, 4, 8, 0, 4, 8]
    assert training.rollbacks == 1 and training.config.lr_discriminator == CONFIG.lr_discriminator / 2
    resumed = started(config_of(training.state_dict()), images)
    resumed.load_state_dict(copy.deepcopy(training.state_dict()))
    for again in (training, resumed):
        again.step()
    assert equal(training.state_dict(), resumed.state_dict())
    assert training.optimizers["discriminator"].param_groups[0]["lr"] == CONFIG.lr_discriminator / 2


def test_a_loss_that_is_not_finite_is_a_divergence(images: np.ndarray) -> None:
    training = started(CONFIG, images)
    with torch.no_grad():
        training.generator.synthesis.layers()[0].weight.fill_(float("nan"))
    with pytest.raises(DivergedError, match="nan"):
        training.check(training.step())


def test_codes_that_are_not_finite_are_a_divergence(images: np.ndarray) -> None:
    """A GPU meets them before it looks at the losses."""
    training = started(CONFIG, images)
    training.prior_of_codes.covariance[0, 1] = float("nan")
    with pytest.raises(DivergedError, match="covariance"):
        training.step()


def test_ctrl_c_saves(images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    training, saved = started(CONFIG, images), []
    monkeypatch.setattr(StarterTraining, "step", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(training, until_images=12, save=lambda t: saved.append(t.seen))
    assert saved == [0]


def test_the_deadline_ends_it(images: np.ndarray) -> None:
    training, saved = started(CONFIG, images), []
    run(training, until_images=10**9, save=lambda t: saved.append(t.seen), deadline=time.monotonic())
    assert saved == [0]


def test_measured_in_time_and_the_best_is_kept(images: np.ndarray, tmp_path: Path) -> None:
    training = started(CONFIG, images)
    figures, best = iter([3.0, 5.0, 2.0]), []
    measure = Measure(
        name="fd",
        figure=lambda t: next(figures),
        best=lambda t: best.append(t.seen),
        journal=tmp_path / "fd",
        seconds=0,
    )
    run(training, until_images=8, save=lambda t: None, measure=measure)  # after each of two steps, and at the end
    assert best == [4, 8] and measure.lowest() == 2.0
    assert (tmp_path / "fd").read_text().splitlines()[1] == '{"images": 8, "fd": 5.0}'


def test_fd_faces_falls_as_samples_come_nearer(images: np.ndarray, tmp_path: Path) -> None:
    training = started(CONFIG, images)
    measure = distance_measure(images, tmp_path, best=lambda t: None, seconds=1.0, device=torch.device("cpu"))
    far = measure.figure(training)

    class Copies(torch.nn.Module):
        z_dim, num_ws = 8, 2

        def synthesis(self, ws: torch.Tensor) -> torch.Tensor:
            assert ws.shape == (len(images), 2, 16)
            return training.batches.read(torch.arange(len(ws)), torch.zeros(len(ws), dtype=torch.bool))

    training.average = Copies()
    assert measure.figure(training) < 1e-2 * far


def test_what_diverged_unseen_is_not_saved(images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU losses are looked at now and then: the last steps before the end are looked at before the save."""
    training, saved = started(CONFIG, images), []
    step = StarterTraining.step
    monkeypatch.setattr(StarterTraining, "step", lambda self: step(self) | {"game": torch.tensor(float("nan"))})
    training.device = torch.device("meta")  # not the CPU
    training.phases.device = torch.device("cpu")
    run(training, until_images=8, save=lambda t: saved.append(t.seen))
    assert saved == [0]

"""Where codes lie: the distribution that follows them, and the generator whose mapping network is written from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from starter_fixtures import CONFIG, plain_pictures, started

from editkit.errors import UsageError
from editkit.networks.mapping import MappingNetwork
from train.code_prior import MARK, CodePrior
from train.starter_export import finished
from train.written_mapping import write_affine


@pytest.fixture
def images() -> np.ndarray:
    return plain_pictures()


def test_codes_of_the_prior_have_its_moments() -> None:
    stream = torch.Generator().manual_seed(0)
    mixed = torch.randn(5, 5, generator=stream)
    codes = torch.randn(20_000, 5, generator=stream) @ mixed + 3
    for axes in (5, 2):
        prior = CodePrior(5, axes)
        prior.observe(codes, 1.0)
        prior.refresh()
        drawn = prior(torch.randn(20_000, axes, generator=stream))
        assert (drawn.mean(0) - MARK).abs().max() < 0.1 * codes.std(0).max()
        assert (prior.centre - codes.mean(0)).abs().max() < 1e-3
        values, vectors = torch.linalg.eigh(torch.cov(codes.t()))
        kept = vectors[:, -axes:]  # fewer than all: the largest axes
        wanted = kept * values[-axes:] @ kept.t()
        assert (torch.cov(drawn.t()) - wanted).norm() < 0.05 * wanted.norm()


def test_the_prior_turns_no_further_than_it_must() -> None:
    """Axes of one length have no order and no sign: what z means must not change with each decomposition."""
    prior, z = CodePrior(6, 6), torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    before = prior(z)
    prior.covariance.add_(torch.diag(torch.tensor([1e-4, -1e-4, 2e-4, 0.0, -2e-4, 1e-4])))
    prior.refresh()
    torch.testing.assert_close(prior(z), before, atol=1e-3, rtol=0)


def test_a_drift_of_the_codes_is_no_spread() -> None:
    """Batches of unit deviation whose mean wanders far: the covariance is that of a batch."""
    stream, prior = torch.Generator().manual_seed(0), CodePrior(4, 4)
    for index in range(600):
        prior.observe(torch.randn(8, 4, generator=stream) + 0.1 * index, 8 / 800)
    assert (prior.covariance - torch.eye(4)).abs().max() < 0.2


def test_samples_lie_where_the_codes_do(images: np.ndarray) -> None:
    """The prior has the spread of the codes of photographs, and their mean, once it is off, a mark away."""
    still = replace(CONFIG, prior_images=20.0, reconstruction_images=10**6, lr_encoder=0.0)
    training = started(still, images)
    with torch.no_grad():
        training.encoder.code.weight.mul_(20)
        training.encoder.code.bias.add_(3)
    for _ in range(51):  # the root is taken every fifty
        training.step()
    with torch.no_grad():
        pictures = torch.cat([training.batches.at(seen) for seen in range(0, 48, 4)])
        codes = training.encoder(pictures, training.features(pictures)) - training.prior_of_codes.centre
        drawn = training.prior_of_codes(torch.randn(2000, 8, generator=torch.Generator().manual_seed(0)))
    spread = codes.std(0).norm()
    assert (drawn.mean(0) - MARK - codes.mean(0)).norm() < 0.5 * spread
    assert 0.6 < drawn.std(0).norm() / spread < 1.4


def test_what_is_shown_is_about_0_wherever_the_encoder_goes(images: np.ndarray) -> None:
    training = started(replace(CONFIG, prior_images=20.0, reconstruction_images=10**6, lr_encoder=0.0), images)
    shown: list[torch.Tensor] = []
    synthesis = training.generator.synthesis
    synthesis.register_forward_pre_hook(lambda _, given: shown.append(given[0][:, 0].detach()))
    for offset in (0.0, 3.0):
        with torch.no_grad():
            training.encoder.code.bias.add_(offset)
        for _ in range(30):
            training.step()
        late = torch.cat(shown[-10:])
        assert late.mean(0).abs().max() < 0.3, offset
        assert (training.prior_of_codes.centre - offset).abs().max() < 0.5


def test_the_finished_generator_draws_what_the_prior_does(images: np.ndarray) -> None:
    training = started(CONFIG, images)
    stream = torch.Generator().manual_seed(0)
    codes = torch.randn(400, 16, generator=stream) @ torch.randn(16, 16, generator=stream) - 2
    training.prior_of_codes.observe(codes, 1.0)
    z = torch.randn(64, 8, generator=stream)
    with torch.no_grad():
        for parameter in training.average.synthesis.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=stream)
        G = finished(training)
        training.prior_of_codes.refresh()
        ws = training.prior_of_codes(z)[:, None].expand(-1, G.num_ws, -1)
        wanted, w = training.average.synthesis(ws), G.mapping(z)[:, 0]
        torch.testing.assert_close(G(z), wanted, rtol=0, atol=1e-4 * float(wanted.abs().max()))
        many = G.mapping(torch.randn(20_000, 8, generator=stream))[:, 0]
    assert (w > 0).all() and torch.equal(G.mapping.w_avg, torch.full((16,), 4.0))
    assert (many.mean(0) - 4).abs().max() < 0.05 and (many.std(0) - 1).abs().max() < 0.05
    assert float(G(z).std(0).mean()) > 1e-3  # there was something to compare


def test_only_unconditional_mappings_of_leaky_relus_are_written() -> None:
    for size, layers, labels, activation in (
        (8, 1, 0, "lrelu"),
        (9, 2, 0, "lrelu"),
        (8, 2, 4, "lrelu"),
        (8, 2, 0, "relu"),
    ):
        network = MappingNetwork(z_dim=size, c_dim=labels, w_dim=16, num_ws=4, num_layers=layers, activation=activation)
        with pytest.raises(UsageError, match="can be written"):
            write_affine(network, torch.zeros(16, size), torch.ones(16))

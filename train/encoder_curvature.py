"""Measures the mean curvature of the search's pixel loss over W+, for ``projector.curvature``.

A gradient of pictures times random errors, whose covariance is the Hessian of the multiscale squared error, has the
Gauss-Newton matrix as its covariance. Several such gradients are drawn at each of many codes; the principal axes of
each row are kept.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from editkit.generator import Generator
from projector.curvature import Curvature
from projector.losses import Weights
from projector.statistics import WStatistics
from train.encoder_samples import SamplePool, render
from train.photo_codes import PhotoCodes

RANK = 128
"""Directions kept of a row: as many as the bundled generator's widest layer has channels."""
SOFT = 2e-4
"""Curvature, as a share of the largest, from which directions are shrunk."""
ERRORS = 4
"""Random errors a code."""


def measure_curvature(
    G: Generator, statistics: WStatistics, *, around: PhotoCodes | None = None, codes: int = 320, batch: int = 8
) -> Curvature:
    """From ``codes`` random codes, about a second of one core each four at 64 px.

    ``around``: where codes of photographs lie; samples, nearer to the mean and with noise, where that is not known.
    """
    pool = SamplePool(G, statistics, size=batch, seed=5)
    random = torch.Generator().manual_seed(0)
    gradients = []
    for _ in range(-(-codes // batch)):
        if around is None:
            drawn = pool.draw(batch)
            drawn = 0.8 * drawn + 0.4 * torch.randn(drawn.shape, generator=random)
        else:
            drawn = around.draw(batch, random)
        drawn = drawn.to(G.device).requires_grad_()
        made = render(G, statistics, drawn)
        for index in range(ERRORS):
            errors = _errors(made.shape, random).to(G.device)
            (gradient,) = torch.autograd.grad(made, drawn, errors, retain_graph=index + 1 < ERRORS)
            gradients.append(gradient.cpu())
    return principal_curvature(torch.cat(gradients))


def principal_curvature(gradients: Tensor, *, rank: int = RANK) -> Curvature:
    """The strongest directions of each row of gradients [K, num_ws, w_dim]."""
    rows = gradients.detach().transpose(0, 1) / len(gradients) ** 0.5  # [num_ws, K, w_dim]
    _, values, basis = torch.linalg.svd(rows, full_matrices=False)
    strength, basis = values[:, :rank].square(), basis[:, :rank].contiguous()
    return Curvature(basis=basis, shrink=(1 + strength / (SOFT * strength.max()).clamp(min=1e-30)).rsqrt())


def _errors(shape: torch.Size, random: torch.Generator) -> Tensor:
    """Noise [N, 3, R, R] whose covariance is the Hessian of ``multiscale_mse`` times its weight."""
    weights = Weights()
    count, channels, side, _ = shape
    scales = [s for s in range(weights.scales) if s == 0 or side >> (s - 1) >= 8]
    total = torch.zeros(shape)
    for s in scales:
        small = side >> s
        noise = torch.randn(count, channels, small, small, generator=random)
        noise = noise * (2 * weights.pixel / weights.scales / (channels * small**2)) ** 0.5
        total += F.interpolate(noise, scale_factor=2**s, mode="nearest") / 4**s  # the transpose of the averaging
    return total

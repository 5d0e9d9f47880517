"""The encoder's first guess, without any training: a damped Gauss-Newton step from the mean face on coarse pictures.

Source: Nocedal and Wright 2006, "Numerical Optimization", section 10.3 (Gauss-Newton, Levenberg-Marquardt), here as the
posterior mean of a linear model; the Jacobian comes by reverse differentiation, a row a pass.
"""

from __future__ import annotations

import torch
from torch import Tensor

from editkit.generator import Generator
from editkit.networks.features import resize
from projector.encoder_network import SIDE, EncoderNetwork, coarse
from projector.statistics import WStatistics
from train.encoder_samples import render

ROW_DEVIATION, DAMPING = 1.0, 0.2
"""Chosen among eight pairs on the 16 portraits of docs/projection.md, at the mean of W."""


def coarse_jacobian(G: Generator, statistics: WStatistics, at: Tensor, *, batch: int = 16) -> Tensor:
    """What the linear path reads, by the code, ``at`` [num_ws, w_dim]: [3 COARSE**2, num_ws w_dim], on the CPU."""
    codes = at.to(G.device).repeat(batch, 1, 1).requires_grad_()
    read = coarse(resize(render(G, statistics, codes), (SIDE, SIDE)))  # [batch, 3 COARSE**2], all rows alike
    rows = []
    for first in range(0, read.shape[1], batch):
        wanted = torch.eye(read.shape[1], device=G.device)[first : first + batch]
        (gradient,) = torch.autograd.grad(read[: len(wanted)], codes, wanted, retain_graph=True)
        rows.append(gradient[: len(wanted)].flatten(1).cpu())
    return torch.cat(rows)


def start_linear_path(network: EncoderNetwork, jacobian: Tensor, differences: Tensor) -> None:
    """Makes the linear path the best linear guess: damped, cut to its rank, the convolutions silent.

    With codes a priori normal, of unit variance for the shared row and ``ROW_DEVIATION`` for each row beside it, and
    independent errors of the pictures, the posterior mean is S J' (J S J' + noise)^-1 times the difference.
    ``differences`` [N, 3 COARSE**2], typical ones, only set the scale inside the path.
    """
    rows, width = network.num_ws, network.w_dim
    covariance = torch.ones(rows, rows) + ROW_DEVIATION**2 * torch.eye(rows)
    spread = torch.einsum("prw,rq->pqw", jacobian.view(-1, rows, width), covariance).flatten(1)  # J S
    seen = spread @ jacobian.t()
    seen.diagonal().add_(DAMPING * float(seen.diagonal().mean()))
    u, s, v = torch.linalg.svd(torch.linalg.solve(seen, spread), full_matrices=False)
    rank = min(network.rank, len(s))
    scale = (differences @ u[:, :rank]).square().mean(0).sqrt().clamp(min=1e-6)
    with torch.no_grad():
        network.linear.weight.zero_()[:rank] = (u[:, :rank] / scale).t()
        for head in (network.shared, network.offsets):
            head.weight.mul_(0.1)[:, network.hidden_size :] = 0.0
        network.offsets.weight[:, network.hidden_size :][:, :rank] = v[:rank].t() * (s[:rank] * scale)

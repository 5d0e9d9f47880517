"""The encoder of the starter recipe: photographs to codes whose first two moments are those of the prior."""

import numpy as np
import torch
from torch import Tensor, nn

from editkit.networks.encoder import ConvEncoder


class RunningWhitening(nn.Module):
    """Subtracts a running mean and multiplies by the inverse Cholesky factor of a running covariance.

    Codes are decorrelated with unit variance, so that a standard normal z lies among them; a sample's code does not
    depend on its batch, and no gradient flows through the statistics.
    """

    mean: Tensor
    covariance: Tensor
    steps: Tensor

    def __init__(self, features: int, *, momentum: float = 0.005) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("covariance", torch.eye(features))
        self.register_buffer("steps", torch.zeros([]))

    def forward(self, x: Tensor) -> Tensor:
        """[N, features] to the same."""
        if self.training:
            with torch.no_grad():
                self.steps += 1
                weight = max(self.momentum, 1 / (float(self.steps) + 50))  # the identity counts as fifty steps
                self.mean.lerp_(x.mean(0), weight)
                centred = x - self.mean
                self.covariance.lerp_(centred.t() @ centred / len(x), weight)
        ridge = 1e-3 * self.covariance.diagonal().mean() * torch.eye(len(self.covariance))
        factor = torch.linalg.cholesky(self.covariance + ridge)
        return torch.linalg.solve_triangular(factor, (x - self.mean).t(), upper=False).t()


class CodeEncoder(nn.Module):
    """Whitened principal components of the pixels plus what a convolutional network adds.

    The components give the generator a still target from the first step; the network starts at zero.

    Args:
        images: uint8 [N, R, R, 3], for the components.
        dim: length of a code.
        channel_base: width of the network.
    """

    centre: Tensor
    basis: Tensor

    def __init__(self, images: np.ndarray, *, dim: int, channel_base: int) -> None:
        super().__init__()
        resolution = images.shape[1]
        centre, basis = principal_components(images, dim)
        self.register_buffer("centre", centre)
        self.register_buffer("basis", basis)
        self.network = ConvEncoder(img_resolution=resolution, out_dim=dim, channel_base=channel_base)
        nn.init.zeros_(self.network.head.weight)
        self.whitening = RunningWhitening(dim)

    def forward(self, image: Tensor) -> Tensor:
        """Images [N, 3, R, R] in [-1, 1] to codes [N, dim]."""
        linear = (image.flatten(1) - self.centre) @ self.basis
        return self.whitening(linear + self.network(image))


def principal_components(images: np.ndarray, dim: int, *, most: int = 4000) -> tuple[Tensor, Tensor]:
    """Mean [3 R R] and basis [3 R R, dim] of images and their mirrors; coordinates have unit variance."""
    rows = torch.from_numpy(images[:: max(1, len(images) // most)]).permute(0, 3, 1, 2).float() / 127.5 - 1
    rows = torch.cat([rows, rows.flip(3)]).flatten(1)
    centre = rows.mean(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _, scale, axes = torch.svd_lowrank(rows - centre, q=min(dim + 16, *rows.shape), niter=4)
    kept = min(dim, len(scale))
    basis = torch.zeros(rows.shape[1], dim)
    basis[:, :kept] = axes[:, :kept] / scale[:kept].clamp_min(1e-6) * len(rows) ** 0.5
    return centre, basis

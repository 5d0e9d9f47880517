"""Codes of photographs for the starter recipe: whitened principal components of their pixels.

They are still from the first step on, and their first two moments are those of the prior, so that standard normal z
lie among them (as in generative latent optimisation, Bojanowski et al. 2018, whose codes also start from PCA).
"""

import numpy as np
import torch
from torch import Tensor, nn


class PrincipalCodes(nn.Module):
    """Images to codes of unit variance.

    Args:
        images: uint8 [N, R, R, 3]; they and their mirrors give the components.
        dim: length of a code.
        most: photographs used, evenly spaced.
    """

    centre: Tensor
    basis: Tensor

    def __init__(self, images: np.ndarray, *, dim: int, most: int = 4000) -> None:
        super().__init__()
        rows = torch.from_numpy(images[:: max(1, len(images) // most)]).permute(0, 3, 1, 2).float() / 127.5 - 1
        rows = torch.cat([rows, rows.flip(3)]).flatten(1)
        centre = rows.mean(0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            _, scale, axes = torch.svd_lowrank(rows - centre, q=min(dim + 16, *rows.shape), niter=4)
        kept = min(dim, len(scale))
        basis = torch.zeros(rows.shape[1], dim)
        basis[:, :kept] = axes[:, :kept] / scale[:kept].clamp_min(1e-6) * len(rows) ** 0.5
        self.register_buffer("centre", centre)  # [3 R R]
        self.register_buffer("basis", basis)  # [3 R R, dim]

    def forward(self, image: Tensor) -> Tensor:
        """Images [N, 3, R, R] in [-1, 1] to codes [N, dim]."""
        return (image.flatten(1) - self.centre) @ self.basis

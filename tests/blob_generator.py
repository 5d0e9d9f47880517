"""A generator of soft discs that moves exactly as it is told: what a placement is can be seen in its pictures.

An untrained StyleGAN3 draws the same picture at many poses of many codes; here the discs lie askew on a ring and one
differs from the next, so that only one pose explains a picture.
"""

from __future__ import annotations

import torch
from linear_generator import LinearGenerator
from torch import Tensor

from editkit.latent import Latent

PLACES = torch.tensor([[-0.2, -0.15], [0.22, -0.1], [0.02, 0.05], [-0.05, 0.25], [0.3, 0.3], [-0.35, 0.2]])
RADII = torch.tensor([0.07, 0.1, 0.05, 0.12, 0.06, 0.09])
COLOURS = torch.tensor([[1, -1, -1], [-1, 1, -1], [1, 1, -1], [-1, -1, 1], [1, -1, 1], [-1, 1, 1]]).float()


class BlobGenerator(LinearGenerator):
    """w makes each disc stronger or weaker, by a third for a standard deviation; row 0 does nothing."""

    def __init__(self) -> None:
        super().__init__(z_dim=6, w_dim=6, resolution=32, name="blobs")

    def synthesize(self, latent: Latent, *, transform=None) -> Tensor:
        rows = latent.require("w", "w+").check(self.spec).tensor[:, 1:].mean(1) - self.w_avg
        size = self.spec.resolution
        axis = (torch.arange(size) + 0.5) / size - 0.5
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        points = torch.stack([x, y, torch.ones_like(x)]).flatten(1)  # [3, size^2]
        back = torch.eye(3)[None] if transform is None else transform.inverse().matrix.to(points)
        places = (back @ points)[:, :2].transpose(1, 2)  # [N or 1, size^2, 2]
        away = (places[:, :, None] - PLACES).square().sum(3)  # [N, size^2, 6]
        discs = (-away / (2 * RADII**2)).exp() * (0.5 + 0.17 * rows)[:, None]
        return (discs @ COLOURS).transpose(1, 2).unflatten(2, (size, size))

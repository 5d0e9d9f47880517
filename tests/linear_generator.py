"""A generator made of two matrices, for tests of everything around one: fast, exact and easy to reason about."""

from __future__ import annotations

import torch
from torch import Tensor

from editkit.generator import GeneratorSpec
from editkit.latent import Latent
from editkit.seeds import normal


class LinearGenerator:
    """w = z A^T + w_avg, broadcast to rows; image = mean over rows of w B^T, moved by whole pixels if told."""

    def __init__(self, *, z_dim=4, w_dim=4, num_ws=3, resolution=8, name="linear", parent_id=None, scales=None) -> None:
        self.spec = GeneratorSpec(
            id=f"{name:x<64}", parent_id=parent_id, name=name, kind="linear", resolution=resolution, channels=3,
            z_dim=z_dim, w_dim=w_dim, num_ws=num_ws, c_dim=0, domain="shapes",
        )  # fmt: skip
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.scales = torch.ones(w_dim) if scales is None else torch.tensor(scales)
        basis = torch.linalg.qr(normal(1, (max(z_dim, w_dim), max(z_dim, w_dim)))).Q
        self.basis = basis[:w_dim, :z_dim]  # orthonormal columns or rows
        self.w_avg = normal(2, (w_dim,))
        self.paint = 0.1 * normal(3, (3 * resolution * resolution, w_dim))
        self.batches: list[int] = []

    def map(self, z: Tensor, *, label=None, truncation_psi=1.0, truncation_cutoff=None) -> Latent:
        w = (z @ self.basis.T) * self.scales + self.w_avg
        codes = w.unsqueeze(1).expand(-1, self.spec.num_ws, -1).contiguous()
        latent = Latent(space="w", codes=codes, generator=self.spec.id, parent=self.spec.parent_id)
        return latent.truncate(self.w_avg, truncation_psi, cutoff=truncation_cutoff)

    def synthesize(self, latent: Latent, *, transform=None) -> Tensor:
        latent.require("w", "w+").check(self.spec)
        self.batches.append(len(latent))
        size = self.spec.resolution
        images = (latent.tensor.mean(dim=1) @ self.paint.T).reshape(-1, 3, size, size)
        if transform is not None:
            shifts = (transform.matrix[:, :2, 2] * size).round().int().tolist()
            images = torch.stack([torch.roll(i, (y, x), (1, 2)) for i, (x, y) in zip(images, shifts, strict=True)])
        return images

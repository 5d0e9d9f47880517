"""Where the codes of photographs lie: a normal distribution that follows them, and what the mapping network is taught.

Latents of an autoencoder are not standard normal; a second model of where they lie makes its samples as good as its
reconstructions (Dai & Wipf 2019, "Diagnosing and Enhancing VAE Models", section 3). Here that model is their mean and
covariance, z's directions are the principal ones, and StyleGAN's mapping network learns the map.
"""

import torch
from torch import Tensor, nn


class CodePrior(nn.Module):
    """Mean and covariance of codes [N, dim], and normal codes of them."""

    mean: Tensor
    covariance: Tensor
    root: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("covariance", torch.eye(dim))
        self.register_buffer("root", torch.eye(dim))

    @torch.no_grad()
    def observe(self, codes: Tensor, share: float) -> None:
        """Moves both towards those of ``codes`` [N, dim] by ``share``."""
        apart = codes - self.mean
        self.mean.lerp_(codes.mean(0), share)
        self.covariance.lerp_(apart.t() @ apart / len(codes), share)

    @torch.no_grad()
    def refresh(self) -> None:
        """Takes the root of the covariance anew; the largest axes first."""
        values, axes = torch.linalg.eigh(self.covariance)
        self.root.copy_((axes * values.clamp_min(0).sqrt()).flip(1).t())

    def forward(self, z: Tensor) -> Tensor:
        """z [N, k], k <= dim, brought to unit mean square, to codes [N, dim]: along the k largest axes."""
        z = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        return self.mean + z @ self.root[: z.shape[1]]

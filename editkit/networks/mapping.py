"""The mapping network: z (and a label) to w, with truncation.

Source: Karras et al. 2019, "A Style-Based Generator Architecture for GANs", sections 2 and B (truncation).
"""

import torch
from torch import Tensor, nn

from editkit.networks.layers import FullyConnectedLayer


def normalize_2nd_moment(x: Tensor) -> Tensor:
    """Scales every row of ``[N, C]`` to unit mean square."""
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class MappingNetwork(nn.Module):
    """Fully connected layers from ``z`` and the embedded label to ``w``; keeps the running mean ``w_avg``."""

    w_avg: Tensor

    def __init__(
        self,
        *,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        num_ws: int,
        num_layers: int = 2,
        lr_multiplier: float = 0.01,
        w_avg_beta: float = 0.998,
    ) -> None:
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim, self.num_ws = z_dim, c_dim, w_dim, num_ws
        self.num_layers, self.w_avg_beta = num_layers, w_avg_beta
        self.embed = FullyConnectedLayer(c_dim, w_dim) if c_dim > 0 else None
        features = [z_dim + (w_dim if c_dim > 0 else 0)] + [w_dim] * num_layers
        for index in range(num_layers):
            layer = FullyConnectedLayer(
                features[index], features[index + 1], activation="lrelu", lr_multiplier=lr_multiplier
            )
            setattr(self, f"fc{index}", layer)
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        update_emas: bool = False,
    ) -> Tensor:
        """``z`` [N, z_dim] and labels ``c`` [N, c_dim] to ``ws`` [N, num_ws, w_dim].

        Args:
            truncation_psi: 1 leaves w as it is, 0 gives ``w_avg``.
            truncation_cutoff: number of leading layers to truncate; None truncates all.
            update_emas: moves ``w_avg`` towards this batch's mean.
        """
        if z.ndim != 2 or z.shape[1] != self.z_dim:
            raise ValueError(f"z must be [N, {self.z_dim}], got {tuple(z.shape)}")
        x = normalize_2nd_moment(z)
        if self.embed is not None:
            if c is None or c.shape != (z.shape[0], self.c_dim):
                got = "none" if c is None else str(tuple(c.shape))
                raise ValueError(
                    f"this generator is conditional: labels must be [{z.shape[0]}, {self.c_dim}], got {got}"
                )
            x = torch.cat([x, normalize_2nd_moment(self.embed(c.to(x.dtype)))], dim=1)
        for index in range(self.num_layers):
            x = getattr(self, f"fc{index}")(x)
        if update_emas:
            self.w_avg.copy_(x.detach().mean(0).lerp(self.w_avg.to(x.dtype), self.w_avg_beta))
        ws = x[:, None].repeat(1, self.num_ws, 1)
        if truncation_psi != 1:
            ws[:, :truncation_cutoff] = self.w_avg.to(x.dtype).lerp(ws[:, :truncation_cutoff], truncation_psi)
        return ws

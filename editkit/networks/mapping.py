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
    """Fully connected layers from ``z`` and the embedded label to ``w``; keeps the running mean ``w_avg``.

    Args:
        z_dim, c_dim, w_dim: of z (0: the label alone is mapped), of the label (0: none) and of w.
        num_ws: how many copies of w are given out; None gives [N, w_dim].
        num_layers, activation: of the fully connected layers; embed_features, layer_features: widths, w_dim by default.
        lr_multiplier: learning rate of the layers relative to that of the rest.
        w_avg_beta: decay of ``w_avg``; None keeps no mean, and there is no truncation then.
    """

    w_avg: Tensor  # None without w_avg_beta

    def __init__(
        self,
        *,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        num_ws: int | None,
        num_layers: int = 2,
        embed_features: int | None = None,
        layer_features: int | None = None,
        activation: str = "lrelu",
        lr_multiplier: float = 0.01,
        w_avg_beta: float | None = 0.998,
    ) -> None:
        super().__init__()
        if num_layers < 1 or z_dim + c_dim < 1:
            raise ValueError(
                f"a mapping needs input and a layer, got z_dim={z_dim}, c_dim={c_dim}, {num_layers} layers"
            )
        self.z_dim, self.c_dim, self.w_dim, self.num_ws = z_dim, c_dim, w_dim, num_ws
        self.num_layers, self.w_avg_beta = num_layers, w_avg_beta
        embedded = 0 if c_dim == 0 else w_dim if embed_features is None else embed_features
        self.embed = FullyConnectedLayer(c_dim, embedded) if c_dim > 0 else None
        inner = w_dim if layer_features is None else layer_features
        features = [z_dim + embedded] + [inner] * (num_layers - 1) + [w_dim]
        for index in range(num_layers):
            layer = FullyConnectedLayer(
                features[index], features[index + 1], activation=activation, lr_multiplier=lr_multiplier
            )
            setattr(self, f"fc{index}", layer)
        self.register_buffer("w_avg", None if w_avg_beta is None else torch.zeros(w_dim))

    def layers(self) -> list[FullyConnectedLayer]:
        """The fully connected layers in order."""
        return [getattr(self, f"fc{index}") for index in range(self.num_layers)]

    def forward(
        self,
        z: Tensor | None,
        c: Tensor | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        update_emas: bool = False,
    ) -> Tensor:
        """``z`` [N, z_dim] (None where z_dim is 0) and labels ``c`` [N, c_dim] to ``ws`` [N, num_ws, w_dim].

        Args:
            truncation_psi: 1 leaves w as it is, 0 gives ``w_avg``.
            truncation_cutoff: number of leading layers to truncate; None truncates all.
            update_emas: moves ``w_avg`` towards this batch's mean.
        """
        x = self._features(z, c)
        for layer in self.layers():
            x = layer(x)
        if update_emas and self.w_avg is not None and self.w_avg_beta is not None:
            self.w_avg.copy_(x.detach().mean(0).lerp(self.w_avg.to(x.dtype), self.w_avg_beta))
        if self.num_ws is None:
            return x
        ws = x[:, None].repeat(1, self.num_ws, 1)
        if truncation_psi != 1:
            if self.w_avg is None:
                raise ValueError("this mapping keeps no mean of w to truncate towards")
            ws[:, :truncation_cutoff] = self.w_avg.to(x.dtype).lerp(ws[:, :truncation_cutoff], truncation_psi)
        return ws

    def _features(self, z: Tensor | None, c: Tensor | None) -> Tensor:
        """What the first layer sees: z and the embedded label, each of unit mean square."""
        parts = []
        if self.z_dim > 0:
            if z is None or z.ndim != 2 or z.shape[1] != self.z_dim:
                raise ValueError(f"z must be [N, {self.z_dim}], got {'none' if z is None else tuple(z.shape)}")
            parts.append(normalize_2nd_moment(z))
        if self.embed is not None:
            count = None if z is None or self.z_dim == 0 else z.shape[0]
            if c is None or c.ndim != 2 or c.shape[1] != self.c_dim or count not in (None, c.shape[0]):
                got = "none" if c is None else str(tuple(c.shape))
                raise ValueError(
                    f"this network is conditional: labels must be [{count or 'N'}, {self.c_dim}], got {got}"
                )
            dtype = self.embed.weight.dtype if z is None else z.dtype
            parts.append(normalize_2nd_moment(self.embed(c.to(dtype))))
        return torch.cat(parts, dim=1)

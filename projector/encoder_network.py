"""The encoder: a picture and what the generator makes of the current code in, a better code out.

Ours, trained by ``train/encoder.py``. A small residual network without normalisation layers, so that what it says of a
picture does not depend on its batch. As in ReStyle (Alaluf et al. 2021, "ReStyle: A Residual-Based StyleGAN Encoder via
Iterative Refinement", section 3) it sees the picture beside its current reconstruction and predicts a residual; a code
is one row for all layers plus an offset for each (Tov et al. 2021, "Designing an Encoder for StyleGAN Image
Manipulation", section 4.1). Beside the convolutions a linear path leads from the difference at 16 px to the codes.

Convention: pictures are float32 [N, 3, R, R] in [-1, 1]; codes are in standard deviations of W along its principal
axes (``projector.statistics``).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editkit.errors import UsageError
from editkit.networks.features import resize

SIDE = 64
"""Pictures are brought to this side."""
COARSE = 16
"""Side of the difference that the linear path reads."""
_SLOPE = 0.2


class EncoderNetwork(nn.Module):
    """Predicts what to add to the current code. The first look is at the picture of ``start``, [num_ws, w_dim].

    At the defaults, 8 rows and 256 dimensions: 2.0 million parameters, 0.13 GFLOP a look.

    Args:
        num_ws, w_dim: of the generator.
        widths: channels at 1/2, 1/4, 1/8 and 1/16 of ``SIDE``.
        hidden: length of the vector behind the convolutions; rank: of the linear path.
    """

    start: Tensor

    def __init__(
        self,
        *,
        num_ws: int,
        w_dim: int,
        widths: Sequence[int] = (32, 48, 80, 112),
        hidden: int = 128,
        rank: int = 256,
    ) -> None:
        super().__init__()
        if len(widths) != 4 or min(*widths, num_ws, w_dim, hidden, rank) < 1:
            raise UsageError(
                f"An EncoderNetwork has four widths and positive sizes, got widths={tuple(widths)}, num_ws={num_ws}, "
                f"w_dim={w_dim}, hidden={hidden}, rank={rank}."
            )
        self.num_ws, self.w_dim = int(num_ws), int(w_dim)
        self.widths, self.hidden_size, self.rank = tuple(int(width) for width in widths), int(hidden), int(rank)
        half, quarter, eighth, sixteenth = self.widths
        self.trunk = nn.Sequential(
            _Conv(6, half, 5, stride=2),
            _Residual(half),
            _Conv(half, quarter, 3, stride=2),
            _Residual(quarter),
            _Conv(quarter, eighth, 3, stride=2),
            _Residual(eighth),
            _Residual(eighth),
            _Conv(eighth, sixteenth, 3, stride=2),
            _Residual(sixteenth),
            _Residual(sixteenth),
        )
        self.reduce = nn.Conv2d(sixteenth, 32, 1)
        self.hidden = nn.Linear(32 * (SIDE // 16) ** 2, self.hidden_size)
        self.linear = nn.Linear(3 * COARSE**2, self.rank, bias=False)
        self.shared = nn.Linear(self.hidden_size + self.rank, self.w_dim)
        self.offsets = nn.Linear(self.hidden_size + self.rank, self.num_ws * self.w_dim)
        for head in (self.shared, self.offsets):
            nn.init.normal_(head.weight, std=0.1 * self.hidden_size**-0.5)
            nn.init.zeros_(head.bias)
        self.register_buffer("start", torch.zeros(self.num_ws, self.w_dim))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it

    @property
    def arguments(self) -> dict[str, object]:
        """What builds it again."""
        return {
            "num_ws": self.num_ws,
            "w_dim": self.w_dim,
            "widths": list(self.widths),
            "hidden": self.hidden_size,
            "rank": self.rank,
        }

    def forward(self, photo: Tensor, reconstruction: Tensor) -> Tensor:
        """Two pictures [N, 3, R, R] to the update of the code, [N, num_ws, w_dim]."""
        photo, reconstruction = (resize(image, (SIDE, SIDE)) for image in (photo, reconstruction))
        difference = photo - reconstruction
        x = torch.cat([photo, difference], 1).contiguous(memory_format=torch.channels_last)
        x = F.leaky_relu(self.reduce(self.trunk(x)), _SLOPE)  # [N, 32, 4, 4]
        x = F.leaky_relu(self.hidden(x.flatten(1)), _SLOPE)
        x = torch.cat([x, self.linear(coarse(difference))], 1)
        return self.shared(x).unsqueeze(1) + self.offsets(x).unflatten(1, (self.num_ws, self.w_dim))


class _Residual(nn.Module):
    """Two convolutions beside the identity (He et al. 2016, fig. 2), the second one weak at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _Conv(channels, channels, 3)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.kaiming_normal_(self.second.weight, a=_SLOPE)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]  # it has one
        with torch.no_grad():
            self.second.weight.mul_(0.3)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.second(self.first(x)), _SLOPE)


class _Conv(nn.Sequential):
    """Convolution and leaky ReLU."""

    def __init__(self, before: int, after: int, size: int, *, stride: int = 1) -> None:
        layer = nn.Conv2d(before, after, size, stride=stride, padding=size // 2)
        nn.init.kaiming_normal_(layer.weight, a=_SLOPE)
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # it has one
        super().__init__(layer, nn.LeakyReLU(_SLOPE))


def coarse(difference: Tensor) -> Tensor:
    """What the linear path reads: [N, 3, SIDE, SIDE] to [N, 3 COARSE**2]."""
    return F.avg_pool2d(difference, SIDE // COARSE).flatten(1)

"""The five-point landmark network: a square crop around a supposed face in, five points and a confidence out.

Ours, trained by ``train/landmarks.py``. A small residual U-shaped network draws one heat map a point; the point is the
expectation of the map's softmax (integral regression, Sun et al. 2018, "Integral Human Pose Regression", eq. 3).

Convention:
    input float32 [N, 3, 64, 64] RGB in [-1, 1]; points are (x, y) as fractions of the crop, origin at its top-left
    corner, in the order left eye, right eye, nose, left and right mouth corner, left meaning left on the picture.
"""

import importlib.resources
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from editkit.errors import CheckpointError

INPUT_RESOLUTION = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class LandmarkPrediction:
    """What the network says of N crops."""

    points: Tensor  # [N, 5, 2], fractions of the crop
    spread: Tensor  # [N, 5], standard deviation of each heat map, in fractions of the crop
    logit: Tensor  # [N], above 0: there is a face, framed roughly as the faces of the training set

    @property
    def confidence(self) -> Tensor:
        """Probability of a face, [N] in [0, 1]."""
        return torch.sigmoid(self.logit)


class _Conv(nn.Sequential):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, *, kernel: int = 3, stride: int = 1, relu: bool = True):
        super().__init__(
            nn.Conv2d(channels_in, channels_out, kernel, stride=stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU() if relu else nn.Identity(),
        )


class _Residual(nn.Module):
    """Two convolutions beside the identity (He et al. 2016, fig. 2)."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(_Conv(channels, channels), _Conv(channels, channels, relu=False))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.body(x))


class LandmarkNetwork(nn.Module):
    """Five points and a confidence from a face crop.

    widths: channels at 1/2, 1/4, 1/8 and 1/16 of the input resolution. blocks: residual blocks at 1/4, 1/8 and 1/16.
    """

    def __init__(
        self,
        *,
        num_points: int = 5,
        widths: Sequence[int] = (16, 32, 64, 96),
        blocks: Sequence[int] = (1, 2, 2),
    ):
        super().__init__()
        half, quarter, eighth, sixteenth = widths
        self.stem = _Conv(3, half, kernel=5, stride=2)
        self.down4 = nn.Sequential(_Conv(half, quarter, stride=2), *(_Residual(quarter) for _ in range(blocks[0])))
        self.down8 = nn.Sequential(_Conv(quarter, eighth, stride=2), *(_Residual(eighth) for _ in range(blocks[1])))
        self.down16 = nn.Sequential(
            _Conv(eighth, sixteenth, stride=2), *(_Residual(sixteenth) for _ in range(blocks[2]))
        )
        self.up8 = _Conv(sixteenth, eighth, kernel=1)
        self.up4 = _Conv(eighth, quarter, kernel=1)
        self.merge4 = _Residual(quarter)
        self.up2 = _Conv(quarter, half, kernel=1)
        self.merge2 = _Conv(half, half)
        self.maps = nn.Conv2d(half, num_points, 1)
        self.score = nn.Linear(sixteenth, 1)

    def forward(self, images: Tensor) -> LandmarkPrediction:
        """images: [N, 3, S, S] in [-1, 1], S = 64 as trained (any multiple of 16 runs)."""
        half = self.stem(images)  # [N, 16, 32, 32]
        quarter = self.down4(half)  # [N, 32, 16, 16]
        eighth = self.down8(quarter)  # [N, 64, 8, 8]
        sixteenth = self.down16(eighth)  # [N, 96, 4, 4]
        x = eighth + _double(self.up8(sixteenth))
        x = self.merge4(quarter + _double(self.up4(x)))
        x = self.merge2(half + _double(self.up2(x)))
        points, spread = _expectation(self.maps(x))
        return LandmarkPrediction(points=points, spread=spread, logit=self.score(sixteenth.mean((2, 3))).squeeze(1))


def _double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def _expectation(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each map [N, P, H, W] under its softmax: [N, P, 2] and [N, P], crop fractions."""
    height, width = maps.shape[2:]
    weights = maps.flatten(2).softmax(2).view_as(maps)
    x = (torch.arange(width, dtype=maps.dtype, device=maps.device) + 0.5) / width
    y = (torch.arange(height, dtype=maps.dtype, device=maps.device) + 0.5) / height
    columns, rows = weights.sum(2), weights.sum(3)  # [N, P, W] and [N, P, H]
    mean_x, mean_y = (columns * x).sum(2), (rows * y).sum(2)
    variance = (columns * (x - mean_x[..., None]).square()).sum(2) + (rows * (y - mean_y[..., None]).square()).sum(2)
    return torch.stack((mean_x, mean_y), 2), variance.clamp_min(1e-12).sqrt()


def landmark_weights() -> Path:
    """The weights file in the package."""
    return Path(str(importlib.resources.files("editkit"))) / "models" / "landmarks.safetensors"


@lru_cache(maxsize=4)
def load_landmark_network(path: Path | None = None) -> LandmarkNetwork:
    """The network with frozen float32 weights, on the CPU, shared by all who ask for the same file.

    path: the bundled weights by default. Raises CheckpointError: missing, damaged, or of another kind.
    """
    from editkit.checkpoints.native import read_checkpoint

    path = path or landmark_weights()
    checkpoint = read_checkpoint(path)
    if checkpoint.header["kind"] != "landmarks":
        raise CheckpointError(f"{path} holds a {checkpoint.header['kind']!r} network; a landmarks file is needed")
    try:
        network = LandmarkNetwork(**checkpoint.header["arguments"])
        network.load_state_dict(checkpoint.tensors)  # copies half precision into float32
    except (RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} does not fit the landmark network: {error}") from error
    return network.eval().requires_grad_(False)

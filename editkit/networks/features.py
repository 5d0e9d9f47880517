"""A small face network, trained in this repository, behind the bundled distance, ``fd_faces`` and the scorers.

A plain convolutional trunk without any normalisation layer: an image's features never depend on its batch, and what
was trained is exactly what runs. Leaky ReLUs and binomial low-pass filters before every halving (Zhang, "Making
Convolutional Networks Shift-Invariant Again", ICML 2019, section 3.2) keep the gradient with respect to the image free
of the grid pattern that plain striding leaves in it.

Convention: images are float32 [N, 3, H, W], RGB, in [-1, 1]; points are (x, y) with the origin at the top-left corner
of the image, whose width is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editkit.errors import UsageError

HEAD_SIZE = 64
"""Side in pixels of the faces that the heads were trained on."""
MIN_SIZE = 32
"""Smaller images are enlarged to this side: below it the deepest stage has no pixel left."""
AGE_CENTRES: tuple[float, ...] = (24.5, 34.5, 44.5, 54.5, 64.5, 75.0)
"""Years that stand for the brackets 20-29, 30-39, 40-49, 50-59, 60-69 and "more than 70"."""

_SLOPE = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class FaceAttributes:
    """What the heads read off a batch of aligned faces.

    Attributes:
        age_logits: [N, 6], one per bracket of ``AGE_CENTRES``.
        gender_logit: [N], log-odds of "Male" against "Female" presentation, the data set's two labels.
        yaw: [N], turn of the head: offset of the nose tip from the face's middle line over the eye distance.
        landmarks: [N, 5, 2], (x, y) of the eye on the image's left, the other eye, the nose tip, the mouth corner on
            the image's left and the other one, in image widths.
    """

    age_logits: Tensor
    gender_logit: Tensor
    yaw: Tensor
    landmarks: Tensor

    @property
    def age(self) -> Tensor:
        """Expected age in years, [N]: the centres of the brackets weighted by their probabilities."""
        centres = torch.tensor(AGE_CENTRES, device=self.age_logits.device, dtype=self.age_logits.dtype)
        return self.age_logits.softmax(dim=1) @ centres


class FeatureNetwork(nn.Module):
    """Five stages at 1, 1/2, 1/4, 1/8 and 1/16 of the image's side, an embedding, and heads for face attributes.

    At 64 px: 62 million multiply-adds times two, 0.99 million parameters.

    Args:
        widths: channels of the five stages.
        embedding_dim: length D of the embedding.
    """

    def __init__(self, *, widths: Sequence[int] = (16, 32, 48, 96, 192), embedding_dim: int = 256) -> None:
        super().__init__()
        if len(widths) != 5 or min(widths) < 1 or embedding_dim < 1:
            raise UsageError(
                f"A FeatureNetwork has five positive stage widths and a positive embedding, got widths="
                f"{tuple(widths)}, embedding_dim={embedding_dim}."
            )
        self.widths = tuple(int(width) for width in widths)
        self.embedding_dim = int(embedding_dim)
        self.enter = nn.ModuleList(
            _conv(before, after, 3) for before, after in zip((3, *self.widths[:-1]), self.widths, strict=True)
        )
        # The two finest stages are where most pixels are: one convolution each keeps the whole near 62 MFLOP at 64 px.
        self.refine = nn.ModuleList(
            _conv(width, width, 3, gain=0.3) if stage >= 2 else nn.Identity() for stage, width in enumerate(self.widths)
        )
        self.embed_reduce = _conv(self.widths[4], 32, 1)
        self.embed_out = nn.Linear(32 * (HEAD_SIZE // 16) ** 2 + sum(self.widths[2:]), self.embedding_dim)
        self.geometry_reduce = _conv(self.widths[3], 16, 1)
        self.geometry_hidden = nn.Linear(16 * (HEAD_SIZE // 8) ** 2, 96)
        self.geometry_out = nn.Linear(96, 11)
        self.age_out = nn.Linear(self.embedding_dim, len(AGE_CENTRES))
        self.gender_out = nn.Linear(self.embedding_dim, 1)
        # Weights of the perceptual distance (editkit.perceptual), a channel of a stage a column, for 64 and 128 px.
        self.channel_weights: Tensor
        self.register_buffer("channel_weights", torch.ones(2, sum(self.widths)))

    def stages(self, images: Tensor) -> list[Tensor]:
        """The activations of the five stages, each [N, widths[i], H / 2**i, W / 2**i].

        Sides are used as they are, but for those under ``MIN_SIZE``, which are enlarged to it.
        """
        x = _checked(images)
        if min(x.shape[2:]) < MIN_SIZE:
            x = resize(x, (max(x.shape[2], MIN_SIZE), max(x.shape[3], MIN_SIZE)))
        x = x.contiguous(memory_format=torch.channels_last)
        found: list[Tensor] = []
        for stage, (enter, refine) in enumerate(zip(self.enter, self.refine, strict=True)):
            if stage:
                x = _halve(x)
            x = F.leaky_relu(enter(x), _SLOPE)
            if stage >= 2:
                x = x + F.leaky_relu(refine(x), _SLOPE)
            found.append(x)
        return found

    def embed(self, images: Tensor) -> Tensor:
        """The embedding [N, D] of images of any size; they are brought to ``HEAD_SIZE`` first."""
        return self._embedding(self.stages(_head_sized(images)))

    def attributes(self, images: Tensor) -> FaceAttributes:
        """The face attributes of images of any size, aligned as the training faces ("faces128")."""
        stages = self.stages(_head_sized(images))
        return self.heads(stages, self._embedding(stages))

    def forward(self, images: Tensor) -> tuple[list[Tensor], Tensor, FaceAttributes]:
        """Stages, embedding and attributes in one pass over [N, 3, HEAD_SIZE, HEAD_SIZE]; what training needs."""
        stages = self.stages(_head_sized(images))
        embedding = self._embedding(stages)
        return stages, embedding, self.heads(stages, embedding)

    def heads(self, stages: Sequence[Tensor], embedding: Tensor) -> FaceAttributes:
        """Attributes from the stages of ``HEAD_SIZE`` images and their embedding."""
        hidden = F.leaky_relu(embedding, _SLOPE)
        geometry = F.leaky_relu(self.geometry_reduce(stages[3]), _SLOPE).flatten(1)
        geometry = self.geometry_out(F.leaky_relu(self.geometry_hidden(geometry), _SLOPE))  # [N, 11]
        return FaceAttributes(
            age_logits=self.age_out(hidden),
            gender_logit=self.gender_out(hidden)[:, 0],
            yaw=geometry[:, 0] * 0.1,  # offsets in units that keep the regression targets near one
            landmarks=geometry[:, 1:].reshape(-1, 5, 2) * 0.1 + 0.5,
        )

    def _embedding(self, stages: Sequence[Tensor]) -> Tensor:
        layout = F.leaky_relu(self.embed_reduce(stages[4]), _SLOPE).flatten(1)
        pooled = [stage.mean(dim=(2, 3)) for stage in stages[2:]]
        return self.embed_out(torch.cat([layout, *pooled], dim=1))


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """[N, C, H, W] brought to ``size`` = (height, width): by area where it shrinks, bilinearly where it grows."""
    if tuple(images.shape[2:]) == tuple(size):
        return images
    if images.shape[2] >= size[0] and images.shape[3] >= size[1]:
        return F.interpolate(images, size=size, mode="area")
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True)


def _head_sized(images: Tensor) -> Tensor:
    return resize(_checked(images), (HEAD_SIZE, HEAD_SIZE))


def _checked(images: Tensor) -> Tensor:
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape or not images.is_floating_point():
        raise UsageError(
            f"Features need floating-point images [N, 3, H, W] in [-1, 1], got {images.dtype} "
            f"{tuple(images.shape)}: convert with editkit.photo first."
        )
    return images


def _conv(before: int, after: int, size: int, *, gain: float = 1.0) -> nn.Conv2d:
    layer = nn.Conv2d(before, after, size, padding=size // 2)
    nn.init.kaiming_normal_(layer.weight, a=_SLOPE)
    with torch.no_grad():
        # This layout is the fast one on a CPU, a third quicker at a batch of one; loading weights keeps it.
        layer.weight.data = layer.weight.mul(gain).contiguous(memory_format=torch.channels_last)
        if layer.bias is not None:
            layer.bias.zero_()
    return layer


def _halve(x: Tensor) -> Tensor:
    """Binomial (1, 3, 3, 1) low-pass filter, every second sample; the taps straddle the new pixel's centre."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], device=x.device, dtype=x.dtype) / 8.0
    kernel = torch.outer(taps, taps).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(x, kernel, stride=2, padding=1, groups=x.shape[1])

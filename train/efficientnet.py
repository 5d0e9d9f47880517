"""EfficientNet-Lite as a frozen feature network, from the weights that Google published: no timm, no torchvision.

Source: Tan & Le 2019, "EfficientNet", table 1 (stages of B0) and section 3.3 (width and depth grow together); Liu, R.
2020, "Higher accuracy on vision models with EfficientNet-Lite", TensorFlow blog: no squeeze-and-excitation, ReLU6, the
stem is not widened, the first and the last stage are not deepened. Sauer et al. 2021, "Projected GANs Converge Faster",
section 4.2, looks at four of its maps, at strides 4, 8, 16 and 32. Departure: batch norms are folded into the
convolutions before them, which changes nothing but rounding. Maps are given as they are, of a root mean square near 10
on faces (the bundled network's: 0.1); brought to one they left fd_texture at 0.65 instead of 0.33 (one seed).

Convention: images are float32 [N, 3, H, W], RGB, in [-1, 1], and taken as they are. The published weights saw
(x - 127) / 128 of bytes x, which differs by 0.008 at most.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editkit.networks.features import resize
from editkit.ops.backends import current_precision, half_products

LEAST = 128
"""Side in pixels that smaller pictures are brought to."""
_STEM = 32
_EPSILON = 1e-3  # of the batch norms, TensorFlow's
_TAPPED = (1, 2, 4, 6)  # stages that end at strides 4, 8, 16 and 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How a network grows out of the smallest, and the side in pixels that it was trained on."""

    width: float
    depth: float
    side: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """``repeats`` blocks, of which the first has the stride."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


SIZES: Mapping[int, Size] = {
    0: Size(width=1.0, depth=1.0, side=224),
    1: Size(width=1.0, depth=1.1, side=240),
    2: Size(width=1.1, depth=1.2, side=260),
}
_STAGES = (
    Stage(repeats=1, kernel=3, stride=1, expansion=1, channels=16),
    Stage(repeats=2, kernel=3, stride=2, expansion=6, channels=24),
    Stage(repeats=2, kernel=5, stride=2, expansion=6, channels=40),
    Stage(repeats=3, kernel=3, stride=2, expansion=6, channels=80),
    Stage(repeats=3, kernel=5, stride=1, expansion=6, channels=112),
    Stage(repeats=4, kernel=5, stride=2, expansion=6, channels=192),
    Stage(repeats=1, kernel=3, stride=1, expansion=6, channels=320),
)


def same_padding(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's "same": pixels before and after, so that ceil(side / stride) come out; the odd one goes after."""
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


class _ReLU6(torch.autograd.Function):
    """In place, and its slope from what comes out: torch's own takes a copy and another tensor of memory."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def, override]
        ctx.mark_dirty(x)
        ctx.save_for_backward(x.clamp_(0, 6))
        return x

    @staticmethod
    def backward(ctx, gy: Tensor) -> Tensor:  # type: ignore[no-untyped-def, override]
        return torch.ops.aten.hardtanh_backward(gy, *ctx.saved_tensors, 0, 6)


class FoldedConv(nn.Module):
    """A convolution, its batch norm and ReLU6 in one; ``name`` and ``norm``: what both are called in the file."""

    weight: Tensor
    bias: Tensor

    def __init__(
        self,
        name: str,
        norm: str,
        before: int,
        after: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        bent: bool = True,
    ) -> None:
        super().__init__()
        self.name, self.norm, self.bent = name, norm, bent
        self.kernel, self.stride, self.groups = kernel, stride, groups
        self.register_buffer("weight", torch.zeros(after, before // groups, kernel, kernel))
        self.register_buffer("bias", torch.zeros(after))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the tensors in the file that it is made of, by name."""
        norms = {f"{self.norm}.{part}": (len(self.bias),) for part in ("weight", "bias", "running_mean", "running_var")}
        return {f"{self.name}.weight": tuple(self.weight.shape)} | norms

    def fold(self, weights: Mapping[str, Tensor]) -> None:
        """Takes its weights from those of a file, whose shapes have been checked."""
        scale, shift, mean, variance = (
            weights[f"{self.norm}.{part}"].double() for part in ("weight", "bias", "running_mean", "running_var")
        )
        gain = scale / (variance + _EPSILON).sqrt()
        self.weight.copy_(weights[f"{self.name}.weight"].double() * gain[:, None, None, None])
        self.bias.copy_(shift - mean * gain)

    def forward(self, x: Tensor) -> Tensor:
        """[N, before, H, W] to [N, after, ceil(H / stride), ceil(W / stride)]."""
        (top, bottom), (left, right) = (same_padding(side, self.kernel, self.stride) for side in x.shape[2:])
        weight = F.pad(self.weight, (right - left, 0, bottom - top, 0))  # zeros before it: no copy of the picture
        x = F.conv2d(x, weight, self.bias, self.stride, (bottom, right), groups=self.groups)
        return _ReLU6.apply(x) if self.bent else x


class Block(nn.Module):
    """Widen, filter each channel by itself, narrow again; skipped over where nothing changes its shape."""

    def __init__(self, name: str, before: int, stage: Stage, after: int, stride: int) -> None:
        super().__init__()
        inside = before * stage.expansion
        layers = [FoldedConv(f"{name}._expand_conv", f"{name}._bn0", before, inside)] if stage.expansion > 1 else []
        layers += [
            FoldedConv(
                f"{name}._depthwise_conv", f"{name}._bn1", inside, inside, stage.kernel, stride=stride, groups=inside
            ),
            FoldedConv(f"{name}._project_conv", f"{name}._bn2", inside, after, bent=False),
        ]
        self.body = nn.Sequential(*layers)
        self.skipped = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """[N, before, H, W] to [N, after, ceil(H / stride), ceil(W / stride)]."""
        y = self.body(x)
        return x + y if self.skipped else y


class EfficientNetLite(nn.Module):
    """Its four maps; all zero until ``load``.

    Args:
        size: 0, 1 or 2, a key of ``SIZES``.
        side: that pictures are brought to; None: their own, from ``LEAST`` up to what it was trained on.
    """

    def __init__(self, size: int, *, side: int | None = None) -> None:
        super().__init__()
        grown = SIZES[size]
        self.side, self.largest = side, grown.side
        self.id = f"efficientnet-lite{size}@{side or f'{LEAST}-{grown.side}'}"
        self.stem = FoldedConv("_conv_stem", "_bn0", 3, _STEM, 3, stride=2)
        blocks: list[Block] = []
        self.taps: list[int] = []
        before = _STEM
        for index, stage in enumerate(_STAGES):
            after = _widened(stage.channels, grown.width)
            ends = index in (0, len(_STAGES) - 1)
            for repeat in range(stage.repeats if ends else math.ceil(stage.repeats * grown.depth)):
                stride = 1 if repeat else stage.stride
                blocks.append(Block(f"_blocks.{len(blocks)}", before, stage, after, stride))
                before = after
            if index in _TAPPED:
                self.taps.append(len(blocks) - 1)
        self.blocks = nn.ModuleList(blocks)
        self._rough: list[nn.Module] = []  # a copy in bfloat16, made when first wanted; no part of the state
        self.eval()

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the tensors that ``load`` takes, by name: the layout of the PyTorch EfficientNet of L. Melas-Kyriazi."""
        return {name: shape for layer in self._layers() for name, shape in layer.shapes().items()}

    def load(self, weights: Mapping[str, Tensor], *, checksum: str) -> EfficientNetLite:
        """Takes over ``weights``, which have ``shapes``; ``checksum`` of their file goes into ``id``."""
        for layer in self._layers():
            layer.fold(weights)
        self.id += f"-{checksum[:16]}"
        for layer in self._layers():  # the layout of the maps, and the fast one for depthwise filters on a CPU
            layer.weight = layer.weight.contiguous(memory_format=torch.channels_last)
        return self

    def train(self, mode: bool = True) -> EfficientNetLite:
        """Stays in evaluation mode."""
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """See ``Backbone``: [N, 3, R, R] in [-1, 1] to maps at strides 4, 8, 16 and 32 of the side.

        In precision "half" (see ``editkit.ops.backends``) passes without a gradient run in bfloat16.
        """
        side = self.side or min(max(images.shape[2], LEAST), self.largest)
        x = resize(images, (side, side)).contiguous(memory_format=torch.channels_last)
        rough = x.device.type == "cpu" and current_precision() == "half" and half_products()
        if rough and not (torch.is_grad_enabled() and images.requires_grad):
            if not self._rough:
                self._rough = [copy.deepcopy(part).bfloat16() for part in (self.stem, *self.blocks)]
            return [found.float() for found in self._run(self._rough, x.bfloat16())]
        return self._run([self.stem, *self.blocks], x)

    def _run(self, parts: Iterable[nn.Module], x: Tensor) -> list[Tensor]:
        found = []
        for index, part in enumerate(parts, start=-1):  # the stem comes before the first block
            x = part(x)
            if index in self.taps:
                found.append(x)
        return found

    def _layers(self) -> Iterator[FoldedConv]:
        return (module for module in self.modules() if isinstance(module, FoldedConv))


def _widened(channels: int, width: float) -> int:
    """The multiple of 8 nearest to ``channels * width``, but not below nine tenths of it."""
    wanted = channels * width
    nearest = int(wanted + 4) // 8 * 8
    return nearest + 8 if nearest < 0.9 * wanted else nearest

"""Codes of a video's frames: one base for all of them, and an offset a frame that stays near the one before.

Source: the base and offsets follow the W+ search of ``projector.optimise`` (Karras et al. 2020, section 5; Abdal et al.
2019); that offsets of neighbouring frames are tied together is Tzaban et al. 2022, "Stitch it in Time", section 3.2, in
spirit: there an encoder's smoothness does it, here a penalty and a filter over time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from editkit.errors import UsageError
from editkit.generator import Generator
from editkit.labels import Classes
from editkit.latent import Latent
from editkit.perceptual import PerceptualDistance
from editkit.schedule import rise_and_fall
from projector.losses import PictureLoss, Weights
from projector.statistics import WStatistics, sample_statistics


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameByFrame:
    """Settings of the search for a video.

    Attributes:
        base_steps: of the base, which is to fit ``keyframes`` frames spread over the video at once.
        steps: of each frame's offset; the first frame, which has none before it, takes three times as many.
        lr, frame_lr: peak learning rates, in standard deviations of W.
        tie: weight of the mean squared difference to the offset of the frame before.
        sigma: frames, of the smoothing of offsets and of the crop's place over time; 0 turns it off.
        weights: see ``projector.Weights``.
    """

    base_steps: int = 150
    keyframes: int = 6
    steps: int = 30
    lr: float = 0.3
    frame_lr: float = 0.08
    tie: float = 0.2
    sigma: float = 2.0
    weights: Weights = field(default_factory=Weights)

    def __post_init__(self) -> None:
        if min(self.base_steps, self.keyframes, self.steps) < 1:
            raise UsageError("base_steps, keyframes and steps are at least 1")
        if not (math.isfinite(self.sigma) and self.sigma >= 0):
            raise UsageError(f"sigma is a number of frames, 0 or more, got {self.sigma}")


class ClipSearch:
    """The searches of one video; codes are W+ [1, num_ws, w_dim], offsets in standard deviations of W."""

    def __init__(
        self, G: Generator, method: FrameByFrame, perceptual: PerceptualDistance, *, classes: Classes | None = None
    ) -> None:
        self.G, self.method, self.perceptual = G, method, perceptual
        self.statistics: WStatistics = sample_statistics(G, classes=classes)

    def base(self, targets: Tensor) -> Tensor:
        """Codes whose one picture is nearest to all ``targets`` [K, 3, R, R] together."""
        start = self.statistics.mean.expand(1, self.G.spec.num_ws, -1).contiguous()
        offset = self._search(start, torch.zeros_like(start), targets, None, self.method.base_steps, self.method.lr)
        return start + offset @ self.statistics.axes

    def offset(self, base: Tensor, target: Tensor, before: Tensor | None) -> Tensor:
        """The offset of one frame [1, 3, R, R] from ``base``; ``before``: that of the frame before it."""
        steps = self.method.steps * (3 if before is None else 1)
        first = torch.zeros_like(base) if before is None else before
        return self._search(base, first, target, before, steps, self.method.frame_lr)

    def codes(self, base: Tensor, offset: Tensor) -> Tensor:
        """Base and offset together."""
        return base + offset @ self.statistics.axes

    def offset_of(self, base: Tensor, codes: Tensor) -> Tensor:
        """What ``codes`` is made of: the inverse of ``codes()``."""
        return self.statistics.deviations(codes - base)

    def latent(self, codes: Tensor) -> Latent:
        """Codes as a latent of the generator."""
        spec = self.G.spec
        return Latent(space="w+", codes=codes, generator=spec.id, parent=spec.parent_id)

    def _search(
        self, base: Tensor, first: Tensor, targets: Tensor, before: Tensor | None, steps: int, lr: float
    ) -> Tensor:
        weights = self.method.weights
        loss = PictureLoss(targets.to(self.G.device), self.perceptual, weights)
        offset = first.clone().requires_grad_(True)
        optimizer = torch.optim.Adam([offset], betas=(0.9, 0.99))
        best, kept = math.inf, first
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = lr * rise_and_fall(step, steps, rise=0.1 * steps)
            image = self.G.synthesize(self.latent(self.codes(base, offset)))
            total = torch.stack(list(loss(image.expand(len(targets), -1, -1, -1)).values())).mean(1).sum()
            shared = offset.mean(1, keepdim=True)
            total = total + weights.spread * (offset - shared).square().mean() + weights.prior * shared.square().mean()
            if before is not None:
                total = total + self.method.tie * (offset - before).square().mean()
            value = float(total.detach())
            if value < best:
                best, kept = value, offset.detach().clone()
            elif not math.isfinite(value):
                break
            optimizer.zero_grad(set_to_none=True)
            total.backward()
            optimizer.step()
        return kept

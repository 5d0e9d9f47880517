"""The game of Projected GANs: hinge losses summed over the discriminators of all scales, without gradient penalties.

Source: Sauer et al. 2021, "Projected GANs Converge Faster", section 3.2, equation 4; hinge: Lim & Ye 2017.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.losses import Batch, Game, Report, _real, frozen
from train.path_length import PathLength

_PLACES = 16  # logits of a scale, averaged; scales are summed


class Projected(Game):
    """Hinge; ``discriminator`` is a ``ProjectedDiscriminator``, wrapped or not. ``gamma`` has no meaning here.

    ``guidance`` may be set: images and labels to a further loss of the generator, [N]; see ``train.guidance``.
    """

    def __init__(self, generator: Any, discriminator: nn.Module, *, augment: Any = None, blur: Any = None,
                 style_mixing: float = 0.0, synthesis_options: Any = None, path_length: PathLength | None = None,
                 guidance: Callable[[Tensor, Tensor], Tensor] | None = None) -> None:  # fmt: skip
        super().__init__(
            generator, discriminator, augment=augment, blur=blur, style_mixing=style_mixing,
            synthesis_options=synthesis_options, path_length=path_length,
        )  # fmt: skip
        self.guidance = guidance

    def play_generator(self, batch: Batch, *, gain: float = 1.0) -> Report:
        """-D(fake), summed over scales, and the classifier's loss where there is one."""
        with frozen(self.discriminator):
            fake, _ = self.generate(batch)
            logits = self.judge(fake, batch.label, batch, role="fake")
            loss = _summed(-logits)
            report = _scores("fake", logits) | {"loss/G": loss.detach()}
            if self.guidance is not None and batch.label is not None:
                told = self.guidance(fake, batch.label)
                report["loss/G/classifier"] = told.detach()
                loss = loss + told
            loss.mean().mul(gain).backward()
        return report

    def play_discriminator(
        self, batch: Batch, *, gain: float = 1.0, play: bool = True, penalise: bool = True
    ) -> Report:
        """max(0, 1 + D(fake)) + max(0, 1 - D(real)), summed over scales. There is nothing to penalise."""
        del penalise
        if not play:
            return {}
        with torch.no_grad():
            fake, _ = self.generate(batch, update_emas=True)
        fake_logits = self.judge(fake, batch.label, batch, role="fake")
        fake_loss = _summed(F.relu(1 + fake_logits))
        fake_loss.mean().mul(gain).backward()
        logits = self.judge(_real(batch).detach(), batch.real_label, batch, role="real")
        loss = _summed(F.relu(1 - logits))
        loss.mean().mul(gain).backward()
        return _scores("fake", fake_logits) | _scores("real", logits) | {"loss/D": (fake_loss + loss).detach()}


def _summed(values: Tensor) -> Tensor:
    """[N, 16 * scales] to [N]: the mean over places, the sum over scales."""
    return values.sum(1) / _PLACES


def _scores(kind: str, logits: Tensor) -> Report:
    mean = logits.detach().mean(1)
    return {f"scores/{kind}": mean, f"signs/{kind}": mean.sign()}

"""What the starter recipe computes of a batch, or of a part of one: the discriminator's gradients first, then, once it
has moved, those of the generator and of the encoder."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editkit.networks.stylegan3 import StyleGAN3Generator
from editkit.ops.backends import precision
from train.feature_objectives import stage_distances
from train.losses import multiscale_l1
from train.starter_batches import moved

if TYPE_CHECKING:
    from train.starter import StarterTraining

Draw = dict[str, Tensor]


def parts_of(draw: Draw, threads: int) -> list[Draw]:
    """A step's draw in as many parts of one size as there are ``threads``, or in fewer where it does not divide.

    Each has its share of the photographs that are reconstructed, of the others and of the samples.
    """
    count, samples = len(draw["noise"]), len(draw["prior"])
    parts = max(k for k in range(1, threads + 1) if count % k == 0 == samples % k)
    shown, drawn = count // parts, samples // parts

    def part(i: int) -> Draw:
        first = torch.arange(i * shown, (i + 1) * shown)
        places = torch.cat([first, torch.arange(i * drawn, (i + 1) * drawn) + count])
        return draw | {
            **{name: draw[name][places] for name in ("rows", "flips", "shifts")},
            "noise": draw["noise"][first],
            "prior": draw["prior"][i * drawn : (i + 1) * drawn],
        }

    return [draw] if parts == 1 else [part(i) for i in range(parts)]


class Play:
    """``judge``, then ``answer``, of one part; several of them, on threads of their own, share all weights."""

    def __init__(self, training: StarterTraining, generator: StyleGAN3Generator) -> None:
        self.training, self.generator = training, generator

    def beside(self) -> Play:
        """Another one with the same weights, whose generator has running magnitudes of its own."""
        shared: dict[int, object] = {id(p): p for p in self.generator.parameters()}
        return Play(self.training, copy.deepcopy(self.generator, shared))

    @property
    def magnitudes(self) -> list[Tensor]:
        """The running ones."""
        return [layer.magnitude_ema for layer in self.generator.synthesis.layers()]

    def judge(self, draw: Draw) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Makes the pictures; the gradients of the discriminator and scalars for the log.

        Hinge, averaged over places and scales. Of reconstructions and samples these alone are judged, once there are
        some: reconstructions may be blurred where a code does not tell.
        """
        t, c, count = self.training, self.training.config, len(draw["noise"])
        real = t.batches.read(draw["rows"], draw["flips"])
        with torch.no_grad():
            known = t.features(real[:count])
        self.given = t.encoder(real[:count], known)
        self.codes = self.given - t.prior_of_codes.centre
        ws = torch.cat([self.codes + c.code_noise * draw["noise"], t.prior_of_codes(draw["prior"])])
        self.fake = self.generator.synthesis(ws[:, None].expand(-1, self.generator.num_ws, -1), update_emas=True)
        with torch.no_grad(), precision("fast"):  # as those of the samples, or the rounding gives the samples away
            real_maps = t.features(moved(real, draw["shifts"]))
        fake_maps = t.features(moved(self.fake, draw["shifts"]))
        self.judged = [x[count:] for x in fake_maps] if len(draw["prior"]) else fake_maps
        self.real, self.maps = real[:count], [(x[:count], y[:count]) for x, y in zip(fake_maps, real_maps, strict=True)]
        loss, report = self.told(real_maps, [x.detach() for x in self.judged])
        return list(torch.autograd.grad(loss, list(t.discriminator.parameters()))), report

    def told(self, real_maps: Sequence[Tensor], fake_maps: Sequence[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The discriminator's loss and scalars for the log."""
        both = self.training.discriminator.judge([torch.cat(maps) for maps in zip(real_maps, fake_maps, strict=True)])
        real, fake = both.split([len(real_maps[0]), len(fake_maps[0])])
        loss = F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        return loss, {"judge": loss.detach(), "real": real.detach().mean(), "fake": fake.detach().mean()}

    def answer(self, draw: Draw) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Gradients of the synthesis network and of the encoder, in this order, and scalars for the log."""
        t, c, fake = self.training, self.training.config, self.fake[: len(self.real)]
        game = -t.discriminator.judge(self.judged).mean()
        features = stage_distances(*([_unit(x) for x in side] for side in zip(*self.maps, strict=True))).mean(0).sum()
        pixels = multiscale_l1(fake, self.real)
        loss = (
            c.pixel_weight * pixels
            + c.feature_weight * features
            + c.adversarial_weight * draw["ramp"] * game
            + c.code_weight * self.codes.square().mean()
        )
        found = torch.autograd.grad(loss, [*self.generator.synthesis.parameters(), *t.encoder.parameters()])
        report = {
            "pixels": pixels.detach(),
            "features": features.detach(),
            "game": game.detach(),
            "psnr": _psnr(fake, self.real),
        }
        del self.fake, self.judged, self.maps, self.codes, self.real
        return list(found), report


def _unit(x: Tensor) -> Tensor:
    """Unit channel vectors: their squared distance is that of Zhang et al. 2018, "The Unreasonable Effectiveness of
    Deep Features as a Perceptual Metric", equation 1, unweighted."""
    return x * (x.square().sum(1, keepdim=True) + 1e-6).rsqrt()


def _psnr(image: Tensor, target: Tensor) -> Tensor:
    mse = F.mse_loss(image.detach().clamp(-1, 1), target)
    return 10 * torch.log10(4 / mse.clamp_min(1e-12))


def mean_of(found: Sequence[tuple[list[Tensor], dict[str, Tensor]]]) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Gradients and scalars of parts of one size as those of the whole."""
    gradients, reports = zip(*found, strict=True)
    if len(found) == 1:
        return gradients[0], reports[0]
    for others in gradients[1:]:
        torch._foreach_add_(gradients[0], others)
    torch._foreach_div_(gradients[0], len(found))
    return gradients[0], {name: torch.stack([r[name] for r in reports]).mean() for name in reports[0]}


def set_gradients(module: nn.Module, gradients: Sequence[Tensor]) -> None:
    """As ``backward`` leaves them."""
    for parameter, gradient in zip(module.parameters(), gradients, strict=True):
        parameter.grad = gradient

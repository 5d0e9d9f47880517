"""Losses of generator training: reconstruction at several scales, and adversarial games, one class a recipe.

A game adds gradients to the networks' parameters and reports numbers a sample; when to step, how often to penalise
(lazily) and over which ranks to average is the loop's business.

Convention: images are [N, C, R, R] in [-1, 1], logits [N, 1], higher for "real". ``gain`` multiplies a phase's loss:
the number of steps between two runs of a lazily run phase (Karras et al. 2020, StyleGAN2, appendix B).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.fading import BlurFade
from train.path_length import PathLength
from train.streams import Prefixed, Source, sample_maps

Report = dict[str, Tensor]
"""Numbers a sample, [N] each, detached, by name: "scores/fake", "signs/real", "loss/G", "penalty/r1" ..."""


def multiscale_l1(image: Tensor, target: Tensor, *, scales: int = 3) -> Tensor:
    """Mean absolute difference of pixels and of their gradients, summed over ``scales`` halvings.

    Args:
        image, target: [N, C, R, R] in [-1, 1].

    Returns:
        a scalar.
    """
    total = image.new_zeros([])
    for scale in range(scales):
        if scale:
            image, target = F.avg_pool2d(image, 2), F.avg_pool2d(target, 2)
        difference = image - target
        edges_x, edges_y = (
            difference[..., :, 1:] - difference[..., :, :-1],
            difference[..., 1:, :] - difference[..., :-1, :],
        )
        total = total + difference.abs().mean() + edges_x.abs().mean() + edges_y.abs().mean()
    return total


def relativistic_loss(better: Tensor, worse: Tensor) -> Tensor:
    """softplus(worse - better), averaged: the pairing loss of Jolicoeur-Martineau 2019 in its logistic form.

    The discriminator passes (real, fake) logits, the generator (fake, real).
    """
    return F.softplus(worse - better).mean()


def gradient_penalty(discriminator: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared norm of the discriminator's gradient at ``images``, and its logits there.

    R1 on real images, R2 on generated ones (Mescheder et al. 2018, equation 9); half the weight gamma multiplies it.
    """
    images = images.detach().requires_grad_(True)
    logits = discriminator(images)
    return squared_gradient(logits, images).mean(), logits


def squared_gradient(logits: Tensor, images: Tensor) -> Tensor:
    """Squared norm of d logits / d images, [N], differentiable; ``images`` [N, C, H, W] led to ``logits`` [N, K].

    Of the K logits of a sample the mean counts.
    """
    (gradient,) = torch.autograd.grad(logits.flatten(1).mean(1).sum(), images, create_graph=True)
    return gradient.square().sum([1, 2, 3])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """What a phase works on. ``source`` draws for N samples; ``seen`` is the number of images shown so far.

    The generator's phases need no ``real`` unless the game pairs images.
    """

    z: Tensor  # [N, z_dim]
    source: Source
    seen: int
    label: Tensor | None = None  # [N, c_dim], of the generated images
    real: Tensor | None = None  # [N, C, R, R]
    real_label: Tensor | None = None  # [N, c_dim]


class Game(ABC):
    """What all games share: how images are made and judged, style mixing, blur, path length.

    The running means of the networks (of w, and StyleGAN3's magnitudes) move in the discriminator's phase only, once a
    step. StyleGAN3 normalises styles over the batch in training, as published networks were (``couple_styles``).

    Args:
        generator, discriminator: networks in training mode. What is called is ``generator.mapping``,
            ``generator.synthesis`` and ``discriminator``; each of them may be wrapped (DistributedDataParallel).
        augment: images and the phase's source to augmented images, or None; see ``train.augment``.
        gamma: weight of the gradient penalties; see ``train.heuristics``.
        style_mixing: share of samples whose later rows come from another z (Karras et al. 2019, section 3.1).
        path_length: the regulariser of ``regularise_generator``, or None.
        blur: of all that the discriminator sees, early on, or None.
        synthesis_options: of StyleGAN2's synthesis: ``{"noise_mode": "random"}`` to train, where every sample's maps
            are drawn by its own stream.
    """

    def __init__(
        self,
        generator: Any,
        discriminator: nn.Module,
        *,
        augment: Callable[[Tensor, Source], Tensor] | None = None,
        gamma: float = 10.0,
        style_mixing: float = 0.0,
        path_length: PathLength | None = None,
        blur: BlurFade | None = None,
        synthesis_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.generator, self.discriminator, self.augment = generator, discriminator, augment
        self.gamma, self.style_mixing, self.path_length, self.blur = gamma, style_mixing, path_length, blur
        self.synthesis_options = dict(synthesis_options or {})
        self._has_emas = hasattr(generator.synthesis, "couple_styles")
        if self._has_emas:
            generator.synthesis.couple_styles(True)

    def generate(self, batch: Batch, *, update_emas: bool = False, count: int | None = None) -> tuple[Tensor, Tensor]:
        """Images [N, C, R, R] and the ws [N, num_ws, w_dim] they came from; of the first ``count`` samples."""
        z = batch.z[:count]
        label = None if batch.label is None else batch.label[:count]
        ws = self.generator.mapping(z, label, update_emas=update_emas)
        if self.style_mixing > 0:
            ws = self._mixed(ws, batch, label)
        options = self.synthesis_options | ({"update_emas": update_emas} if self._has_emas else {})
        if options.get("noise_mode") == "random":
            shapes = {name: stored.shape for name, stored in self.generator.synthesis.noise_maps().items()}
            options |= {"noise_mode": "const", "noise": sample_maps(batch.source, shapes, len(z), device=z.device)}
        return self.generator.synthesis(ws, **options), ws

    def judge(self, images: Tensor, label: Tensor | None, batch: Batch, *, role: str) -> Tensor:
        """Logits [N, 1] of blurred and augmented images; ``role`` keeps the randomness of real and fake apart."""
        if self.blur is not None:
            images = self.blur(images, seen=batch.seen)
        if self.augment is not None:
            images = self.augment(images, Prefixed(batch.source, role))
        return self.discriminator(images, label)

    def regularise_generator(self, batch: Batch, *, gain: float = 1.0) -> Report:
        """Adds the gradients of the path length penalty to the generator's parameters; nothing without one."""
        if self.path_length is None:
            return {}
        count = self.path_length.count(len(batch.z))
        images, ws = self.generate(batch, count=count)
        noise = batch.source.field("path_length", count, images.shape[1:]).to(images)
        penalty, loss = self.path_length(images, ws, noise)
        loss.mean().mul(gain).backward()
        return {"penalty/path_length": penalty.detach(), "loss/G/path_length": loss.detach()}

    @abstractmethod
    def play_generator(self, batch: Batch, *, gain: float = 1.0) -> Report:
        """Adds the gradients of the generator's part of the game to its parameters."""

    @abstractmethod
    def play_discriminator(
        self, batch: Batch, *, gain: float = 1.0, play: bool = True, penalise: bool = True
    ) -> Report:
        """Adds the gradients of the discriminator's part to its parameters: the game, the penalties, or both."""

    def _mixed(self, ws: Tensor, batch: Batch, label: Tensor | None) -> Tensor:
        count, rows = ws.shape[:2]
        z = batch.source.normal("mixing_z", count, batch.z.shape[1]).to(batch.z)
        other = self.generator.mapping(z, label, update_emas=False)
        cutoff = 1 + (batch.source.uniform("mixing_cutoff", count)[:, 0] * (rows - 1)).floor()  # 1 to rows - 1
        happens = batch.source.uniform("mixing?", count)[:, 0] < self.style_mixing
        cutoff = torch.where(happens, cutoff, float(rows))
        later = torch.arange(rows)[None] >= cutoff[:, None]  # [N, rows]
        return torch.where(later[:, :, None].to(ws.device), other, ws)


class NonSaturating(Game):
    """The non-saturating logistic game with R1 on real images.

    Source: Goodfellow et al. 2014, section 3; Mescheder et al. 2018, equation 9; as StyleGAN2 and StyleGAN3 use it.
    """

    def play_generator(self, batch: Batch, *, gain: float = 1.0) -> Report:
        """softplus(-D(fake)), averaged."""
        with frozen(self.discriminator):
            fake, _ = self.generate(batch)
            logits = self.judge(fake, batch.label, batch, role="fake")
            loss = F.softplus(-logits)
            loss.mean().mul(gain).backward()
        return _scores("fake", logits) | {"loss/G": _flat(loss)}

    def play_discriminator(
        self, batch: Batch, *, gain: float = 1.0, play: bool = True, penalise: bool = True
    ) -> Report:
        """softplus(D(fake)) + softplus(-D(real)) where ``play``, + gamma / 2 |dD/d real|^2 where ``penalise``."""
        report: Report = {}
        lost = torch.zeros(())
        if play:
            with torch.no_grad():
                fake, _ = self.generate(batch, update_emas=True)
            logits = self.judge(fake, batch.label, batch, role="fake")
            loss = F.softplus(logits)
            loss.mean().mul(gain).backward()
            report |= _scores("fake", logits)
            lost = _flat(loss)
        real = _real(batch).detach().requires_grad_(penalise)
        logits = self.judge(real, batch.real_label, batch, role="real")
        report |= _scores("real", logits)
        loss = logits * 0  # a parameter that the penalty does not reach still takes part (DistributedDataParallel)
        if play:
            loss = F.softplus(-logits)
            report["loss/D"] = lost + _flat(loss)
        if penalise:
            penalty = squared_gradient(logits, real)
            report |= {"penalty/r1": penalty.detach(), "loss/D/r1": penalty.detach() * (self.gamma / 2)}
            loss = loss + (penalty * (self.gamma / 2))[:, None]
        loss.mean().mul(gain).backward()
        return report


class Relativistic(Game):
    """The relativistic pairing game with R1 and R2: R3GAN's loss.

    Source: Huang et al. 2024, "The GAN is dead; long live the GAN! A Modern GAN Baseline", equations 2 to 5. The
    penalties are what makes it converge: leave ``penalise`` on, at least every few steps with the ``gain`` to match.
    """

    def play_generator(self, batch: Batch, *, gain: float = 1.0) -> Report:
        """softplus(D(real) - D(fake)), averaged over pairs."""
        with frozen(self.discriminator):
            fake, _ = self.generate(batch)
            logits = self.judge(fake, batch.label, batch, role="fake")
            with torch.no_grad():
                real_logits = self.judge(_real(batch), batch.real_label, batch, role="real")
            loss = F.softplus(real_logits - logits)
            loss.mean().mul(gain).backward()
        return _scores("fake", logits) | _scores("real", real_logits) | {"loss/G": _flat(loss)}

    def play_discriminator(
        self, batch: Batch, *, gain: float = 1.0, play: bool = True, penalise: bool = True
    ) -> Report:
        """softplus(D(fake) - D(real)), + gamma / 2 (|dD/d real|^2 + |dD/d fake|^2) where ``penalise``."""
        with torch.no_grad():
            fake, _ = self.generate(batch, update_emas=play)
        real = _real(batch).detach().requires_grad_(penalise)
        fake = fake.requires_grad_(penalise)
        real_logits = self.judge(real, batch.real_label, batch, role="real")
        fake_logits = self.judge(fake, batch.label, batch, role="fake")
        report = _scores("fake", fake_logits) | _scores("real", real_logits)
        loss = (real_logits - fake_logits) * 0
        if play:
            loss = F.softplus(fake_logits - real_logits)
            report["loss/D"] = _flat(loss)
        if penalise:
            for name, logits, images in (("r1", real_logits, real), ("r2", fake_logits, fake)):
                penalty = squared_gradient(logits, images)
                report |= {f"penalty/{name}": penalty.detach(), f"loss/D/{name}": penalty.detach() * (self.gamma / 2)}
                loss = loss + (penalty * (self.gamma / 2))[:, None]
        loss.mean().mul(gain).backward()
        return report


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """The parameters of ``module`` take no gradients inside; those that took none before take none after."""
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


def _real(batch: Batch) -> Tensor:
    if batch.real is None:
        raise ValueError("this phase compares with real images; give Batch(real=...)")
    return batch.real


def _scores(kind: str, logits: Tensor) -> Report:
    flat = _flat(logits)
    return {f"scores/{kind}": flat, f"signs/{kind}": flat.sign()}


def _flat(values: Tensor) -> Tensor:
    return values.detach().flatten()

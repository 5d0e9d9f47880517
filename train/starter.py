"""The starter recipe: a compact StyleGAN3 from a small data set on a CPU.

Two phases. First reconstruction: every photograph has a code (``PrincipalCodes``) and the generator gives the picture
back, so that every photograph teaches every layer from the first step. Then the game is added: samples
from the prior and reconstructions are judged by a discriminator with a relativistic loss and penalties on both sides
(Huang et al. 2024, "The GAN is dead; long live the GAN!", equations 4-6), with feature matching on the
reconstructions. The generator is a plain StyleGAN3 with nothing bolted on; codes and discriminator are scaffolding.
"""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editkit.networks.discriminator import Discriminator
from editkit.networks.stylegan3 import StyleGAN3Generator
from train.codes import PrincipalCodes
from train.dataset_loader import ShuffledOrder
from train.losses import gradient_penalty, multiscale_l1, relativistic_loss


def _generator_arguments() -> dict[str, Any]:
    """64 px, 6 layers, a wider first band than usual: 1.3 GFLOP an image."""
    return {
        "z_dim": 64,
        "c_dim": 0,
        "w_dim": 256,
        "img_resolution": 64,
        "img_channels": 3,
        "channel_base": 2048,
        "channel_max": 128,
        "num_layers": 6,
        "first_cutoff": 3.0,
        "first_stopband": 6.5,
        "margin_size": 4,
        "conv_clamp": None,
        "magnitude_ema_beta": 0.5 ** (16 / 20_000),
        "mapping_kwargs": {"num_layers": 2, "lr_multiplier": 1.0, "w_avg_beta": 0.998},
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class StarterConfig:
    """Settings of the recipe; the defaults are those of the bundled starter."""

    generator: dict[str, Any] = field(default_factory=_generator_arguments)
    discriminator_base: int = 2048  # channel_base of the discriminator
    discriminator_max: int = 128  # channel_max of the discriminator
    batch: int = 8
    reconstruction_images: int = 12_000  # images seen before the game starts
    lr: float = 4e-3  # Adam, generator
    lr_adversarial: float = 2e-3  # the same, once the game has started
    lr_discriminator: float = 3e-4
    clip: float = 5.0  # gradient norm, generator
    clip_discriminator: float = 1.0
    code_noise: float = 0.1  # standard deviation, on codes of unit variance
    gamma: float = 1.0  # weight of R1 and R2
    penalty_every: int = 2  # steps
    warm_up_images: int = 1_000  # the discriminator alone, before its gradients reach the generator
    adversarial_weight: float = 0.1
    matching_weight: float = 0.3
    ema_images: float = 2_000.0  # half-life of the averaged generator
    roll_back_above: float = 5.0  # penalty at which the last good state returns
    seed: int = 0


def config_of(state: dict[str, Any] | None) -> StarterConfig:
    """The settings that a state was trained with; the defaults where there is none."""
    return StarterConfig() if state is None else StarterConfig(**state["config"])


class Batches:
    """Batches of mirrored photographs by image count: the same order after a resume as without one."""

    def __init__(self, images: np.ndarray, *, batch: int, seed: int) -> None:
        self.images, self.batch, self.seed = images, batch, seed
        self.order = ShuffledOrder(len(images), seed=seed)

    def at(self, seen: int) -> Tensor:
        """The batch that starts at image ``seen``: float32 [batch, 3, R, R] in [-1, 1], channels last."""
        picked = self.order.at(seen, self.batch)
        flips = np.random.default_rng([self.seed, 1, seen]).random(self.batch) < 0.5
        rows = self.images[picked]
        rows[flips] = rows[flips, :, ::-1]
        return (torch.from_numpy(rows).permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(
            memory_format=torch.channels_last
        )


class StarterTraining:
    """State and step of the recipe. ``state_dict`` holds everything that a bit-exact resume needs."""

    def __init__(self, config: StarterConfig, images: np.ndarray) -> None:
        """``images``: uint8 [N, R, R, 3]."""
        self.config = c = config
        torch.manual_seed(c.seed)
        resolution, z_dim = c.generator["img_resolution"], c.generator["z_dim"]
        self.generator = StyleGAN3Generator(**c.generator)
        self.encoder = PrincipalCodes(images, dim=z_dim)
        self.discriminator = Discriminator(
            img_resolution=resolution,
            channel_base=c.discriminator_base,
            channel_max=c.discriminator_max,
            conv_clamp=None,
        )
        for module in (self.generator, self.discriminator):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
        self.average = StyleGAN3Generator(**c.generator).requires_grad_(False)
        self.average.load_state_dict(self.generator.state_dict())
        self.optimizer = torch.optim.Adam(self.generator.parameters(), lr=c.lr, betas=(0.9, 0.99))
        self.optimizer_d = torch.optim.Adam(self.discriminator.parameters(), lr=c.lr_discriminator, betas=(0.0, 0.99))
        self.batches = Batches(images, batch=c.batch, seed=c.seed)
        self.seen = 0  # photographs shown
        self.rollbacks = 0

    def state_dict(self) -> dict[str, Any]:
        """Weights, averages, optimizers and counters."""
        return {
            "config": asdict(self.config),
            "generator": self.generator.state_dict(),
            "average": self.average.state_dict(),
            "encoder": self.encoder.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "optimizer_d": self.optimizer_d.state_dict(),
            "seen": self.seen,
            "rollbacks": self.rollbacks,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes a state up again: exactly, or without optimizers where the state is a lossy transport copy."""
        self.generator.load_state_dict(state["generator"])
        self.average.load_state_dict(state["average"])
        self.encoder.load_state_dict(state["encoder"])
        self.discriminator.load_state_dict(state["discriminator"])
        if "optimizer" in state:
            self.optimizer.load_state_dict(state["optimizer"])
            self.optimizer_d.load_state_dict(state["optimizer_d"])
        self.seen, self.rollbacks = state["seen"], state["rollbacks"]

    def prior(self, count: int) -> Tensor:
        """z of this step, [count, z_dim]."""
        stream = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.seen)
        return torch.randn(count, self.config.generator["z_dim"], generator=stream)

    def _jitter(self, codes: Tensor) -> Tensor:
        """Noise on the codes: neighbours in z must look alike, or nothing lies between the photographs."""
        stream = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.seen + 1)
        return codes + self.config.code_noise * torch.randn(codes.shape, generator=stream)

    def step(self) -> dict[str, float]:
        """One batch; returns the losses."""
        real = self.batches.at(self.seen)
        playing = self.seen >= self.config.reconstruction_images
        report = self._play(real) if playing else self._reconstruct(real)
        self.seen += self.config.batch
        self._average()
        return report

    def _ws(self, z: Tensor) -> Tensor:
        return self.generator.mapping(z, update_emas=True)

    def _reconstruct(self, real: Tensor) -> dict[str, float]:
        ws = self._ws(self._jitter(self.encoder(real)))
        image = self.generator.synthesis(ws, update_emas=True)
        loss = multiscale_l1(image, real)
        self._update(loss, self.config.lr * min(1.0, (self.seen + self.config.batch) / 400))
        return {"l1": loss.item(), "psnr": _psnr(image, real)}

    def _play(self, real: Tensor) -> dict[str, float]:
        c = self.config
        half = c.batch // 2
        into = self.seen - c.reconstruction_images
        # half reconstructions (of the first half of the batch), half samples from the prior
        codes = torch.cat([self._jitter(self.encoder(real)[:half]), self.prior(half)])
        fake = self.generator.synthesis(self._ws(codes), update_emas=True)
        report = self._judge(real, fake.detach(), penalise=(into // c.batch) % c.penalty_every == 0)
        if report.get("penalty", 0.0) > c.roll_back_above:
            raise DivergedError(f"penalty {report['penalty']:.1f} at {self.seen} images")
        self.discriminator.requires_grad_(False)
        with torch.no_grad():
            real_maps = self.discriminator.features(real)
            real_logits = self.discriminator.b4(real_maps[-1])
        fake_maps = self.discriminator.features(fake)
        fake_logits = self.discriminator.b4(fake_maps[-1])
        weight = c.adversarial_weight * min(1.0, max(0.0, (into - c.warm_up_images) / 2_000))
        game = relativistic_loss(fake_logits, real_logits)
        matching = torch.stack(
            [F.l1_loss(f[:half], r[:half]) / r[:half].abs().mean() for f, r in zip(fake_maps, real_maps, strict=True)]
        ).mean()
        l1 = multiscale_l1(fake[:half], real[:half])
        self._update(
            l1 + weight * game + weight / c.adversarial_weight * c.matching_weight * matching, c.lr_adversarial
        )
        self.discriminator.requires_grad_(True)
        return report | {
            "l1": l1.item(),
            "game": game.item(),
            "matching": matching.item(),
            "psnr": _psnr(fake[:half], real[:half]),
        }

    def _judge(self, real: Tensor, fake: Tensor, *, penalise: bool) -> dict[str, float]:
        c = self.config
        report: dict[str, float] = {}
        if penalise:
            r1, real_logits = gradient_penalty(self.discriminator, real)
            r2, fake_logits = gradient_penalty(self.discriminator, fake)
            penalty = (r1 + r2) * (c.gamma / 2)
            report["penalty"] = penalty.item()
        else:
            real_logits, fake_logits = self.discriminator(real), self.discriminator(fake)
            penalty = real_logits.new_zeros([])
        loss = relativistic_loss(real_logits, fake_logits)
        report["judge"] = loss.item()
        self.optimizer_d.zero_grad(set_to_none=True)
        (loss + penalty * c.penalty_every).backward()
        nn.utils.clip_grad_norm_(self.discriminator.parameters(), c.clip_discriminator)
        self.optimizer_d.step()
        return report

    def _update(self, loss: Tensor, lr: float) -> None:
        if not math.isfinite(loss.item()):
            raise DivergedError(f"the loss became {loss.item()} at {self.seen} images")
        self.optimizer.param_groups[0]["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.generator.parameters(), self.config.clip)
        self.optimizer.step()

    def _average(self) -> None:
        beta = 0.5 ** (self.config.batch / min(self.config.ema_images, max(self.seen * 0.1, 1.0)))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.generator.parameters(), strict=True):
                mean.lerp_(now, 1 - beta)
            for kept, current in zip(self.average.buffers(), self.generator.buffers(), strict=True):
                kept.copy_(current)


class DivergedError(RuntimeError):
    """The losses left their range; the caller goes back to the last good state."""


def _psnr(image: Tensor, target: Tensor) -> float:
    mse = F.mse_loss(image.detach().clamp(-1, 1), target).item()
    return 10 * math.log10(4 / max(mse, 1e-12))

"""The starter recipe: a compact StyleGAN3 from a small data set on a CPU.

Two phases. First reconstruction: every photograph has a code (``PrincipalCodes``) and the generator gives the picture
back, so that every photograph teaches every layer from the first step. Then the game is added: samples
from the prior and reconstructions are judged by a discriminator with a relativistic loss and penalties on both sides
(Huang et al. 2024, "The GAN is dead; long live the GAN!", equations 4-6), with feature matching on the
reconstructions. The generator is a plain StyleGAN3 with nothing bolted on; codes and discriminator are scaffolding.
"""

import math
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editkit import graphs
from editkit.networks.discriminator import Discriminator
from editkit.networks.stylegan3 import StyleGAN3Generator
from train.codes import PrincipalCodes
from train.losses import gradient_penalty, multiscale_l1, relativistic_loss
from train.starter_batches import Batches
from train.starter_config import StarterConfig
from train.training import DivergedError


class StarterTraining:
    """State and step of the recipe. ``state_dict`` holds everything that a bit-exact resume needs."""

    def __init__(self, config: StarterConfig, images: np.ndarray, *, device: torch.device | str = "cpu") -> None:
        """``images``: uint8 [N, R, R, 3]."""
        self.config = c = config
        self.device = torch.device(device)
        torch.manual_seed(c.seed)
        self.generator, self.discriminator = self.networks(c, self.device)
        self.encoder = PrincipalCodes(images, dim=c.generator["z_dim"]).to(self.device)
        self.average = StyleGAN3Generator(**c.generator).requires_grad_(False).to(self.device)
        self.average.load_state_dict(self.generator.state_dict())
        recorded = graphs.enabled(self.device)
        self.optimizer = torch.optim.Adam(
            self.generator.parameters(), lr=self._rate(c.lr), betas=(0.9, 0.99), capturable=recorded
        )
        self.optimizer_d = torch.optim.Adam(
            self.discriminator.parameters(), lr=self._rate(c.lr_discriminator), betas=(0.0, 0.99), capturable=recorded
        )
        self.phases = graphs.Phases(self.device)
        self.batches = Batches(images, batch=c.batch, seed=c.seed, device=self.device)
        self.seen = 0  # photographs shown
        self.rollbacks = 0

    @staticmethod
    def networks(c: StarterConfig, device: torch.device | str = "cpu") -> tuple[StyleGAN3Generator, Discriminator]:
        """Both players, channels last."""
        generator = StyleGAN3Generator(**c.generator)
        discriminator = Discriminator(
            img_resolution=c.generator["img_resolution"],
            channel_base=c.discriminator_base,
            channel_max=c.discriminator_max,
            conv_clamp=None,
            num_fp16_res=0,
        )
        for module in (generator, discriminator):
            module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
        return generator, discriminator

    def _rate(self, lr: float) -> Any:
        """A learning rate as Adam takes it: a recorded step reads it from the device."""
        return torch.tensor(lr, device=self.device) if graphs.enabled(self.device) else lr

    def set_rates(self, lr: float, lr_discriminator: float) -> None:
        """Learning rates of generator and discriminator."""
        for optimizer, rate in ((self.optimizer, lr), (self.optimizer_d, lr_discriminator)):
            for group in optimizer.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate

    def transport(self) -> dict[str, Any]:
        """What a small copy needs: no optimizers, and the average alone, from which the generator goes on."""
        return {name: value for name, value in self.state_dict().items() if name != "generator"}

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
        self.generator.load_state_dict(state.get("generator", state["average"]))
        self.average.load_state_dict(state["average"])
        self.encoder.load_state_dict(state["encoder"])
        self.discriminator.load_state_dict(state["discriminator"])
        if "optimizer" in state:
            for optimizer, stored in ((self.optimizer, state["optimizer"]), (self.optimizer_d, state["optimizer_d"])):
                recorded = graphs.enabled(self.device)
                groups = [
                    g | {"lr": self._rate(float(g["lr"])), "capturable": recorded} for g in stored["param_groups"]
                ]
                optimizer.load_state_dict(stored | {"param_groups": groups})
        self.phases.forget()  # the optimizers' memory is another
        self.seen, self.rollbacks = state["seen"], state["rollbacks"]

    def prior(self, count: int) -> Tensor:
        """z of this step, [count, z_dim], on the CPU."""
        return self._normal(count, 0)

    def _noise(self, count: int) -> Tensor:
        return self._normal(count, 1)

    def _normal(self, count: int, stream_of_step: int) -> Tensor:
        stream = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.seen + stream_of_step)
        return torch.randn(count, self.config.generator["z_dim"], generator=stream)

    def _jittered(self, codes: Tensor, noise: Tensor) -> Tensor:
        """Noise on the codes: neighbours in z must look alike, or nothing lies between the photographs."""
        return codes + self.config.code_noise * noise

    def step(self) -> dict[str, Tensor]:
        """One batch; returns the losses, scalars on the device, for ``check``. Nothing here waits for a GPU."""
        c = self.config
        rows, flips = self.batches.picked(self.seen)
        draw = {"rows": rows, "flips": flips}
        if self.seen < c.reconstruction_images:
            self.set_rates(c.lr * min(1.0, (self.seen + c.batch) / 400), c.lr_discriminator)
            draw["noise"] = self._noise(c.batch)
            report = self.phases.run("reconstruct", self._reconstruct, draw)
        else:
            into, half = self.seen - c.reconstruction_images, c.batch // 2
            ramp = min(1.0, max(0.0, (into - c.warm_up_images) / c.ramp_images))
            self.set_rates(c.lr_adversarial, c.lr_discriminator)
            draw |= {"noise": self._noise(half), "prior": self.prior(half), "ramp": torch.tensor(ramp)}
            penalise = (into // c.batch) % c.penalty_every == 0
            name = "play, penalised" if penalise else "play"
            report = self.phases.run(name, partial(self._play, penalise=penalise), draw)
        self.seen += c.batch
        self._average()
        return report

    def check(self, report: dict[str, Tensor]) -> dict[str, float]:
        """The losses as numbers. Raises DivergedError where one is not finite or the penalty is out of its range."""
        values = dict(zip(report, torch.stack([v.float() for v in report.values()]).tolist(), strict=True))
        for name, value in values.items():
            if not math.isfinite(value):
                raise DivergedError(f"{name} became {value} at {self.seen} images")
        if values.get("penalty", 0.0) > self.config.roll_back_above:
            raise DivergedError(f"penalty {values['penalty']:.1f} at {self.seen} images")
        return values

    def _ws(self, z: Tensor) -> Tensor:
        return self.generator.mapping(z, update_emas=True)

    def _reconstruct(self, draw: dict[str, Tensor]) -> dict[str, Tensor]:
        real = self.batches.read(draw["rows"], draw["flips"])
        ws = self._ws(self._jittered(self.encoder(real), draw["noise"]))
        image = self.generator.synthesis(ws, update_emas=True)
        loss = multiscale_l1(image, real)
        self._update(loss)
        return {"l1": loss.detach(), "psnr": _psnr(image, real)}

    def _play(self, draw: dict[str, Tensor], *, penalise: bool) -> dict[str, Tensor]:
        c = self.config
        half = c.batch // 2
        real = self.batches.read(draw["rows"], draw["flips"])
        # half reconstructions (of the first half of the batch), half samples from the prior
        codes = torch.cat([self._jittered(self.encoder(real)[:half], draw["noise"]), draw["prior"]])
        fake = self.generator.synthesis(self._ws(codes), update_emas=True)
        self.discriminator.requires_grad_(True)
        report = self._judge(real, fake.detach(), penalise=penalise)
        self.discriminator.requires_grad_(False)
        with torch.no_grad():
            real_maps = self.discriminator.features(real)
            real_logits = self.discriminator.b4(real_maps[-1])
        fake_maps = self.discriminator.features(fake)
        fake_logits = self.discriminator.b4(fake_maps[-1])
        game = relativistic_loss(fake_logits, real_logits)
        matching = torch.stack(
            [F.l1_loss(f[:half], r[:half]) / r[:half].abs().mean() for f, r in zip(fake_maps, real_maps, strict=True)]
        ).mean()
        l1 = multiscale_l1(fake[:half], real[:half])
        self._update(l1 + draw["ramp"] * (c.adversarial_weight * game + c.matching_weight * matching))
        return report | {
            "l1": l1.detach(),
            "game": game.detach(),
            "matching": matching.detach(),
            "psnr": _psnr(fake[:half], real[:half]),
        }

    def _judge(self, real: Tensor, fake: Tensor, *, penalise: bool) -> dict[str, Tensor]:
        c = self.config
        report: dict[str, Tensor] = {}
        if penalise:
            r1, real_logits = gradient_penalty(self.discriminator, real)
            r2, fake_logits = gradient_penalty(self.discriminator, fake)
            penalty = (r1 + r2) * (c.gamma / 2)
            report["penalty"] = penalty.detach()
        else:
            real_logits, fake_logits = self.discriminator(real), self.discriminator(fake)
            penalty = real_logits.new_zeros([])
        loss = relativistic_loss(real_logits, fake_logits)
        report["judge"] = loss.detach()
        self.optimizer_d.zero_grad(set_to_none=True)
        (loss + penalty * c.penalty_every).backward()
        nn.utils.clip_grad_norm_(self.discriminator.parameters(), c.clip_discriminator)
        self.optimizer_d.step()
        return report

    def _update(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.generator.parameters(), self.config.clip)
        self.optimizer.step()

    def _average(self) -> None:
        beta = 0.5 ** (self.config.batch / min(self.config.ema_images, max(self.seen * 0.1, 1.0)))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.generator.parameters()), 1 - beta)
            torch._foreach_copy_(list(self.average.buffers()), list(self.generator.buffers()))


def _psnr(image: Tensor, target: Tensor) -> Tensor:
    mse = F.mse_loss(image.detach().clamp(-1, 1), target)
    return 10 * torch.log10(4 / mse.clamp_min(1e-12))

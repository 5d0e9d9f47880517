"""The starter recipe: a small StyleGAN3 from ten thousand photographs on a CPU.

An encoder gives every photograph a code w and the generator gives the picture back, compared in pixels and in the maps
of a frozen feature network, so that every photograph teaches every layer from the first step (Dosovitskiy & Brox 2016,
"Generating Images with Perceptual Similarity Metrics based on Deep Networks"; Larsen et al. 2016, "Autoencoding beyond
pixels"). The discriminator looks through the same maps (Sauer et al. 2021, "Projected GANs Converge Faster"; see
``train.projected_discriminator``). A normal distribution follows the codes (``train.code_prior``); later a part of
every batch are samples of it, and these alone are judged. In the end the encoder rests, and a flow takes samples to
where the codes of the photographs lie (``train.code_flow``). The generator is a plain StyleGAN3, whose mapping network
is written from that distribution (``train.starter_export``); encoder, flow, discriminator and feature network are
scaffolding.
"""

import copy
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editkit import graphs
from editkit.errors import CheckpointError
from editkit.networks.stylegan3 import StyleGAN3Generator
from editkit.ops.backends import precision
from train.code_encoder import CodeEncoder, codes_of
from train.code_flow import CodeFlow, fitted_flow
from train.code_prior import CodePrior
from train.feature_objectives import feature_distance
from train.losses import multiscale_l1
from train.projected_discriminator import Backbone, ProjectedDiscriminator
from train.starter_batches import Batches
from train.starter_config import StarterConfig
from train.starter_looks import Looks, carried_over
from train.training import DivergedError

log = logging.getLogger(__name__)

_REFRESH = 50  # steps between two roots of the prior's covariance
_AT_A_TIME = 64  # photographs that codes are taken of
_WARM_UP = 400  # images over which the learning rates of synthesis and encoder rise


class StarterTraining:
    """State and step of the recipe. ``state_dict`` holds everything that a bit-exact resume needs."""

    def __init__(
        self, config: StarterConfig, images: np.ndarray, *, features: Backbone, device: torch.device | str = "cpu"
    ) -> None:
        """``images``: uint8 [N, R, R, 3]; ``features``: a frozen network, see ``train.feature_backbones``."""
        self.config = c = config
        self.device = torch.device(device)
        torch.manual_seed(c.seed)
        self.features = features
        side, dim = c.generator["img_resolution"], c.generator["w_dim"]
        self.looks = Looks(features, side=side, shift=c.shift, close=c.close)
        self.generator, self.discriminator = self.networks(c, self.looks.backbones, self.device)
        with torch.no_grad():
            shapes = [x.shape[1:] for x in features(torch.zeros(1, 3, side, side, device=self.device))]
        self.encoder = CodeEncoder((3, side, side), shapes, dim=dim, width=c.encoder_width).to(self.device)
        self.prior_of_codes = CodePrior(dim, c.generator["z_dim"]).to(self.device)
        self.flow: CodeFlow | None = None  # once the encoder rests,
        self.settled_at: int | None = None  # so many photographs old
        self.average = StyleGAN3Generator(**c.generator).requires_grad_(False).to(self.device)
        self.average.load_state_dict(self.generator.state_dict())
        self.average_encoder = copy.deepcopy(self.encoder).requires_grad_(False)
        recorded = graphs.enabled(self.device)
        self.optimizers = {
            name: torch.optim.Adam(part.parameters(), lr=self._rate(0.0), betas=betas, capturable=recorded)
            for name, part, betas in (
                ("synthesis", self.generator.synthesis, (0.0, 0.99)),
                ("encoder", self.encoder, (0.9, 0.99)),
                ("discriminator", self.discriminator, (0.0, 0.99)),
            )
        }
        self.phases = graphs.Phases(self.device)
        self.batches = Batches(images, batch=c.batch, seed=c.seed, device=self.device)
        self.seen = 0  # photographs shown
        self.rollbacks = 0

    @staticmethod
    def networks(
        c: StarterConfig, backbones: Sequence[Backbone], device: torch.device | str = "cpu"
    ) -> tuple[StyleGAN3Generator, ProjectedDiscriminator]:
        """Both players, channels last; ``backbones``, on the CPU if modules, move with them."""
        generator = StyleGAN3Generator(**c.generator)
        discriminator = ProjectedDiscriminator(
            img_resolution=c.generator["img_resolution"],
            backbones=backbones,
            width=c.discriminator_width,
            largest=c.discriminator_max,
        )
        for module in (generator, discriminator):
            module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
        return generator, discriminator

    def _rate(self, lr: float) -> Any:
        """A learning rate as Adam takes it: a recorded step reads it from the device."""
        return torch.tensor(lr, device=self.device) if graphs.enabled(self.device) else lr

    def set_rates(self, **rates: float) -> None:
        """Learning rates, by the names of ``optimizers``."""
        for name, rate in rates.items():
            for group in self.optimizers[name].param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate

    def transport(self) -> dict[str, Any]:
        """What a small copy needs: no optimizers, and the averages alone, from which everything goes on."""
        return {name: value for name, value in self.state_dict().items() if name not in ("generator", "encoder")}

    def state_dict(self) -> dict[str, Any]:
        """Weights, averages, optimizers and counters."""
        return {
            "config": asdict(self.config),
            "features": self.features.id,
            "generator": self.generator.state_dict(),
            "average": self.average.state_dict(),
            "encoder": self.encoder.state_dict(),
            "average_encoder": self.average_encoder.state_dict(),
            "prior_input": self.prior_of_codes.state_dict(),  # "input": not halved in a transport copy
            "flow": None if self.flow is None else self.flow.state_dict(),
            "settled_at": self.settled_at,
            "discriminator": self.discriminator.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "seen": self.seen,
            "rollbacks": self.rollbacks,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes a state up again: exactly, without optimizers where it is a lossy transport copy, without that of the
        discriminator where a look begins or ends. Raises CheckpointError: it is damaged, or of another feature network.
        """
        if state["features"] != self.features.id:
            raise CheckpointError(
                f"the state was trained with --features of {state['features']}, this is {self.features.id}"
            )
        self.generator.load_state_dict(state.get("generator", state["average"]))
        self.average.load_state_dict(state["average"])
        self.encoder.load_state_dict(state.get("encoder", state["average_encoder"]))
        self.average_encoder.load_state_dict(state["average_encoder"])
        self.prior_of_codes.load_state_dict(state["prior_input"])
        self.flow, self.settled_at = None, state.get("settled_at")
        if (flow := state.get("flow")) is not None:
            self.flow = CodeFlow(self.config.generator["z_dim"], hidden=len(flow["leave.weight"][0])).to(self.device)
            self.flow.load_state_dict(flow)
            self.flow.eval().requires_grad_(False)
        own, optimizers = self.discriminator.state_dict(), copy.deepcopy(state.get("optimizers", {}))  # Adam keeps them
        self.discriminator.load_state_dict(carried_over(own, state["discriminator"]))
        if own.keys() != state["discriminator"].keys():
            optimizers.pop("discriminator", None)
        recorded = graphs.enabled(self.device)
        for name, stored in optimizers.items():
            groups = [g | {"lr": self._rate(float(g["lr"])), "capturable": recorded} for g in stored["param_groups"]]
            self.optimizers[name].load_state_dict(stored | {"param_groups": groups})
        self.phases.forget()  # the optimizers' memory is another
        self.seen, self.rollbacks = state["seen"], state["rollbacks"]

    def go_back(self, state: dict[str, Any]) -> None:
        """To an earlier ``state``, with other photographs, other samples and half the discriminator's learning rate."""
        c, rollbacks = self.config, self.rollbacks + 1
        self.load_state_dict(state)
        self.rollbacks = rollbacks
        self.config = replace(c, seed=c.seed + 1, lr_discriminator=c.lr_discriminator * 0.5)
        self.batches.reseed(self.config.seed)  # as after a resume

    def settle(self) -> None:
        """The encoder rests, at its average, and a flow is fitted to the codes of all photographs: a few minutes of two
        cores for ten thousand. Raises DivergedError where codes are not finite."""
        self.encoder.load_state_dict(self.average_encoder.state_dict())
        codes = codes_of(self.encoder, self.features, self.batches.both_ways(_AT_A_TIME))
        log.info("%d images: the encoder rests; codes of %d photographs", self.seen, len(codes))
        placed = self.prior_of_codes.rest(codes.flatten(0, 1)).unflatten(0, codes.shape[:2])
        self.flow, self.settled_at = fitted_flow(placed, seed=self.config.seed), self.seen
        self.phases.forget()  # what was recorded is not played again

    def drawn(self, z: Tensor) -> Tensor:
        """Codes [N, w_dim] of z [N, z_dim]: what the finished mapping network gives, in other units."""
        return self.prior_of_codes(z, self.flow)

    def prior(self, count: int) -> Tensor:
        """z of this step, [count, z_dim], on the CPU."""
        return self._normal(count, self.config.generator["z_dim"], 0)

    def _normal(self, count: int, dim: int, stream_of_step: int) -> Tensor:
        stream = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.seen * 4 + stream_of_step)
        return torch.randn(count, dim, generator=stream)

    def step(self) -> dict[str, Tensor]:
        """One batch; returns the losses, scalars on the device, for ``check``.

        Nothing here waits for a GPU but the prior's root, every ``_REFRESH`` steps, and ``settle``, once. Raises
        DivergedError where these find codes that are not finite.
        """
        c = self.config
        rows, flips = self.batches.picked(self.seen)
        samples = 0 if self.seen < c.reconstruction_images else c.samples
        draw = {
            "rows": rows,
            "flips": flips,
            **self.looks.drawn(c.batch, seed=c.seed, seen=self.seen),
            "noise": self._normal(c.batch - samples, c.generator["w_dim"], 1),
            "prior": self.prior(samples),
            "ramp": torch.tensor(min(1.0, self.seen / c.ramp_images)),
        }  # fmt: skip
        late = min(1.0, c.anneal_images / max(self.seen, 1))
        warm = late * min(1.0, (self.seen + c.batch) / _WARM_UP)
        self.set_rates(synthesis=c.lr * warm, encoder=c.lr_encoder * warm, discriminator=c.lr_discriminator * late)
        if self.flow is None:
            if samples and self.seen >= c.settle_images:
                self.settle()
            elif self.seen // c.batch % _REFRESH == 0:
                self.prior_of_codes.refresh()
        phase = "reconstruct" if not samples else "play" if self.flow is None else "settled"
        report = self.phases.run(phase, self._play, draw)
        self.seen += c.batch
        self._average()
        return report

    def check(self, report: dict[str, Tensor]) -> dict[str, float]:
        """The losses as numbers. Raises DivergedError where one is not finite."""
        values = dict(zip(report, torch.stack([v.float() for v in report.values()]).tolist(), strict=True))
        for name, value in values.items():
            if not math.isfinite(value):
                raise DivergedError(f"{name} became {value} at {self.seen} images")
        return values

    def _play(self, draw: dict[str, Tensor]) -> dict[str, Tensor]:
        """Reconstructions first, then samples of the prior, if any."""
        c = self.config
        count = len(draw["noise"])
        real = self.batches.read(draw["rows"], draw["flips"])
        with torch.no_grad():
            known = self.features(real[:count])
        with torch.set_grad_enabled(self.flow is None):
            given = self.encoder(real[:count], known)
        codes = given - self.prior_of_codes.centre
        ws = torch.cat([codes + c.code_noise * draw["noise"], self.drawn(draw["prior"])])
        fake = self.generator.synthesis(ws[:, None].expand(-1, self.generator.num_ws, -1), update_emas=True)
        with torch.no_grad(), precision("fast"):  # as those of the samples, or the rounding gives the samples away
            real_maps = self.looks(real, draw)
        fake_maps = self.looks(fake, draw)
        judged = [x[count:] for x in fake_maps] if len(draw["prior"]) else fake_maps  # samples, once there are some
        report = self._judge(real_maps, [x.detach() for x in judged])
        self.discriminator.requires_grad_(False)
        game = -self.discriminator.judge(judged).mean()
        self.discriminator.requires_grad_(True)
        features = feature_distance([x[:count] for x in fake_maps], [x[:count] for x in real_maps])
        features = features / len(self.looks.backbones)
        pixels = multiscale_l1(fake[:count], real[:count])
        wide = codes.square().mean()
        self._update(
            c.pixel_weight * pixels
            + c.feature_weight * features
            + c.adversarial_weight * draw["ramp"] * game
            + c.code_weight * wide
        )
        if self.flow is None:
            self.prior_of_codes.observe(given.detach(), min(1.0, count / c.prior_images))
        return report | {
            "pixels": pixels.detach(),
            "features": features.detach(),
            "game": game.detach(),
            "psnr": 10 * (4 / (F.mse_loss(fake[:count].detach().clamp(-1, 1), real[:count]) + 1e-12)).log10(),
        }

    def _judge(self, real_maps: Sequence[Tensor], fake_maps: Sequence[Tensor]) -> dict[str, Tensor]:
        """A step of the discriminator: hinge, averaged over places and scales."""
        both = self.discriminator.judge([torch.cat(maps) for maps in zip(real_maps, fake_maps, strict=True)])
        real, fake = both.split([len(real_maps[0]), len(fake_maps[0])])
        loss = F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        optimizer = self.optimizers["discriminator"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return {"judge": loss.detach(), "real": real.detach().mean(), "fake": fake.detach().mean()}

    def _update(self, loss: Tensor) -> None:
        for name in ("synthesis", "encoder"):
            self.optimizers[name].zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.generator.synthesis.parameters(), self.config.clip)
        nn.utils.clip_grad_norm_(self.encoder.parameters(), self.config.clip)
        for name in ("synthesis", "encoder"):
            self.optimizers[name].step()

    def _average(self) -> None:
        beta = 0.5 ** (self.config.batch / min(self.config.ema_images, max(self.seen * 0.1, 1.0)))
        with torch.no_grad():
            for average, network in ((self.average, self.generator), (self.average_encoder, self.encoder)):
                torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - beta)
                if buffers := list(average.buffers()):
                    torch._foreach_copy_(buffers, list(network.buffers()))

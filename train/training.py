"""A training in memory: networks, optimisers, averages, counters, and the step that moves them.

Everything random is a pure function of the seed and of how many images were seen, a sample at a time, so a resume needs
no state of random number generators, and a total batch gives the same training whatever the number of processes or
micro-batches it is split over, up to the order of sums. Exception: StyleGAN3 normalises styles over a micro-batch.

Convention: sample i of the total batch lies at place ``seen + i`` of the data's order. Processes take consecutive
shares of it, and a share is arranged so that the discriminator compares groups of four consecutive samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from editkit.errors import UsageError
from editkit.label_prior import LabelPrior
from editkit.networks import build_network
from editkit.photo import image_from_uint8
from train.adaptive import AdaptiveOptions, AdaptiveStrength
from train.config import GROUP, TrainConfig
from train.dataset import Batch as Pictures
from train.heuristics import lazy_adam
from train.losses import Batch
from train.path_length import PathLength
from train.players import build_discriminator, build_game
from train.projected_discriminator import Backbone
from train.stages import freeze_stem, kept_names
from train.streams import SampleStreams, mixed_seed
from train.world import World

_EMAS = ("w_avg", "magnitude_ema")
_PATH_SHRINK = 2  # each so many-th sample has its path length measured: second derivatives need memory


class DivergedError(ArithmeticError):
    """A loss or a gradient is not finite or out of its range; the loop goes back to the last good state."""


class Training:
    """State and step of a run. ``state_dict`` holds everything that a bit-exact resume needs.

    Args:
        config: what is trained; world: the processes that take part, one by default.
        backbones: frozen networks of a projected discriminator, those of ``config.features``; by default the bundled
            one. classifier: images to logits, for ``config.guidance``.

    Raises UsageError where these do not go with ``config``, or the batch not with the processes.
    """

    def __init__(
        self,
        config: TrainConfig,
        *,
        world: World | None = None,
        backbones: Sequence[Backbone] | None = None,
        classifier: nn.Module | None = None,
    ) -> None:
        self.config = c = config
        self.world = world or World()
        ranks = self.world.size
        if c.batch % ranks or (ranks > 1 and c.judge == "pixels" and c.batch // ranks % GROUP):
            raise UsageError(
                f"each of {ranks} processes takes a multiple of {GROUP} pictures of a step, which a batch of {c.batch} "
                f"does not give; take --batch {ranks * GROUP * max(1, c.batch // ranks // GROUP)}"
            )
        device = self.world.device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(c.seed)
            self.generator: Any = build_network(c.kind, c.generator).to(device)
            self.discriminator: Any = build_discriminator(c, backbones).to(device)
            self.average: Any = build_network(c.kind, c.generator).to(device).requires_grad_(False).eval()
        self.average.load_state_dict(self.generator.state_dict())
        self.strength = AdaptiveStrength(AdaptiveOptions(target=c.target, speed_kimg=c.speed_kimg), strength=c.strength)
        self.path = PathLength(weight=c.path_length, batch_shrink=1, ahead=False) if c.path_length > 0 else None
        self.game = build_game(
            c,
            self.generator,
            self.discriminator,
            strength=lambda: self.strength.strength,
            path_length=self.path,
            classifier=None if classifier is None else classifier.to(device),
        )
        self._frozen: set[str] = set()  # buffers that stay
        if c.head_layers:
            freeze_stem(self.generator, head_layers=c.head_layers)
            self._frozen = set(kept_names(self.generator, c.head_layers))
        self.optimizers = {
            "generator": _adam(self.generator, c.lr, c.betas, interval=c.path_every if self.path else None),
            "discriminator": _adam(
                self.discriminator,
                c.lr_discriminator,
                c.betas,
                interval=c.penalty_every if c.penalty_every > 1 else None,
            ),
        }
        self.labels: LabelPrior | None = None  # what pictures for people and for figures are made with
        self.seen = 0  # images shown
        self.rollbacks = 0

    def step(self, pictures: Pictures) -> dict[str, float]:
        """One step on this process's share of a batch; the numbers of it, averaged over all processes.

        Raises DivergedError in every process alike.
        """
        # Once, and whole: pinned pictures cross beside the work that goes on, and parts of them are not pinned.
        pictures = Pictures(*(part.to(self.world.device, non_blocking=True) for part in pictures))
        c = self.config
        index = self.seen // c.batch
        sums: dict[str, list[Tensor]] = {}
        penalise = index % c.penalty_every == 0
        for batch, share in self._parts(pictures, "G"):
            _add(sums, self.game.play_generator(batch, gain=share))
        self._update("generator")
        if self.path is not None and index % c.path_every == 0 and self.seen >= c.path_from:
            before, mean = self.path.mean, torch.zeros(1)
            for batch, share in self._parts(pictures, "path", every=_PATH_SHRINK):
                self.path.mean = before
                _add(sums, self.game.regularise_generator(batch, gain=c.path_every * share))
                mean += self.path.mean.reshape(1).cpu() * share
            self.world.average([mean])
            self.path.mean = mean[0]
            self._update("generator")
        gain = float(c.penalty_every) if c.penalty_every > 1 else 1.0
        together = c.penalty_every == 1
        self._judge(pictures, sums, play=True, penalise=together, gain=1.0)
        if penalise and not together:
            self._judge(pictures, sums, play=False, penalise=True, gain=gain)
        self.seen += c.batch
        self._average()
        if c.augment == "ada":
            self.strength.step(c.batch, reduce=self.world.total)
        return self._report(sums)

    def state_dict(self) -> dict[str, Any]:
        """Weights, averages, optimisers, strength and counters."""
        return {
            "config": self.config.to_json(),
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "average": self.average.state_dict(),
            "optimizer_generator": self.optimizers["generator"].state_dict(),
            "optimizer_discriminator": self.optimizers["discriminator"].state_dict(),
            "strength": self.strength.state_dict(),
            "path_mean": None if self.path is None else self.path.mean,
            "seen": self.seen,
            "rollbacks": self.rollbacks,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of ``state_dict``; optimisers start anew where a lossy copy has none."""
        for name in ("generator", "discriminator", "average"):
            getattr(self, name).load_state_dict(state[name])
        for name, optimizer in self.optimizers.items():
            if f"optimizer_{name}" in state:
                optimizer.load_state_dict(state[f"optimizer_{name}"])
        self.strength.load_state_dict(state["strength"])
        if self.path is not None and state["path_mean"] is not None:
            self.path.mean = state["path_mean"]
        self.seen, self.rollbacks = int(state["seen"]), int(state["rollbacks"])

    def _judge(
        self, pictures: Pictures, sums: dict[str, list[Tensor]], *, play: bool, penalise: bool, gain: float
    ) -> None:
        """The discriminator's phase. Running means move once, by the mean over all that was seen."""
        means = [
            value
            for name, value in self.generator.named_buffers()
            if name.rsplit(".", 1)[-1] in _EMAS and name not in self._frozen
        ]
        before, after = [value.clone() for value in means], [torch.zeros_like(value) for value in means]
        for batch, share in self._parts(pictures, "D" if play else "penalty"):
            for value, kept in zip(means, before, strict=True):
                value.copy_(kept)
            report = self.game.play_discriminator(batch, gain=gain * share, play=play, penalise=penalise)
            if play:
                self.strength.observe(report["scores/real"])
            _add(sums, report)
            for total, value in zip(after, means, strict=True):
                total += value * share
        self.world.average(after)
        for value, total in zip(means, after, strict=True):
            value.copy_(total)
        self._update("discriminator")

    def _parts(self, pictures: Pictures, phase: str, *, every: int = 1) -> Iterator[tuple[Batch, float]]:
        """Micro-batches of this process's share, each of consecutive samples, groups of four arranged as such; with
        each what it weighs, so that the mean over all processes is one over samples. ``every``: of the whole batch each
        so many-th sample takes part, whoever has it."""
        c, share = self.config, len(pictures.images)
        size, every = min(c.micro_batch, share), min(every, share)
        first = self.seen + self.world.rank * share
        whole = range(self.seen, self.seen + share * self.world.size)
        partners = sum(place % every == 0 for place in whole) / self.world.size
        for start in range(0, share, size):
            order = arranged(min(size, share - start)) + start
            order = order[(first + order) % every == 0]
            places = [first + int(i) for i in order]
            if not places:
                continue
            source = SampleStreams([mixed_seed(c.seed, self.rollbacks, phase, place) for place in places])
            device = self.world.device
            label = None
            if c.c_dim:  # StyleGAN-XL has one class where the data have none
                found = pictures.labels[order] if pictures.labels.shape[1] else torch.ones(len(places), 1)
                label = found.to(device)
            batch = Batch(
                z=source.normal("z", len(places), c.z_dim).to(device),
                source=source,
                seen=self.seen,
                label=label,
                real=image_from_uint8(pictures.images[order].to(device, non_blocking=True)),
                real_label=label,
            )
            yield batch, len(places) / partners

    def _update(self, name: str) -> None:
        network, optimizer = getattr(self, name), self.optimizers[name]
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        self.world.average(gradients)
        norm = torch.stack([g.float().square().sum() for g in gradients]).sum().sqrt()
        if not math.isfinite(float(norm)):
            optimizer.zero_grad(set_to_none=True)
            raise DivergedError(f"the gradients of the {name} are not finite at {self.seen} images")
        if self.config.clip is not None:
            nn.utils.clip_grad_norm_(network.parameters(), self.config.clip)
        optimizer.step()
        for each in self.optimizers.values():  # the other network has none, or some that do not count
            each.zero_grad(set_to_none=True)

    def _average(self) -> None:
        c = self.config
        images = c.average_images if c.average_ramp is None else min(c.average_images, self.seen * c.average_ramp)
        beta = 0.5 ** (c.batch / max(images, 1e-8))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.generator.parameters(), strict=True):
                mean.copy_(now.lerp(mean, beta))
            for kept, current in zip(self.average.buffers(), self.generator.buffers(), strict=True):
                kept.copy_(current)

    def _report(self, sums: Mapping[str, list[Tensor]]) -> dict[str, float]:
        names = sorted(sums)
        values = torch.stack([torch.cat(sums[name]).float().mean().cpu() for name in names])
        self.world.average([values])
        report = dict(zip(names, values.tolist(), strict=True))
        report["augment/strength"] = self.strength.strength
        if not all(math.isfinite(value) for value in report.values()):
            bad = next(name for name in names if not math.isfinite(report[name]))
            raise DivergedError(f"{bad} is {report[bad]} at {self.seen} images")
        return report


def arranged(count: int) -> Tensor:
    """Order of ``count`` samples in which minibatch standard deviation groups each four consecutive ones."""
    if count % GROUP:
        return torch.arange(count)
    return torch.arange(count).reshape(-1, GROUP).T.reshape(-1)


def _adam(network: nn.Module, lr: float, betas: tuple[float, float], *, interval: int | None) -> torch.optim.Adam:
    if interval is not None:
        lr, betas = lazy_adam(lr, betas, interval=interval)
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return torch.optim.Adam(learning, lr=lr, betas=betas, eps=1e-8)


def _add(sums: dict[str, list[Tensor]], report: Mapping[str, Tensor]) -> None:
    for name, values in report.items():
        sums.setdefault(name, []).append(values.flatten())

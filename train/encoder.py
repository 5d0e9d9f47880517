"""Trains the encoder of ``projector.Encode`` for one generator.

Two teachers. Samples of the generator have known codes, which are regressed from pairs of pictures without running the
generator again; photographs (and some samples) are judged by what the generator makes of their codes, with the loss of
the search and regularisers like its own, which keep rows of W+ together so that edits hold (Tov et al. 2021, "Designing
an Encoder for StyleGAN Image Manipulation", section 4.1). Refinements are learned as in ReStyle (Alaluf et al. 2021,
section 3): a step sees the picture beside the reconstruction of the step before, and no gradient flows between steps.
The first look is at the mean of codes that were searched for (``train.photo_codes``). The linear path starts as one
damped Gauss-Newton step from there (``start_linear_path``), and what is learned begins there.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from editkit.errors import CheckpointError, TrainingDataError, UsageError
from editkit.generator import Generator
from editkit.networks.features import resize
from editkit.perceptual import PerceptualDistance
from editkit.photo import image_from_uint8
from projector.encoder_network import SIDE, EncoderNetwork, coarse
from projector.losses import PictureLoss, Weights
from projector.statistics import sample_statistics
from train.dataset import ImageDataset
from train.dataset_loader import ShuffledOrder
from train.encoder_curvature import measure_curvature
from train.encoder_samples import SamplePool, render
from train.encoder_start import coarse_jacobian, start_linear_path
from train.photo_codes import LEAST, PHOTOS, PhotoCodes, find_photo_codes

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderConfig:
    """How to train an encoder.

    Attributes:
        steps: length of the run; minutes: the most it may take, interruptions not counted.
        batch: pictures rendered in a step, half of them for the first time.
        samples: pairs regressed in a step; pool: generated pairs kept; fresh: made anew in a step.
        refinements: looks at one picture.
        searched: photographs that are searched for beforehand, to begin where codes of photographs lie; 0: at the mean.
        learning_rate: peak of AdamW.
        regression: weight of the codes' squared error, against the loss of the search.
        ema: decay of the averaged weights that are kept.
        seed: of the weights, the samples and the order of the photographs.
    """

    steps: int = 4000
    minutes: float = 60.0
    batch: int = 8
    samples: int = 16
    pool: int = 256
    fresh: int = 2
    refinements: int = 3
    searched: int = PHOTOS
    learning_rate: float = 5e-4
    regression: float = 0.1
    ema: float = 0.99
    seed: int = 0

    def __post_init__(self) -> None:
        counts = min(self.steps, self.samples, self.fresh, self.refinements) >= 1 and self.searched >= 0
        if not (counts and self.minutes > 0 and self.learning_rate > 0 and self.batch >= 4 and self.pool >= 16):
            raise UsageError(
                "Training needs steps, samples, fresh and refinements >= 1, searched >= 0, minutes and "
                f"learning_rate > 0, batch >= 4 and pool >= 16, got {self}."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where a run stands: steps, pictures rendered, seconds of work, and the means of the last losses."""

    step: int
    pictures: int
    seconds: float
    losses: dict[str, float]


class EncoderTraining:
    """State and step. ``state_dict`` holds what a resume needs; the pool of samples is drawn anew."""

    def __init__(
        self, G: Generator, photos: ImageDataset | None, config: EncoderConfig, *, perceptual: PerceptualDistance
    ) -> None:
        if G.spec.channels != 3 or G.spec.c_dim:
            raise UsageError(
                f"encoders are trained for unconditional RGB generators; {G.spec.name!r} has {G.spec.channels} "
                f"channels and {G.spec.c_dim} classes"
            )
        if photos is not None and photos.channels != 3:
            raise TrainingDataError(f"the photographs have {photos.channels} channels; an encoder takes RGB, 3")
        self.G, self.photos, self.config, self.perceptual = G, photos, config, perceptual
        self.statistics = sample_statistics(G)
        self.step, self.seconds = 0, 0.0
        torch.manual_seed(config.seed)
        self.network = EncoderNetwork(num_ws=G.spec.num_ws, w_dim=G.spec.w_dim).to(G.device)
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
        )
        self.order = None if photos is None else ShuffledOrder(len(photos), seed=config.seed)
        self.pool: SamplePool | None = None
        self.photo_codes: PhotoCodes | None = None
        self.going: list[tuple[Tensor, Tensor, Tensor, int]] = []  # picture, codes, reconstruction, looks so far

    @property
    def _data(self) -> str | None:
        return None if self.photos is None else self.photos.data_hash

    def state_dict(self) -> dict[str, Any]:
        """Weights, average, optimizer and counters."""
        return {
            "config": asdict(self.config),
            "generator": self.G.spec.id,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "photos": self._data,
            "photo_codes": None if (found := self.photo_codes) is None else [found.mean, found.apart],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where another run ended. Raises CheckpointError for one of another generator, seed or photographs."""
        if state["generator"] != self.G.spec.id:
            raise CheckpointError(
                f"the run to go on from is of generator {state['generator'][:12]}, this is {self.G.spec.id[:12]}; "
                "choose another --state file, or delete it"
            )
        photos, seed = state.get("photos", self._data), state["config"]["seed"]
        for differs, what in (
            (photos != self._data, "other photographs"),
            (seed != self.config.seed, "another seed"),
        ):
            if differs:
                raise CheckpointError(f"the run to go on from had {what}; choose another --state file, or delete it")
        if (found := state.get("photo_codes")) is not None:
            self.photo_codes = PhotoCodes(mean=found[0], apart=found[1])
        for network, kept in ((self.network, state["network"]), (self.average, state["average"])):
            network.load_state_dict({"start": torch.zeros_like(network.start)} | kept)  # older runs begin at the mean
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]

    def look_for_photos(self, on_batch: Callable[[int, int], None] | None = None) -> None:
        """In a new run with photographs: finds where their codes lie. Some minutes; ``on_batch`` as there."""
        count = self.config.searched
        if self.photos is None or count == 0 or self.step or self.photo_codes is not None:
            return
        if min(count, len(self.photos)) < LEAST:
            _log.warning("fewer than %d photographs to search for: the encoder begins at the mean of W", LEAST)
            return
        curvature = measure_curvature(self.G, self.statistics, codes=96)
        options: Any = {"perceptual": self.perceptual, "count": count, "on_batch": on_batch}
        self.photo_codes = find_photo_codes(self.G, self.photos, self.statistics, curvature, **options)

    def prepare(self) -> None:
        """Fills the pool and, in a new run, makes the linear path a first guess."""
        c = self.config
        self.look_for_photos()
        options: Any = {"size": c.pool, "seed": c.seed * 1009 + self.step, "photo_codes": self.photo_codes}
        self.pool = SamplePool(self.G, self.statistics, **options)
        while len(self.pool) < c.pool:
            self.pool.add(min(8, c.pool - len(self.pool)))
        if self.step == 0:
            image, beside, _ = self.pool.pairs(64)
            side = (SIDE, SIDE)
            differences = coarse(resize(image, side) - resize(beside, side))
            self.network.start.copy_(self.pool.start)
            jacobian = coarse_jacobian(self.G, self.statistics, self.pool.start)
            start_linear_path(self.network, jacobian, differences)
            self.average.load_state_dict(self.network.state_dict())

    @property
    def fraction(self) -> float:
        """0 to 1, by steps or by time, whichever is nearer its end."""
        return max(self.step / self.config.steps, self.seconds / (60 * self.config.minutes))

    def advance(self) -> dict[str, float]:
        """One step; the losses, and "psnr_N", the PSNR after N looks."""
        c, pool = self.config, self.pool
        if pool is None:
            self.prepare()
            return self.advance()
        pool.add(c.fresh)
        rate = c.learning_rate * min(1.0, (self.step + 1) / 50)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(self.fraction, 1.0))))
        image, beside, difference = (part.to(self.G.device) for part in pool.pairs(c.samples))
        losses = {"codes": c.regression * (self.network(image, beside) - difference).square().mean()}
        rendered, report = self._rendered()
        losses |= rendered
        total = torch.stack(list(losses.values())).sum()
        if not bool(torch.isfinite(total)):
            raise CheckpointError(f"the loss became {float(total)} at step {self.step}; lower the learning rate")
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        decay = min(c.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for kept, current in zip(self.average.parameters(), self.network.parameters(), strict=True):
                kept.lerp_(current, 1 - decay)
        self.step += 1
        return {name: float(value.detach()) for name, value in losses.items()} | report

    def _rendered(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        """The search's loss on pictures: half of them new, the others with the code they came to."""
        assert self.pool is not None
        weights, start = Weights(), self.pool.start.to(self.G.device)
        new = self._new_pictures(self.config.batch - len(self.going))
        states = [*self.going, *((image, self.pool.start, self.pool.start_image[0], 0) for image in new)]
        images, codes, beside = (
            torch.stack([s[i] for s in states]).to(self.G.device)  # type: ignore[misc]  # tensors but for the last
            for i in range(3)
        )
        codes = codes + self.network(images, beside)
        made = render(self.G, self.statistics, codes)
        shared = codes.mean(1, keepdim=True)
        terms = {name: term.mean() for name, term in PictureLoss(images, self.perceptual, weights)(made).items()}
        terms["spread"] = weights.spread * (codes - shared).square().mean()
        terms["prior"] = weights.prior * (shared - start.mean(0)).square().mean()
        made, kept = made.detach().cpu(), codes.detach().cpu()
        looks = [s[3] + 1 for s in states]
        error = (made.clamp(-1, 1) - images.cpu()).square().mean([1, 2, 3])
        report: dict[str, float] = {}
        for count in sorted(set(looks)):
            chosen = torch.tensor([look == count for look in looks])
            report[f"psnr_{count}"] = float((10 * torch.log10(4 / error[chosen].clamp(min=1e-9))).mean())
        alive = [i for i, count in enumerate(looks) if count < self.config.refinements]
        picked = [alive[i] for i in torch.randperm(len(alive), generator=self.pool.random)[: self.config.batch // 2]]
        self.going = [(states[i][0], kept[i], made[i], looks[i]) for i in picked]
        return terms, report

    def _new_pictures(self, count: int) -> Tensor:
        """Photographs, mirrored at random, and one sample in four; without photographs samples only."""
        assert self.pool is not None
        samples = count if self.photos is None else max(1, count // 4)
        image = self.pool.pairs(samples)[0]
        if self.photos is None or self.order is None or count == samples:
            return image
        picked = self.order.at(self.step * self.config.batch, count - samples)
        photos = image_from_uint8(self.photos.__getitems__(picked.tolist()).images)
        flips = torch.rand(len(photos), generator=self.pool.random) < 0.5
        return torch.cat([torch.where(flips[:, None, None, None], photos.flip(3), photos), image])

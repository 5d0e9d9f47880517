"""The search behind ``Optimise``: photos in lanes side by side, each with its own steps, rates, noise and end.

A lane's numbers do not depend on who else is in the batch, but for rounding: a photo that is done leaves, another
enters, and each comes out as if it had been alone. See ``projector.lanes`` for who drives it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from editkit.labels import Classes
from editkit.latent import Latent
from editkit.perceptual import PerceptualDistance
from editkit.seeds import normal
from projector.adam import LaneAdam
from projector.driving import ramp
from projector.losses import PictureLoss
from projector.placement import transform_of
from projector.pose_search import PoseSearch
from projector.precision import mixed
from projector.recorded import RecordedSynthesis
from projector.variables import Variables

if TYPE_CHECKING:
    from editkit.generator import Generator
    from editkit.transform import Transform
    from projector.optimise import Optimise

log = logging.getLogger(__name__)


class AdamSearch:
    """Lanes of ``Optimise``; a ``projector.lanes.Lanes``."""

    GIVE_UP_AFTER = 5  # restarts from the best after a loss that is not finite

    def __init__(
        self, G: Generator, method: Optimise, perceptual: PerceptualDistance, seed: int, classes: Classes | None
    ) -> None:
        self.G, self.method, self.perceptual, self.seed, self.classes = G, method, perceptual, seed, classes
        self.made = Variables(G, method, classes)
        self.poses = None if method.placement is None else PoseSearch(G, method.placement, classes)
        self.targets = torch.empty(0)
        self.values: dict[str, Tensor] = {}
        self.best: dict[str, Tensor] = {}
        self.best_loss = torch.empty(0)
        self.adam = LaneAdam()
        self.index: list[int] = []
        self.restarts: list[int] = []
        self.last_gain: list[int] = []
        self.lowest: list[float] = []
        self.refining: list[bool] = []
        self.synthesize = RecordedSynthesis(G)

    def enter(self, targets: Tensor) -> None:
        """New lanes for ``targets`` [K, 3, R, R], after those there are."""
        targets = targets.to(self.G.device)
        count = len(targets)
        fresh = self.made.start(count)
        if self.poses is not None:
            fresh["placed"], codes = self.poses.find(targets)
            fresh["shared"] = codes[:, None]
        self.adam.enter(fresh)
        losses = torch.full([count], math.inf, device=self.G.device)
        if self.index:
            self.targets = torch.cat([self.targets, targets])
            self.best = {name: torch.cat([self.best[name], rows]) for name, rows in fresh.items()}
            self.best_loss = torch.cat([self.best_loss, losses])
            fresh = {name: torch.cat([self.values[name].detach(), rows]) for name, rows in fresh.items()}
        else:
            self.targets, self.best_loss = targets, losses
            self.best = {name: rows.clone() for name, rows in fresh.items()}
        self.index += [0] * count
        self.restarts += [0] * count
        self.last_gain += [0] * count
        self.lowest += [math.inf] * count
        self.refining += [False] * count
        self._hold(fresh)

    def leave(self, lanes: Sequence[int]) -> None:
        """Drop these lanes."""
        stay = [lane for lane in range(len(self.index)) if lane not in set(lanes)]
        self.adam.stay(stay)
        self.targets, self.best_loss = self.targets[stay], self.best_loss[stay]
        self.best = {name: rows[stay] for name, rows in self.best.items()}
        for name in ("index", "restarts", "last_gain", "lowest", "refining"):
            kept = getattr(self, name)
            setattr(self, name, [kept[lane] for lane in stay])
        self._hold({name: rows.detach()[stay] for name, rows in self.values.items()})

    def _hold(self, values: dict[str, Tensor]) -> None:
        moves = self.made.peaks
        self.values = {name: rows.detach().clone().requires_grad_(name in moves) for name, rows in values.items()}
        if len(self.targets):
            self.loss = PictureLoss(self.targets, self.perceptual, self.method.weights)

    def advance(self, progress: Sequence[float]) -> dict[str, Tensor]:
        """One step of every lane, each at its ``progress`` from 0 to 1; weighted terms and their sum "loss", [N]."""
        m = self.method
        self._begin_refining(progress)
        effective = self._effective(progress)
        with torch.enable_grad(), mixed(self.G.device, m.mixed_precision):
            image = self._render(effective)
            terms = self.loss(image)
            terms |= self.made.regularisers(effective)
            total = torch.stack(list(terms.values())).sum(0)  # [N]
        finite = torch.isfinite(total)
        better = finite & (total < self.best_loss)
        self.best_loss = torch.where(better, total.detach(), self.best_loss)
        for name, rows in effective.items():
            where = better.reshape(-1, *[1] * (rows.ndim - 1))
            self.best[name] = torch.where(where, rows.detach(), self.best[name])
        for rows in self.values.values():
            rows.grad = None
        torch.where(finite, total, torch.zeros_like(total)).sum().backward()
        self.adam.update(self.values, self._rates(progress, finite))
        self._tidy()
        self.index = [index + 1 for index in self.index]
        if not bool(finite.all()):
            self._restart(~finite)
        return {name: value.detach() for name, value in (terms | {"loss": total}).items()}

    def _effective(self, progress: Sequence[float]) -> dict[str, Tensor]:
        """The variables as this step renders them: with exploring noise."""
        m, values = self.method, dict(self.values)
        scales = [
            m.noise * max(0.0, 1.0 - self._searched(p) / m.noise_ramp) ** 2 if m.noise_ramp > 0 else 0.0
            for p in progress
        ]
        if any(scales):
            draws = {index: self._draw(index) for index in set(self.index)}
            noise = torch.stack([draws[index] * scale for index, scale in zip(self.index, scales, strict=True)])
            values["shared"] = values["shared"] + noise.to(values["shared"])
        return values

    def _draw(self, index: int) -> Tensor:
        """[1, w_dim], the same for every photo at its step ``index``."""
        return normal(self.seed * 100_003 % 2**31 + index, (1, 1, self.G.spec.w_dim))[0]

    def _searched(self, progress: float) -> float:
        """How much of the search in W or W+ is done, 0 to 1."""
        return min(1.0, progress / self.method.refine_from) if self.method.space == "s" else progress

    def _rates(self, progress: Sequence[float], finite: Tensor) -> dict[str, Tensor]:
        """Learning rates [N] of each variable."""
        m, made = self.method, {}
        halved = [0.5**restarts for restarts in self.restarts]
        for name, peak in self.made.peaks.items():
            row = []
            for p, refining, scale in zip(progress, self.refining, halved, strict=True):
                part = (p - m.refine_from) / (1 - m.refine_from) if refining else self._searched(p)
                moves = name == "noise" or refining == (name == "styles")
                row.append(peak * scale * ramp(part, m.ramp_up, m.ramp_down) if moves else 0.0)
            if name in self.values:
                made[name] = torch.where(finite, torch.tensor(row, device=finite.device), 0.0)
        return made

    def _begin_refining(self, progress: Sequence[float]) -> None:
        """Lanes whose search in W+ is over go on, in S, from its best."""
        if self.method.space != "s":
            return
        turn = [
            p >= self.method.refine_from and not refining for p, refining in zip(progress, self.refining, strict=True)
        ]
        if any(turn):
            self._back_to_best(torch.tensor(turn, device=self.G.device))
            self.refining = [a or b for a, b in zip(self.refining, turn, strict=True)]

    def _tidy(self) -> None:
        if "noise" not in self.values:
            return
        with torch.no_grad():
            for name, rows in self.made.tidied({n: v.detach() for n, v in self.values.items()}).items():
                self.values[name].copy_(rows)

    def _back_to_best(self, where: Tensor) -> None:
        with torch.no_grad():
            for name, rows in self.values.items():
                rows[where] = self.best[name][where]
        self.adam.forget(where)

    def _restart(self, where: Tensor) -> None:
        log.warning("the loss is not finite at step %d: back to the best, at half the learning rate", max(self.index))
        self._back_to_best(where)
        self.restarts = [n + bad for n, bad in zip(self.restarts, where.tolist(), strict=True)]

    def _render(self, values: dict[str, Tensor]) -> Tensor:
        if self.method.placement is not None or self.method.space == "s" or "noise" in values:
            # a transform is checked as it is made, which no graph can record
            return self.G.synthesize(self.made.latent(values), transform=self._transform(values))
        return self.synthesize(self.made.ws(values))

    def _transform(self, values: dict[str, Tensor]) -> Transform | None:
        return transform_of(values["placed"]) if "placed" in values else None

    def latent(self) -> Latent:
        """The best of every lane, on the CPU."""
        with torch.no_grad():
            found = self.made.latent(self.best).to("cpu")
        return found if found.space == "s" else replace(found, codes=found.tensor.contiguous())

    def transform(self) -> Transform | None:
        """The best placements, where they are sought."""
        return transform_of(self.best["placed"].cpu().double()) if "placed" in self.best else None

    def given_up(self) -> list[bool]:
        """Which lanes have diverged for good."""
        return [restarts > self.GIVE_UP_AFTER for restarts in self.restarts]

    def settled(self, progress: Sequence[float]) -> list[bool]:
        """Which lanes have not improved for ``patience`` steps since noise and the change to S are past."""
        m, found = self.method, []
        from_here = max(m.noise_ramp, m.refine_from) if m.space == "s" else m.noise_ramp
        for lane, (p, current) in enumerate(zip(progress, self.best_loss.tolist(), strict=True)):
            if p < from_here or current < self.lowest[lane] * (1 - m.tolerance):
                self.last_gain[lane], self.lowest[lane] = self.index[lane], min(current, self.lowest[lane])
            found.append(m.patience > 0 and self.index[lane] - self.last_gain[lane] >= m.patience)
        return found

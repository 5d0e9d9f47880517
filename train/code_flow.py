"""Where codes lie, more nearly than a normal distribution says: a flow that carries normal numbers there.

Codes of photographs are not normal: glasses are on or off, smiles open or shut, and a busy picture's code is longer in
every dimension at once. What a normal distribution draws between them is of no photograph: half-formed glasses. Of the
bundled generator's run 800 samples were 112 from photographs on EfficientNet-Lite0 drawn normally, and 91 drawn by a
flow, with the same weights (docs/training.md).

Source: Liu et al. 2023, "Flow Straight and Fast", and Lipman et al. 2023, "Flow Matching for Generative Modeling": a
network learns the mean velocity on straight ways from numbers to codes, paired at random; followed from 0 to 1, it
takes the one distribution to the other.
"""

from __future__ import annotations

import copy
import logging
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editkit.networks.mapping import normalize_2nd_moment
from editkit.schedule import rise_and_fall

log = logging.getLogger(__name__)

HIDDEN, DEPTH = 512, 3
STEPS = 3000
"""Of the fit: the last 250 gained 0.0003 of 1.47 on codes of photographs that were not learned from."""
BATCH, RATE, DECAY, DROPPED = 768, 1e-3, 1e-2, 0.1
WAY = 16
"""Steps of Heun's method from numbers to codes."""
_HELD_OUT = 20  # one photograph in so many is not learned from, and says how it goes
_WAVES = 8


class CodeFlow(nn.Module):
    """The velocity [N, axes] at places [N, axes] and times [N]; at first it is 0, and nothing moves."""

    def __init__(self, axes: int, *, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.enter = nn.Linear(axes + 1 + 2 * _WAVES, hidden)
        self.further = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(DEPTH))
        self.leave = nn.Linear(hidden, axes)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def velocity(self, places: Tensor, times: Tensor) -> Tensor:
        """[N, axes] at ``places`` [N, axes] and ``times`` [N], from 0 to 1."""
        waves = times[:, None] * (math.pi * torch.arange(1, _WAVES + 1, device=times.device))
        x = F.silu(self.enter(torch.cat([places, times[:, None], waves.sin(), waves.cos()], 1)))
        for layer in self.further:
            x = x + F.silu(layer(F.dropout(x, DROPPED, self.training)))
        return self.leave(x)

    def forward(self, numbers: Tensor) -> Tensor:
        """Numbers [N, axes] of unit mean square to codes, in units of the axes; without a gradient."""
        with torch.no_grad():
            places, step = numbers, 1 / WAY
            for index in range(WAY):
                times = torch.full_like(places[:, 0], index * step)
                first = self.velocity(places, times)
                second = self.velocity(places + step * first, times + step)
                places = places + 0.5 * step * (first + second)
        return places


def fitted_flow(codes: Tensor, *, seed: int = 0, steps: int = STEPS, hidden: int = HIDDEN) -> CodeFlow:
    """A flow to codes of unit deviation, averaged over its steps, frozen.

    Deterministic on one device and one number of threads.

    Args:
        codes: [N, views, axes], of N > 0 photographs as they are, mirrored and so on.
    """
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[codes.device] if codes.is_cuda else []):  # dropout draws from torch's own
        torch.manual_seed(seed)
        flow = CodeFlow(codes.shape[2], hidden=hidden).to(codes.device)
        average = copy.deepcopy(flow).eval().requires_grad_(False)
        optimizer = torch.optim.AdamW(flow.parameters(), RATE, weight_decay=DECAY)
        order = torch.randperm(len(codes), generator=random).to(codes.device)
        apart = len(codes) // _HELD_OUT
        told, learned = codes[order[:apart]].flatten(0, 1), codes[order[apart:]].flatten(0, 1)
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = RATE * rise_and_fall(step, steps, rise=100)
            rows = torch.randint(len(learned), (min(BATCH, len(learned)),), generator=random)
            optimizer.zero_grad(set_to_none=True)
            _off(flow, learned[rows.to(codes.device)], random).backward()
            optimizer.step()
            with torch.no_grad():
                share = 1 - min(0.995, (step + 1) / (step + 10))
                torch._foreach_lerp_(list(average.parameters()), list(flow.parameters()), share)
                if len(told) and ((step + 1) % 500 == 0 or step + 1 == steps):
                    near, far = (float(_off(average, some[: len(told)], random)) for some in (learned, told))
                    log.info("flow: step %d of %d, off by %.4f, held out %.4f", step + 1, steps, near, far)
    return average


def _off(flow: CodeFlow, codes: Tensor, random: torch.Generator) -> Tensor:
    """Mean squared error of the velocity somewhere on the ways to ``codes``."""
    numbers = normalize_2nd_moment(torch.randn(codes.shape, generator=random)).to(codes.device)
    times = torch.rand(len(codes), generator=random).to(codes.device)
    way = codes - numbers
    return (flow.velocity(numbers + times[:, None] * way, times) - way).square().mean()

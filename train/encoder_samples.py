"""Pictures of a generator whose codes are known, for the encoder: pairs, and how far apart their codes are.

A code is drawn where those of photographs lie (``train.photo_codes``). Where that is not known it is a random row of W,
or two of them with a crossover (style mixing, Karras et al. 2019, section 3.1), and for half of them random offsets a
row, since codes of photographs leave W. Each comes with a neighbour, so that the encoder also sees reconstructions that
are nearly right.
"""

from __future__ import annotations

import torch
from torch import Tensor

from editkit.generator import Generator
from editkit.latent import Latent
from editkit.seeds import z_from_seeds
from projector.statistics import WStatistics
from train.photo_codes import PhotoCodes

SPREAD = 0.6
"""Largest standard deviation of the random offsets a row, in standard deviations of W."""


def render(G: Generator, statistics: WStatistics, codes: Tensor) -> Tensor:
    """Codes [N, num_ws, w_dim] in standard deviations of W to pictures; differentiable."""
    ws = statistics.mean + codes @ statistics.axes
    return G.synthesize(Latent(space="w+", codes=ws, generator=G.spec.id, parent=G.spec.parent_id))


class SamplePool:
    """The newest ``size`` codes with their pictures, each with a neighbour's.

    ``photo_codes``: where codes of photographs lie; codes are drawn there then, and the pictures stand beside that of
    their mean instead of the mean of W's.
    """

    def __init__(
        self, G: Generator, statistics: WStatistics, *, size: int, seed: int, photo_codes: PhotoCodes | None = None
    ) -> None:
        self.G, self.statistics, self.size, self.photo_codes = G, statistics, size, photo_codes
        self.inverse = torch.linalg.inv(statistics.axes.double().cpu()).float().to(G.device)
        self.made = 0
        self.random = torch.Generator().manual_seed(seed)
        self.first_seed = seed * 10_000_019 % 2**31
        side, rows, width = G.spec.resolution, G.spec.num_ws, G.spec.w_dim
        self.codes = torch.zeros(size, 2, rows, width)
        self.images = torch.zeros(size, 2, 3, side, side, dtype=torch.float16)
        self.start = torch.zeros(rows, width) if photo_codes is None else photo_codes.mean
        with torch.no_grad():
            self.start_image = render(G, statistics, self.start[None].to(G.device)).cpu()

    def __len__(self) -> int:
        return min(self.made, self.size)

    def add(self, count: int) -> None:
        """Draws ``count`` new codes and renders them and their neighbours; the oldest make room."""
        near = self._codes(count)
        strength = 10 ** (torch.rand(count, 1, 1, generator=self.random) * 1.2 - 1.2)
        step = torch.randn(count, 1, near.shape[2], generator=self.random)
        step = step + 0.5 * torch.randn(near.shape, generator=self.random)
        codes = torch.stack([near, near + strength * step], 1)  # [count, 2, num_ws, w_dim]
        with torch.no_grad():
            images = torch.cat([render(self.G, self.statistics, part.to(self.G.device)) for part in codes.unbind(1)])
        where = torch.arange(self.made, self.made + count) % self.size
        self.codes[where] = codes
        self.images[where] = images.cpu().clamp(-2, 2).unflatten(0, (2, count)).transpose(0, 1).half()
        self.made += count

    def pairs(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures, what stands beside them, and the codes' difference: half from the start's, the others alike.

        [count, 3, R, R] twice, and [count, num_ws, w_dim], on the CPU.
        """
        rows = torch.randint(len(self), (count,), generator=self.random)
        others = torch.randint(len(self), (count,), generator=self.random)
        kind = torch.rand(count, generator=self.random)
        first, far = kind < 0.5, (kind >= 0.5) & (kind < 0.7)
        image, beside = self.images[rows, 0].float(), self.images[rows, 1].float()
        codes, start = self.codes[rows, 0], self.codes[rows, 1]
        beside = torch.where(far[:, None, None, None], self.images[others, 0].float(), beside)
        beside = torch.where(first[:, None, None, None], self.start_image, beside)
        start = torch.where(far[:, None, None], self.codes[others, 0], start)
        start = torch.where(first[:, None, None], self.start, start)
        return image, beside, codes - start

    def draw(self, count: int) -> Tensor:
        """New codes without their pictures, [count, num_ws, w_dim], on the CPU; the pool keeps none of them."""
        codes = self._codes(count)
        self.made += count
        return codes

    def _codes(self, count: int) -> Tensor:
        if self.photo_codes is not None:
            return self.photo_codes.draw(count, self.random)
        rows, width = self.G.spec.num_ws, self.G.spec.w_dim
        seeds = range(self.first_seed + 2 * self.made, self.first_seed + 2 * (self.made + count))
        z = z_from_seeds([seed % 2**31 for seed in seeds], self.G.spec.z_dim).to(self.G.device)
        with torch.no_grad():
            w = self.G.map(z).tensor[:, 0]
        pair = ((w - self.statistics.mean) @ self.inverse).cpu().view(count, 2, 1, width)
        crossover = torch.randint(1, 2 * rows, (count, 1, 1), generator=self.random)  # beyond the last: none
        second = torch.arange(rows).view(1, rows, 1) >= crossover
        codes = torch.where(second, pair[:, 1], pair[:, 0])
        spread = SPREAD * torch.rand(count, 1, 1, generator=self.random)
        spread = spread * (torch.rand(count, 1, 1, generator=self.random) < 0.5)
        return codes + spread * torch.randn(count, rows, width, generator=self.random)

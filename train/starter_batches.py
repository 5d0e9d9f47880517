"""The photographs of the starter recipe, in memory on the device that trains."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from train.dataset_loader import ShuffledOrder


class Batches:
    """Batches of mirrored photographs by image count: the same order after a resume as without one.

    The photographs, uint8 [N, R, R, 3], lie on ``device``.
    """

    def __init__(self, images: np.ndarray, *, batch: int, seed: int, device: torch.device | str = "cpu") -> None:
        self.images, self.batch = torch.from_numpy(images).to(device), batch
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        """Another order and other mirrors; the photographs stay where they are."""
        self.seed, self.order = seed, ShuffledOrder(len(self.images), seed=seed)

    def picked(self, seen: int) -> tuple[Tensor, Tensor]:
        """Of the batch at image ``seen``: which photographs, int64, and which are mirrored, bool; [batch]."""
        flips = np.random.default_rng([self.seed, 1, seen]).random(self.batch) < 0.5
        return torch.from_numpy(self.order.at(seen, self.batch)), torch.from_numpy(flips)

    def read(self, rows: Tensor, flips: Tensor) -> Tensor:
        """float32 [batch, 3, R, R] in [-1, 1], channels last."""
        images = self.images[rows]
        images = torch.where(flips[:, None, None, None], images.flip(2), images)
        return (images.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)

    def at(self, seen: int) -> Tensor:
        """The batch that starts at image ``seen``."""
        rows, flips = self.picked(seen)
        return self.read(rows.to(self.images.device), flips.to(self.images.device))

    def both_ways(self, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All photographs once, ``count`` at a time, as they are and mirrored."""
        for rows in torch.arange(len(self.images), device=self.images.device).split(count):
            flips = torch.zeros_like(rows, dtype=torch.bool)
            yield self.read(rows, flips), self.read(rows, ~flips)

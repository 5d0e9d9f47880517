"""Endless batches of a data set, in an order that is a pure function of the seed and of the images seen before.

Place p of the stream (p = 0, 1, ...) is entry p mod N of the permutation number p div N. So a run that is resumed after
``start`` images, or one with another number of ranks, sees the same pictures as one that went through.
"""

import os
import signal
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import torch

from editkit.errors import UsageError
from editkit.threads import usable_cores
from train.dataset import Batch, ImageDataset

_PREFETCHED = 4  # batches a worker keeps ready


class ShuffledOrder:
    """Permutations of ``count`` indices, one after the other without end."""

    def __init__(self, count: int, *, seed: int) -> None:
        self.count, self.seed = count, seed
        self._epoch: int | None = None
        self._permutation = np.empty(0, np.int64)

    def at(self, start: int, length: int) -> np.ndarray:
        """The indices at places ``start`` to ``start + length - 1``: int64 [length]."""
        picked = np.empty(length, np.int64)
        done = 0
        while done < length:
            epoch, place = divmod(start + done, self.count)
            taken = self._order(epoch)[place : place + length - done]
            picked[done : done + len(taken)] = taken
            done += len(taken)
        return picked

    def _order(self, epoch: int) -> np.ndarray:
        if self._epoch != epoch:
            self._epoch = epoch
            self._permutation = np.random.default_rng([self.seed, 0, epoch]).permutation(self.count)
        return self._permutation


class BatchPlaces(torch.utils.data.Sampler[list[int]]):
    """The indices of every batch of one rank, without end.

    Rank r takes places ``r * batch / world`` to ``(r + 1) * batch / world`` of each batch, so that the ranks' parts one
    after the other are the whole batch.
    """

    def __init__(self, count: int, *, batch: int, seed: int, start: int = 0, rank: int = 0, world: int = 1) -> None:
        if batch < 1 or world < 1 or batch % world or not 0 <= rank < world or start < 0:
            raise UsageError(
                f"a batch is divided evenly among the ranks, got a batch of {batch}, rank {rank} of {world}, "
                f"{start} images seen"
            )
        self.order = ShuffledOrder(count, seed=seed)
        self.batch, self.start, self.rank, self.world = batch, start, rank, world

    def __iter__(self) -> Iterator[list[int]]:
        share, place = self.batch // self.world, self.start
        while True:
            yield self.order.at(place + self.rank * share, share).tolist()
            place += self.batch


def load_batches(
    dataset: ImageDataset,
    *,
    batch: int,
    seed: int = 0,
    start: int = 0,
    rank: int = 0,
    world: int = 1,
    workers: int | None = None,
    pin_memory: bool | None = None,
) -> Generator[Batch, None, None]:
    """Batches without end: uint8 [batch / world, R, R, C] and labels float32 [batch / world, c_dim].

    ``close()`` ends the processes that decode; they would live as long as something still refers to the batches.

    batch: of all ranks together.
    start: images that were seen before, by all ranks together; a resume continues there exactly.
    workers: processes that decode ahead; by default none where memory keeps the pictures, which are then all decoded
        first, else this process's share of the machine's cores less one, up to 8.
    pin_memory: page-locked batches, for ``.to(device, non_blocking=True)``; by default where there is a CUDA GPU.
    Raises UsageError: a batch that the ranks cannot divide.
    """
    places = BatchPlaces(len(dataset), batch=batch, seed=seed, start=start, rank=rank, world=world)
    # torchrun says how many processes share this machine
    cores = max(1, usable_cores() // max(1, int(os.environ.get("LOCAL_WORLD_SIZE") or 1)))
    in_memory = dataset.cache is not None and dataset.cache.file is None
    if workers is None:
        workers = 0 if in_memory else max(1, min(8, cores - 1))
    if in_memory and (workers == 0 or torch.multiprocessing.get_start_method() == "fork"):
        dataset.fill(workers=cores)  # forked workers share it
    loader = torch.utils.data.DataLoader(
        dataset,
        batch_sampler=places,
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=torch.cuda.is_available() if pin_memory is None else pin_memory,
        prefetch_factor=_PREFETCHED if workers else None,
        worker_init_fn=_leave_interrupts,
    )
    return _through(loader)


def _through(loader: torch.utils.data.DataLoader[Any]) -> Generator[Batch, None, None]:
    yield from loader  # the frame alone holds its iterator, so that closing it is enough


def _leave_interrupts(worker: int) -> None:
    """Ctrl-C in a terminal reaches every process of the group; the training ends its step first, and needs pictures."""
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _as_it_is(batch: Any) -> Any:
    """``ImageDataset.__getitems__`` has put the batch together already."""
    return batch

"""The processes of a run: one, or those that ``torchrun`` has started."""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from editkit.device import resolve_device
from editkit.errors import OutputError, UsageError
from editkit.files import ensure_folder, write_text


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """``rank`` of ``size`` processes, and this one's ``device``."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replaces tensors, in place, by their mean over all processes; the sums have one order, so all get one."""
        found = list(tensors)
        if self.size == 1 or not found:
            return
        # on the device of this process: NCCL takes no tensors of the CPU
        flat = torch.cat([tensor.reshape(-1).to(self.device, torch.float32) for tensor in found])
        dist.all_reduce(flat)
        flat /= self.size
        for tensor, part in zip(found, flat.split([tensor.numel() for tensor in found]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def total(self, tensor: Tensor) -> None:
        """Replaces a tensor by its sum over all processes."""
        if self.size > 1:
            moved = tensor.to(self.device)
            dist.all_reduce(moved)
            tensor.copy_(moved)

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` holds in some process."""
        found = torch.tensor([float(flag)])
        self.total(found)
        return bool(found[0] > 0)

    def agree(self, facts: str, what: str) -> None:
        """Raises UsageError in every process where they do not all have the same ``facts``, which are ``what``."""
        if self.size == 1:
            return
        number = int.from_bytes(hashlib.blake2b(facts.encode(), digest_size=7).digest(), "little")
        found = torch.tensor([number, -number], device=self.device)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        if int(found[0]) != -int(found[1]):
            raise UsageError(f"the processes of this training differ in {what}; start all of them alike")

    def share(self, folder: Path, *, patience: float = 10.0) -> None:
        """Raises UsageError in every process where not all of them see ``folder``, which is made where it is missing.

        Each reads the snapshot there that the first one writes. ``patience``: seconds that a network drive may take.
        """
        if self.size == 1:
            return
        name = torch.tensor([random.SystemRandom().getrandbits(40) if self.leads else 0])
        self.total(name)
        mark = folder / f".together-{int(name)}"
        problem: OutputError | None = None
        if self.leads:
            try:
                ensure_folder(folder)
                write_text(mark, "")
            except OutputError as error:
                problem = error
        failed = self.any(problem is not None)
        if problem is not None:
            raise problem
        if failed:
            raise UsageError(f"the first process of this training cannot write into {folder}; it says why")
        until = time.monotonic() + patience
        while not mark.is_file() and time.monotonic() < until:
            time.sleep(0.1)
        apart = self.any(not mark.is_file())
        if self.leads:
            mark.unlink(missing_ok=True)
        if apart:
            raise UsageError(
                f"not all processes of this training see what the first one wrote into {folder}: on several machines "
                "--out must be one folder, on a drive that all of them share"
            )

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier()


def join(device: str = "auto") -> World:
    """This process's place: alone, or as ``torchrun`` says (RANK, WORLD_SIZE, LOCAL_RANK), over NCCL or Gloo."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    where = resolve_device(device)
    if size == 1:
        return World(device=where)
    if where.type == "cuda":
        where = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(where)
    elif where.type != "cpu":
        raise UsageError(f"several processes run on cuda or cpu, not on {where.type}; start one, or give --device cpu")
    if not dist.is_initialized():
        from train.meeting import fresh_corner  # not every build of torch has what it imports

        store, rank, size = next(iter(dist.rendezvous("env://")))
        dist.init_process_group(
            "nccl" if where.type == "cuda" else "gloo",
            store=fresh_corner(store, rank, size), rank=rank, world_size=size,
        )  # fmt: skip
    return World(rank=dist.get_rank(), size=dist.get_world_size(), device=where)


def leave() -> None:
    """Ends what ``join`` began."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()

"""How much memory is free, and a refusal with the number where something would not fit."""

import os
from pathlib import Path

import torch

from editkit.errors import MemoryBudgetError

_CGROUP = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def free_memory(device: torch.device | str = "cpu") -> int:
    """Bytes that can be taken now: of the GPU's memory, or of the machine's within a container's limit."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = _available()
    for limit, used in _CGROUP:
        try:
            room = int(Path(limit).read_text()) - int(Path(used).read_text())
        except (OSError, ValueError):  # no such controller, or "max"
            continue
        free = min(free, max(room, 0))
    return free


def _available() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2  # half of all: what is free is not told
    except (ValueError, OSError, AttributeError):
        return 4 * 2**30


def check_fits(needed: int, what: str, *, device: torch.device | str = "cpu") -> None:
    """Raises MemoryBudgetError, with both numbers, if ``needed`` bytes are not free on ``device``."""
    free = free_memory(device)
    if needed > free:
        raise MemoryBudgetError(
            f"{what} needs about {needed / 2**30:.1f} GiB of memory on {torch.device(device).type} and "
            f"{free / 2**30:.1f} GiB are free; close other programs, use a smaller network or another device"
        )

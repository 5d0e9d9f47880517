"""How torch's threads behave, settled in the environment before torch is first imported.

By default threads that wait for each other spin: on a machine whose cores are busy with something else, or in a
container that may use fewer cores than it sees, they burn the time that the work itself would need.
"""

import math
import os
from collections.abc import MutableMapping
from pathlib import Path

# cgroup version 2: "quota period" in one file; version 1: a file each.
_QUOTA = (("/sys/fs/cgroup/cpu.max",), ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"))


def settle_threads(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let waiting threads sleep, and start no more of them than a container's quota of cores.

    What the user has set (OMP_WAIT_POLICY, OMP_NUM_THREADS) stays. Without effect once torch is imported.
    """
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    quota = container_cores()
    if quota is not None and quota < (os.cpu_count() or 1):
        environment.setdefault("OMP_NUM_THREADS", str(quota))


def usable_cores() -> int:
    """Cores that this process may run on, within its container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, container_cores() or cores)


def container_cores() -> int | None:
    """Cores that this process' container may use, rounded up; None where there is no limit."""
    for files in _QUOTA:
        try:
            quota, period = (int(word) for file in files for word in Path(file).read_text().split())
        except (OSError, ValueError):  # no such controller, or "max"
            continue
        if quota > 0 and period > 0:
            return max(1, math.ceil(quota / period))
    return None

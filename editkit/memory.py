"""How much memory is free, and a refusal with the number where something would not fit."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from editkit.errors import MemoryBudgetError, UsageError
from editkit.ops import arena

if TYPE_CHECKING:
    from editkit.networks.stylegan3_layers import LayerGeometry

_V2, _V1 = "/sys/fs/cgroup/memory.", "/sys/fs/cgroup/memory/memory."
_CGROUP = (
    (f"{_V2}max", f"{_V2}current", f"{_V2}stat", "inactive_file"),
    (f"{_V1}limit_in_bytes", f"{_V1}usage_in_bytes", f"{_V1}stat", "total_inactive_file"),
)
"""Limit, use, statistics, and the name there of cached files: they count as used, but are let go on demand."""


def free_memory(device: torch.device | str = "cpu") -> int:
    """Bytes that can be taken now: of the GPU's memory, or of the machine's within a container's limit."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = _available()
    for limit, used, statistics, cache in _CGROUP:
        try:
            room = int(Path(limit).read_text()) - int(Path(used).read_text())
        except (OSError, ValueError):  # no such controller, or "max"
            continue
        free = min(free, max(room + _statistic(statistics, cache), 0))
    return free + arena.idle()  # what our own kernels hold and take again


def _statistic(path: str, name: str) -> int:
    """A number of a file of "name number" lines; 0 where it is not there."""
    try:
        return next(int(line.split()[1]) for line in Path(path).read_text().splitlines() if line.split()[:1] == [name])
    except (OSError, ValueError, IndexError, StopIteration):
        return 0


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


def check_fits(
    needed: int,
    what: str,
    *,
    device: torch.device | str = "cpu",
    advice: str = "close other programs, use a smaller network or another device",
) -> None:
    """Raises MemoryBudgetError, with both numbers and ``advice``, if ``needed`` bytes are not free on ``device``."""
    free = free_memory(device)
    if needed > free:
        raise MemoryBudgetError(
            f"{what} needs about {needed / 2**30:.1f} GiB of memory on {torch.device(device).type} and "
            f"{free / 2**30:.1f} GiB are free; {advice}"
        )


def working_memory(arguments: Mapping[str, Any], *, kind: str = "stylegan3") -> int:
    """Bytes that a forward pass of one image takes: what the largest layer holds at once.

    ``arguments`` are those of the network's constructor. Raises UsageError if they make no network.
    """
    try:
        return _ESTIMATES[kind](arguments)
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise UsageError(f"these constructor arguments make no network: {error}") from error


def stylegan3_table(arguments: Mapping[str, Any]) -> list["LayerGeometry"]:
    """The layers that these constructor arguments make. Raises ValueError or TypeError where they make none."""
    from editkit.networks.stylegan3 import layer_table

    names = ("img_resolution", "channel_base", "channel_max", "num_layers", "margin_size")
    defaults = {"img_resolution": 256, "channel_base": 32768, "channel_max": 512, "num_layers": 14, "margin_size": 10}
    return layer_table(
        **{name: int(arguments.get(name, defaults[name])) for name in names},
        img_channels=3,
        num_critical=arguments.get("num_critical", 2),
        first_cutoff=arguments.get("first_cutoff", 2),
        first_stopband=arguments.get("first_stopband", 2**2.1),
        last_stopband_rel=arguments.get("last_stopband_rel", 2**0.3),
        num_fp16_res=int(arguments.get("num_fp16_res", 4)),
    )


def _stylegan3(arguments: Mapping[str, Any]) -> int:
    """The largest layer, before and after its oversampling."""
    return _largest_layer(stylegan3_table(arguments), arguments.get("lrelu_upsampling", 2))


def _blocks(arguments: Mapping[str, Any]) -> int:
    """StyleGAN2 and its discriminator: the widest block, with input, resampled and filtered copies and output."""
    options = {**arguments, **(arguments.get("synthesis_kwargs") or {})}
    side, base, widest = (int(options.get(name, default)) for name, default in _BLOCK_SIZES)
    if min(side, base, widest) < 1:
        raise ValueError(f"sizes must be above 0, got {side}, {base} and {widest}")
    sides = [1 << power for power in range(2, side.bit_length())]
    return max([4 * 6 * min(base // r, widest) * r**2 for r in sides], default=0)


def _stylegan_xl(arguments: Mapping[str, Any]) -> int:
    """As ``_stylegan3``, over the layers of stem and heads."""
    from editkit.networks.stylegan_xl import staged_table, stages

    stem, heads = stages({name: value for name, value in arguments.items() if name != "embed_dim"})
    return _largest_layer(staged_table(stem, heads), stem.lrelu_upsampling)


def _largest_layer(table: list["LayerGeometry"], oversampling: int) -> int:
    return max(4 * g.out_channels * (4 * g.out_size**2 + 2 * (g.out_size * oversampling) ** 2) for g in table)


_BLOCK_SIZES = (("img_resolution", 256), ("channel_base", 32768), ("channel_max", 512))
_ESTIMATES = {
    "stylegan3": _stylegan3,
    "stylegan2": _blocks,
    "stylegan_xl": _stylegan_xl,
    "discriminator": _blocks,
}

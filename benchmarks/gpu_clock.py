"""Times, memory and ceilings of one card, and the least work of a layer: what ``gpu_speed.py`` measures with."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from gpu_results import Row

from editkit.networks.stylegan3_layers import SynthesisLayer
from editkit.ops.backends import use_backend

BACKENDS = ("polyphase", "triton")


class Clock:
    """Milliseconds and memory of a call on one device."""

    def __init__(self, device: torch.device, *, smoke: bool, seconds: float = 1.0) -> None:
        """``seconds``: of repetitions a row, after the warm-up."""
        self.device, self.smoke, self.seconds = device, smoke, seconds

    def median(self, run: Callable[[], object]) -> Row:
        """The median of repetitions, their spread (quartiles over the median) and the peak of memory."""
        gpu = self.device.type == "cuda"
        if gpu:
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
        for _ in range(0 if self.smoke else 2):  # compiles
            run()
        if gpu:
            torch.cuda.synchronize(self.device)
        each = self._once(run, gpu) / 1e3
        times = []
        for _ in range(1 if self.smoke else int(min(100, max(3, self.seconds / max(each, 1e-4))))):
            times.append(self._once(run, gpu))
        quarter = len(times) // 4
        spread = (sorted(times)[-1 - quarter] - sorted(times)[quarter]) / statistics.median(times)
        memory = torch.cuda.max_memory_allocated(self.device) / 2**30 if gpu else 0.0
        return {"ms": statistics.median(times), "spread": round(spread, 3), "runs": len(times), "GiB": round(memory, 2)}

    def _once(self, run: Callable[[], object], gpu: bool) -> float:
        if not gpu:
            started = time.perf_counter()
            run()
            return (time.perf_counter() - started) * 1e3
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end)

    def both(self, run: Callable[[], object]) -> Row:
        """The row of each backend, and how many times faster the kernels are."""
        row: Row = {}
        for backend in BACKENDS:
            with use_backend(backend):
                try:
                    row[backend] = self.median(run)
                except torch.OutOfMemoryError:
                    row[backend] = {"ms": None}
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        plain, ours = (row[backend]["ms"] for backend in BACKENDS)
        return row if plain is None or ours is None else row | {"speedup": plain / ours}


def ceilings(clock: Clock) -> Row:
    """The card's copy bandwidth, bytes read plus bytes written, and its float32 rate without tensor cores."""
    device, size = clock.device, 2**20 if clock.smoke else 2**30
    source = torch.randint(0, 255, (size,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = clock.median(lambda: target.copy_(source))["ms"]
    side = 128 if clock.smoke else 8192
    a, b = torch.randn(side, side, device=device), torch.randn(side, side, device=device)
    allowed, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, False
    product = clock.median(lambda: a @ b)["ms"]
    torch.backends.cuda.matmul.allow_tf32 = allowed
    return {"bytes_per_s": 2 * size / copy * 1e3, "fp32_flops": 2 * side**3 / product * 1e3}


def layer_work(layer: SynthesisLayer, batch: int, *, element: int, backward: bool) -> tuple[float, float]:
    """(bytes, FLOPs) that one filtered_lrelu must move and do: inputs, outputs and the mask once; two FLOPs a tap."""
    g = layer.geometry
    size, out = g.in_size + layer.conv_kernel - 1, g.out_size
    tmp = out * layer.down_factor  # without the halo
    planes = batch * g.out_channels
    moved = planes * (size**2 + out**2) * element
    up = layer.up_filter.shape[0] / layer.up_factor if layer.up_filter is not None else 1.0  # taps that meet a sample
    taps = planes * (tmp * size * up + tmp * tmp * up)
    down = layer.down_filter.shape[0] if layer.down_filter is not None else 1
    if layer.down_filter is not None and layer.down_filter.ndim == 2:
        taps += planes * out * out * down * down
    else:
        taps += planes * (tmp * out * down + out * out * down)
    masks = planes * tmp**2 / 4
    return (2 * moved + 2 * masks, 4 * taps) if backward else (moved, 2 * taps)

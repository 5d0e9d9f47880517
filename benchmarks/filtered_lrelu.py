"""Times the backends of the filtered non-linearity side by side: ``python benchmarks/filtered_lrelu.py [--help]``.

All backends run in one process, in turn, so that a busy machine slows all of them alike; figures are CPU-seconds (user
and system, of all threads) and the smallest of the rounds is kept. Read the ratios, not the seconds.
"""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # an uninstalled checkout works

import torch
from torch import Tensor

from editkit.networks.stylegan3 import StyleGAN3Generator
from editkit.networks.stylegan3_layers import SynthesisLayer
from editkit.ops.backends import use_backend
from editkit.ops.filtered_lrelu import filtered_lrelu

ORDER = ("reference", "polyphase", "cpu")


def cpu_seconds(run: Callable[[], object]) -> float:
    """CPU time of this process, in seconds, that one call takes."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    run()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def compare(run: Callable[[], object], *, rounds: int) -> dict[str, float]:
    """The least CPU time of ``rounds`` calls on each backend, taken in turn after one round that is not counted."""
    best = dict.fromkeys(ORDER, float("inf"))
    for number in range(rounds + 1):
        for backend in ORDER:
            with use_backend(backend):
                seconds = cpu_seconds(run)
            if number or rounds == 0:
                best[backend] = min(best[backend], seconds)
    return best


def layer_call(layer: SynthesisLayer, *, backward: bool) -> Callable[[], object]:
    """The non-linearity of one layer at batch one, in the layout that its convolution gives."""
    g = layer.geometry
    size = g.in_size + layer.conv_kernel - 1
    x = torch.randn(1, g.out_channels, size, size).contiguous(memory_format=torch.channels_last)
    x.requires_grad_(backward)

    def run() -> Tensor | tuple[Tensor, ...]:
        y = filtered_lrelu(
            x,
            layer.up_filter,
            layer.down_filter,
            layer.bias.detach(),
            up=layer.up_factor,
            down=layer.down_factor,
            padding=layer.padding,
            clamp=256,
        )
        return torch.autograd.grad(y, x, y.detach()) if backward else y

    return run


def row(name: str, times: dict[str, float]) -> None:
    """One line of the table."""
    slow = times["reference"]
    cells = "".join(f"{times[b]:11.3f}" for b in ORDER) + "".join(f"{slow / times[b]:11.1f}" for b in ORDER[1:])
    print(f"{name:26}{cells}", flush=True)


def generator(resolution: int, *, channel_base: int, channel_max: int) -> StyleGAN3Generator:
    """Configuration T with random weights; the official widths are 32768 and 512."""
    made = StyleGAN3Generator(
        z_dim=512,
        c_dim=0,
        w_dim=512,
        img_resolution=resolution,
        channel_base=channel_base,
        channel_max=channel_max,
    )
    return made.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, default=256, help="of configuration T whose layers run (256)")
    parser.add_argument("--channel-base", type=int, default=32768, help="width, as in the checkpoints (32768)")
    parser.add_argument("--channel-max", type=int, default=512, help="limit of the width (512)")
    parser.add_argument("--backward", action="store_true", help="time forward and backward instead of forward")
    parser.add_argument("--generator", action="store_true", help="time the forward pass of the whole generator too")
    parser.add_argument("--no-layers", action="store_true", help="leave out the table of layers")
    parser.add_argument("--rounds", type=int, default=2, help="rounds counted (2); 0: only the one that warms up")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (1)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = generator(options.resolution, channel_base=options.channel_base, channel_max=options.channel_max)
    print(f"T {options.resolution}, batch 1, torch {torch.__version__}, {options.threads} thread(s); CPU-seconds")
    print(f"{'':26}" + "".join(f"{b:>11}" for b in ORDER) + "".join(f"{b[:8] + ' x':>11}" for b in ORDER[1:]))
    total, seen = dict.fromkeys(ORDER, 0.0), {}
    for layer in [] if options.no_layers else model.synthesis.layers()[:-1]:  # ToRGB filters nothing
        g = layer.geometry
        key = (g.in_size, g.out_size, g.out_channels, layer.up_factor, layer.down_factor)
        if key not in seen:
            seen[key] = compare(layer_call(layer, backward=options.backward), rounds=options.rounds)
            row(f"{g.name} up {layer.up_factor} down {layer.down_factor}", seen[key])
        total = {backend: total[backend] + seen[key][backend] for backend in ORDER}
    if seen:
        row("all layers", total)
    if options.generator:
        ws = torch.randn(1, model.num_ws, 512)
        with torch.no_grad():
            row("generator, forward", compare(lambda: model.synthesis(ws), rounds=options.rounds))


if __name__ == "__main__":
    main()

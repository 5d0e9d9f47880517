"""Times the GPU kernels against plain torch on the same card: ``python benchmarks/gpu_speed.py --out DIR``.

filtered_lrelu of every layer, whole generators (T and R, 256 and 1024 px, batch 1 and 16; forward, and forward +
backward), one training step (T, 128 px, with R1) and the projection of one picture (256 px, 500 steps). Each row also
says how near it comes to the card: the larger of bytes over its own copy bandwidth and FLOPs over its own float32 rate,
divided by the time. Times are medians of CUDA events after a warm-up; figures and a table (speed.md) go to --out, where
finished rows are not run again. Needs torch, numpy and Triton, and this checkout. Kernels are compiled one by one as
they are met; ``gpu_compile.py --what step networks`` does it beforehand, side by side.
``--device cpu --smoke`` runs every row once in tiny form: it tests the script and its times mean nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # an uninstalled checkout works

import torch
from gpu_clock import BACKENDS, Clock, ceilings, layer_work
from gpu_results import Results, Row, machine
from torch import Tensor

from editkit import graphs
from editkit.device import resolve_device
from editkit.networks.discriminator import Discriminator
from editkit.networks.stylegan3 import StyleGAN3Generator
from editkit.ops.backends import use_backend
from editkit.ops.filtered_lrelu import filtered_lrelu


def network(kind: str, resolution: int, device: torch.device, *, smoke: bool) -> StyleGAN3Generator:
    """Random weights in the official widths; half precision where the published networks have it."""
    torch.manual_seed(0)
    made = StyleGAN3Generator(**arguments_of(kind, resolution, smoke=smoke))
    made = made.eval().requires_grad_(False).to(device)
    return made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def arguments_of(kind: str, resolution: int, *, smoke: bool) -> dict[str, Any]:
    """Constructor arguments of ``network``."""
    wide = {"channel_base": 65536, "channel_max": 1024} if kind == "R" else {}
    if smoke:
        wide = {"channel_base": 256, "channel_max": 8, "num_layers": 4, "margin_size": 4}
    radial = {"conv_kernel": 1, "use_radial_filters": True} if kind == "R" else {}
    return {"z_dim": 512, "c_dim": 0, "w_dim": 512, "img_resolution": resolution, **wide, **radial}


def layer_rows(results: Results, clock: Clock, rates: Row, *, kind: str, resolution: int, batch: int) -> None:
    """filtered_lrelu of each different layer in the dtype it has in the network."""
    model = network(kind, resolution, clock.device, smoke=clock.smoke)
    for layer in model.synthesis.layers()[:-1]:
        g = layer.geometry
        half = g.use_fp16 and clock.device.type == "cuda"
        for backward in (False, True):
            key = f"filtered_lrelu {kind}{resolution} {g.name} batch {batch} {'fwd+bwd' if backward else 'fwd'}"

            def work(layer=layer, half=half, backward=backward) -> Row:
                size = layer.geometry.in_size + layer.conv_kernel - 1
                x = torch.randn(batch, layer.geometry.out_channels, size, size, device=clock.device)
                x = (x.half() if half else x).contiguous(memory_format=torch.channels_last).requires_grad_(backward)
                options: dict[str, Any] = {"up": layer.up_factor, "down": layer.down_factor, "padding": layer.padding}

                def run() -> object:
                    y = filtered_lrelu(x, layer.up_filter, layer.down_filter, layer.bias, clamp=256, **options)
                    return torch.autograd.grad(y, x, y.detach()) if backward else y

                moved, flops = layer_work(layer, batch, element=2 if half else 4, backward=backward)
                floor = max(moved / rates["bytes_per_s"], flops / rates["fp32_flops"]) * 1e3
                row = clock.both(run)
                if row["triton"]["ms"] is None:
                    return row
                return row | {
                    "floor_ms": floor,
                    "of_floor": floor / row["triton"]["ms"],
                    "bytes": moved,
                    "flops": flops,
                }

            show(key, results.run(key, work))


def generator_rows(results: Results, clock: Clock, *, kind: str, resolution: int, batch: int) -> None:
    """The synthesis network as it is used, and replayed as a CUDA graph."""
    prefix = f"generator {kind}{resolution} batch {batch}"
    keys = [f"{prefix} {name}" for name in ("fwd", "fwd+bwd", "fwd graph", "fwd+bwd graph")]
    if all(key in results.rows and "error" not in results.rows[key] for key in keys):
        return
    model = network(kind, resolution, clock.device, smoke=clock.smoke)
    ws = torch.randn(batch, model.num_ws, model.synthesis.w_dim, device=clock.device)
    leaf = ws.clone().requires_grad_()

    def forward() -> Tensor:
        with torch.no_grad():
            return model.synthesis(ws)

    def backward() -> object:
        return torch.autograd.grad(model.synthesis(leaf).square().sum(), leaf)

    show(keys[0], results.run(keys[0], lambda: clock.both(forward)))
    show(keys[1], results.run(keys[1], lambda: clock.both(backward)))

    def graphed(differentiable: bool) -> Row:
        with use_backend("triton"):
            if differentiable:
                replayed = graphs.differentiable(model.synthesis, leaf)
                return {"triton": clock.median(lambda: torch.autograd.grad(replayed(leaf).square().sum(), leaf))}
            recorded = graphs.inference(model.synthesis, ws)
            return {"triton": clock.median(lambda: recorded(ws))}

    if batch == 1:  # larger batches hide the launches
        show(keys[2], results.run(keys[2], lambda: graphed(False)))
        show(keys[3], results.run(keys[3], lambda: graphed(True)))


def training_row(results: Results, clock: Clock, *, resolution: int, batch: int) -> None:
    """One step of T: generator, discriminator and R1 (the double backward), Adam on both."""
    key = f"training step T{resolution} batch {batch} with R1"

    def work() -> Row:
        G = network("T", resolution, clock.device, smoke=clock.smoke).requires_grad_(True).train()
        narrow = {"channel_base": 256, "channel_max": 8} if clock.smoke else {}
        D = Discriminator(img_resolution=resolution, **narrow).to(clock.device)
        optimizers = [torch.optim.Adam(m.parameters(), lr=2e-3, betas=(0.0, 0.99)) for m in (G, D)]
        real = torch.rand(batch, 3, resolution, resolution, device=clock.device) * 2 - 1

        def run() -> None:
            z = torch.randn(batch, G.z_dim, device=clock.device)
            fake = G(z, update_emas=True)
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            torch.nn.functional.softplus(-D(fake)).mean().backward()
            optimizers[0].step()
            optimizers[1].zero_grad(set_to_none=True)
            image = real.clone().requires_grad_()
            logits = D(image)
            (gradient,) = torch.autograd.grad(logits.sum(), image, create_graph=True)
            penalty = gradient.square().sum([1, 2, 3]).mean()
            loss = torch.nn.functional.softplus(D(fake.detach())) + torch.nn.functional.softplus(-logits)
            (loss.mean() + penalty).backward()
            optimizers[1].step()

        return clock.both(run)

    show(key, results.run(key, work))


def projection_row(results: Results, clock: Clock, *, resolution: int, steps: int) -> None:
    """The whole search in W+ for one picture, with the bundled distance's network (random weights, the same work)."""
    from editkit.generator import GeneratorSpec, NetworkGenerator
    from editkit.networks.features import FeatureNetwork
    from editkit.perceptual import Bundled
    from projector.optimise import Optimise, search

    key = f"projection T{resolution} {steps} steps"

    def work() -> Row:
        model = network("T", resolution, clock.device, smoke=clock.smoke)
        spec = GeneratorSpec(
            id="0" * 64, name="random", kind="stylegan3", resolution=resolution, channels=3, z_dim=512, w_dim=512,
            num_ws=model.num_ws, c_dim=0,
        )  # fmt: skip
        G = NetworkGenerator(model, spec, arguments_of("T", resolution, smoke=clock.smoke))
        perceptual = Bundled.of(FeatureNetwork().to(clock.device).eval().requires_grad_(False))
        target = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1)).to(clock.device) * 2 - 1
        target = torch.nn.functional.interpolate(target, resolution, mode="bicubic")
        row: Row = {}
        for backend in BACKENDS:
            with use_backend(backend):
                search(G, target, Optimise(steps=1, patience=0), perceptual=perceptual)  # compiles
                started = time.perf_counter()
                found = search(G, target, Optimise(steps=steps, patience=0), perceptual=perceptual)
                row[backend] = {"ms": (time.perf_counter() - started) * 1e3, "steps": len(found.history)}
        return row | {"speedup": row["polyphase"]["ms"] / row["triton"]["ms"]}

    show(key, results.run(key, work))


def show(key: str, row: Row) -> None:
    """One line a row."""
    if "error" in row:
        print(f"{key:58} FAILED {row['error']}", flush=True)
        return
    cells = [f"{milliseconds(row, b):>9} ms" if b in row else f"{'':12}" for b in BACKENDS]
    cells.append(f"{row['speedup']:6.1f}x" if "speedup" in row else f"{'':7}")
    cells.append(f"{100 * row['of_floor']:4.0f} % of the floor" if "of_floor" in row else "")
    print(f"{key:58} {' '.join(cells)}{' (stored)' if row.get('stored') else ''}", flush=True)


def milliseconds(row: Row, backend: str) -> str:
    """The time of a backend, or that the memory of the card did not do."""
    ms = row.get(backend, {}).get("ms", "")
    return "no memory" if ms is None else f"{ms:.2f}" if ms else ""


def markdown(results: Results) -> str:
    """The table for docs/benchmarks.md."""
    lines = [f"{results.machine}", "", "| | plain torch, ms | Triton, ms | times faster | of the floor | GiB |"]
    lines.append("|---|---|---|---|---|---|")
    for key, row in results.rows.items():
        if "triton" not in row:
            continue
        plain, ours = milliseconds(row, "polyphase"), milliseconds(row, "triton")
        speedup = f"{row['speedup']:.1f}" if "speedup" in row else ""
        floor = f"{100 * row['of_floor']:.0f} %" if "of_floor" in row else ""
        lines.append(f"| {key} | {plain} | {ours} | {speedup} | {floor} | {row['triton'].get('GiB', '')} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Prints the plan and a line a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu_speed"), help="folder of the results (gpu_speed)")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 and so on; cpu with --smoke only (cuda)")
    parser.add_argument("--smoke", action="store_true", help="tiny networks, each row once")
    parser.add_argument("--seconds", type=float, default=1.0, help="of repetitions a row (1)")
    options = parser.parse_args()
    device = resolve_device(options.device)
    if device.type != "cuda" and not options.smoke:
        parser.error("figures are for CUDA devices; --smoke runs elsewhere")
    clock, about = Clock(device, smoke=options.smoke, seconds=options.seconds), machine(device)
    results = Results(options.out, "gpu_speed", about)
    print(f"{about}; results in {results.path}")
    print("plan: ceilings, training step, T256 and R256 whole, their filtered_lrelu, projection, T1024 and R1024")
    rates = results.run("ceilings", lambda: ceilings(clock))
    if "error" in rates:
        print(f"ceilings: {rates['error']}")
        return 1
    print(f"copy {rates['bytes_per_s'] / 1e12:.2f} TB/s, float32 {rates['fp32_flops'] / 1e12:.1f} TFLOP/s")
    sizes, batches = ((16,), (1, 2)) if options.smoke else ((256, 1024), (1, 16))
    training_row(results, clock, resolution=16 if options.smoke else 128, batch=4 if options.smoke else 16)
    for resolution in sizes:
        for kind in ("T", "R"):
            for batch in batches:
                generator_rows(results, clock, kind=kind, resolution=resolution, batch=batch)
        if resolution == sizes[0]:
            layer_rows(results, clock, rates, kind="T", resolution=sizes[0], batch=batches[-1])
            projection_row(results, clock, resolution=sizes[0], steps=2 if options.smoke else 500)
            layer_rows(results, clock, rates, kind="R", resolution=sizes[0], batch=batches[-1])
    (options.out / "speed.md").write_text(markdown(results))
    failed = [key for key, row in results.rows.items() if "error" in row]
    print(f"{len(results.rows) - len(failed)} rows; failed: {', '.join(failed) or 'none'}")
    print(f"table in {options.out / 'speed.md'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

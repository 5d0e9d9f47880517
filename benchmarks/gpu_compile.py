"""Compiles the GPU kernels beforehand, with or without a GPU: ``python benchmarks/gpu_compile.py [--out CACHE]``.

Runs the checks, the timed networks and a training step on tensors that have no memory, notes every kernel that they
would launch, and compiles those in ``--jobs`` processes into Triton's own cache, or into a folder that
``TRITON_CACHE_DIR`` then names, also on another machine: Triton finds them there if its version, Python's and the
folder's path are the same. Needs torch, numpy and Triton, and this checkout.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # an uninstalled checkout works

import torch
from torch import Tensor, nn

WHAT = ("starter", "check", "step", "networks")
Launch = tuple[Any, tuple[Any, ...], dict[str, Any]]


class _Target:
    """As much of Triton's driver as choosing and compiling a kernel asks for."""

    utils = launcher_cls = None

    def __init__(self, capability: int) -> None:
        from triton.backends.compiler import GPUTarget

        self.target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> Any:
        return self.target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int = 0) -> int:
        return 0

    def map_python_to_cpp_type(self, name: str) -> str:
        return name


def pretend(capability: int, processors: int) -> tuple[dict[object, Launch], Callable[..., Any]]:
    """Tensors without memory count as those of a GPU; kernels are noted instead of launched.

    Returns the notes and Triton's own way to run a kernel.
    """
    from triton.runtime import driver
    from triton.runtime.jit import JITFunction

    from editkit.ops import triton_backend, triton_bias_act, triton_filtered_lrelu, triton_upfirdn2d
    from editkit.ops.backends import current_backend

    driver.set_active(_Target(capability))
    found: dict[object, Launch] = {}
    original = JITFunction.run

    def note(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> None:
        options.setdefault("debug", False)
        binder = self.device_caches[0][4]
        _, specialization, chosen = binder(*args, **options)
        found.setdefault((self.__name__, str(specialization), str(chosen)), (self, args, options))

    JITFunction.run = note

    def wanted(x: Tensor) -> bool:
        return current_backend() in ("auto", "triton") and x.dtype in triton_backend.DTYPES and x.numel() > 0

    patches = {
        "processors": lambda x: processors,
        "on_device_of": lambda x: nullcontext(),
        "interpreted": lambda: False,
        "wanted": wanted,
    }
    for module in (triton_backend, triton_bias_act, triton_filtered_lrelu, triton_upfirdn2d):
        for name, patch in patches.items():
            if hasattr(module, name):
                setattr(module, name, patch)
    for name in ("stylegan3_layers", "discriminator"):  # half precision is for GPUs only
        module = importlib.import_module(f"editkit.networks.{name}")
        source = inspect.getsource(module).replace('device.type == "cuda"', 'device.type == "meta"')
        exec(compile(source, str(module.__file__), "exec"), module.__dict__)
    importlib.reload(importlib.import_module("editkit.networks.stylegan3"))
    return found, original


def bodiless(module: Any) -> Any:
    """The network without memory but for its filters, whose values are arguments of kernels."""
    for part in module.modules():
        for name, parameter in list(part._parameters.items()):
            if parameter is not None:
                empty = nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=parameter.requires_grad)
                part._parameters[name] = empty
        for name, buffer in list(part._buffers.items()):
            if buffer is not None and "filter" not in name:
                part._buffers[name] = torch.empty_like(buffer, device="meta")
    return module


def play(G: Any, D: Any, batch: int, resolution: int) -> None:
    """What a step of training launches."""
    from train.losses import gradient_penalty

    fake = G.synthesis(torch.empty(batch, G.num_ws, G.synthesis.w_dim, device="meta"), update_emas=True)
    D(fake).sum().backward()
    real = torch.empty(batch, 3, resolution, resolution, device="meta").contiguous(memory_format=torch.channels_last)
    for picture in (real, fake.detach()):
        penalty, logits = gradient_penalty(D, picture)
        (penalty + logits.sum()).backward()
    D.requires_grad_(False)
    D(G.synthesis(torch.empty(batch, G.num_ws, G.synthesis.w_dim, device="meta"))).sum().backward()


def starter() -> None:
    """``editkit train starter --size wide``, its samples for fd_faces, and the discriminator exported beside it; the
    one that it trains with runs on torch's kernels."""
    from editkit.networks.discriminator import Discriminator
    from editkit.networks.stylegan3 import StyleGAN3Generator
    from train.plain_discriminator import discriminator_arguments
    from train.starter_config import wide_config

    c = wide_config()
    G = bodiless(StyleGAN3Generator(**c.generator).to(memory_format=torch.channels_last))
    D = Discriminator(**discriminator_arguments(c.generator)).to(memory_format=torch.channels_last)
    play(G, bodiless(D), c.batch, c.generator["img_resolution"])
    for count in (64, 42):
        with torch.no_grad():
            G.synthesis(torch.empty(count, G.num_ws, G.synthesis.w_dim, device="meta"))


def check() -> None:
    """``gpu_check.py``."""
    import gpu_check

    from editkit.ops.backends import use_backend

    cpu = torch.device("cpu")
    cases = gpu_check.all_cases(cpu)
    for (_, operation, shape, biases), dtype, order in gpu_check.plan_of(
        cases, tuple(gpu_check.DTYPES), gpu_check.ORDERS
    ):
        layout = torch.channels_last if order == "last" else torch.contiguous_format

        def empty(shape: tuple[int, ...], dtype: str = dtype, layout: Any = layout) -> Tensor:
            made = torch.empty(shape, device="meta", dtype=gpu_check.DTYPES[dtype])
            return made.contiguous(memory_format=layout) if made.ndim == 4 else made

        x, b = empty(shape), None if biases is None else empty((biases,))
        with use_backend("triton"):
            with torch.no_grad():
                out = tuple(operation(x, b).shape)
            gpu_check.everything(operation, x, b, empty(out), empty(shape))


def step() -> None:
    """The training step of ``gpu_speed.py``."""
    from gpu_speed import network

    from editkit.networks.discriminator import Discriminator

    G = bodiless(network("T", 128, torch.device("cpu"), smoke=False)).requires_grad_(True)
    play(G, bodiless(Discriminator(img_resolution=128)), 16, 128)


def networks() -> None:
    """The generators of ``gpu_speed.py``."""
    from gpu_speed import network

    for kind in ("T", "R"):
        for resolution in (256, 1024):
            G = bodiless(network(kind, resolution, torch.device("cpu"), smoke=False))
            for batch in (1, 16):
                ws = torch.empty(batch, G.num_ws, G.synthesis.w_dim, device="meta")
                with torch.no_grad():
                    G.synthesis(ws)
                leaf = ws.clone().requires_grad_()
                torch.autograd.grad(G.synthesis(leaf).square().sum(), leaf)


_LAUNCHES: list[tuple[Any, ...]] = []  # where forked processes find them


def _compiled(index: int) -> tuple[str, float, str]:
    run, kernel, args, options = _LAUNCHES[index]
    started = time.perf_counter()
    try:
        run(kernel, *args, grid=(1,), warmup=True, **options)
    except Exception as error:  # one kernel that fails must not take the others with it; the exit code tells
        return kernel.__name__, time.perf_counter() - started, f"FAILED {type(error).__name__}: {error}"
    return kernel.__name__, time.perf_counter() - started, ""


def of_this_machine() -> tuple[int, int]:
    """Capability times ten and multiprocessors of the first GPU, else those of an H200."""
    if not torch.cuda.is_available():
        return 90, 132
    about = torch.cuda.get_device_properties(0)
    return 10 * about.major + about.minor, about.multi_processor_count


def main() -> int:
    """Prints a line a kernel."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, metavar="DIR", help="the cache (Triton's own)")
    parser.add_argument("--what", nargs="+", choices=WHAT, default=list(WHAT), help="(all)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (one a core)")
    parser.add_argument("--capability", type=int, help="of the GPU, times ten (this machine's, else 90: H100, H200)")
    parser.add_argument("--processors", type=int, help="multiprocessors of the GPU (this machine's, else 132)")
    parser.add_argument("--list", action="store_true", help="compile nothing")
    options = parser.parse_args()
    if options.out is not None:
        os.environ["TRITON_CACHE_DIR"] = str(options.out.absolute())
    here = multiprocessing.get_context("spawn").Pool(1)  # asking starts CUDA, which forked processes cannot share
    with here:
        capability, processors = here.apply(of_this_machine)
    found, original = pretend(options.capability or capability, options.processors or processors)
    for what in options.what:
        globals()[what]()
    print(f"{len(found)} kernels", flush=True)
    if options.list:
        return 0
    _LAUNCHES.extend((original, *launch) for launch in found.values())
    failed = 0
    with multiprocessing.get_context("fork").Pool(options.jobs) as pool:
        for done, (name, seconds, error) in enumerate(pool.imap_unordered(_compiled, range(len(_LAUNCHES))), 1):
            failed += bool(error)
            print(f"{done:4} of {len(_LAUNCHES)}  {name:28} {seconds:6.1f} s  {error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

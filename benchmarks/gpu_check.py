"""Checks the GPU kernels of every operation against float64: ``python benchmarks/gpu_check.py --out DIR``.

Forward, gradients and double backward, on the layer shapes of the standard networks and the cases of the fixtures, in
float32, float16 and bfloat16; fresh random inputs, output memory full of NaN before each run. Ends with 1 if anything
is off. Finished rows found in --out are not run again. Needs torch, numpy and Triton, and this checkout. Kernels are
compiled one by one as they are met; ``gpu_compile.py --what check`` does it beforehand, side by side.
Without a GPU: ``--device cpu --interpret`` runs the kernels in Triton's interpreter; ``--smoke`` takes a few shapes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # an uninstalled checkout works

import numpy as np
import torch
from gpu_results import Results, Row, machine
from torch import Tensor

from editkit.device import resolve_device
from editkit.ops import triton_backend
from editkit.ops.backends import use_backend
from editkit.ops.bias_act import bias_act
from editkit.ops.filtered_lrelu import filtered_lrelu
from editkit.ops.filters import design_lowpass_filter, setup_filter
from editkit.ops.upfirdn2d import upfirdn2d

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
# ||found - wanted|| / ||wanted||; a gradient may lose single elements to the other side of a kink
TOLERANCES = {"fp32": 2e-5, "fp16": 2e-3, "bf16": 1.5e-2}
ORDERS = ("last", "first")  # where channels lie in memory
FIXTURES = Path(__file__).resolve().parents[1] / "tests" / "fixtures"

Operation = Callable[[Tensor, Tensor | None], Tensor]
Case = tuple[str, Operation, tuple[int, ...], int | None]  # name, operation of (x, b), shape of x, biases


def on(device: torch.device, f: Tensor | None) -> Tensor | None:
    """A filter as a buffer of a network on ``device`` is."""
    return None if f is None else f.to(device)


def layer_cases(device: torch.device, *, channels: int, batch: int, largest: int) -> Iterator[Case]:
    """Every different geometry of filtered_lrelu in the six standard networks, with the widths cut to ``channels``."""
    seen = set()
    tables = json.loads((FIXTURES / "networks" / "sg3_layer_tables.json").read_text())
    for network, table in tables.items():
        for g in table["layers"]:
            size = g["in_size"][0] + g["conv_kernel"] - 1
            key = (size, g["up_factor"], g["down_factor"], *g["padding"], g["down_radial"], g["is_torgb"])
            if key in seen or g["out_size"][0] > largest:
                continue
            seen.add(key)
            rate = g["tmp_sampling_rate"]
            fu = design_lowpass_filter(g["up_taps"], g["in_cutoff"], g["in_half_width"] * 2, rate)
            fd = design_lowpass_filter(
                g["down_taps"], g["out_cutoff"], g["out_half_width"] * 2, rate, radial=g["down_radial"]
            )
            fu, fd = on(device, fu), on(device, fd)

            def operation(x: Tensor, b: Tensor | None, g=g, fu=fu, fd=fd) -> Tensor:
                return filtered_lrelu(
                    x, fu, fd, b, up=g["up_factor"], down=g["down_factor"], padding=g["padding"], clamp=1.0
                )

            width = min(channels, g["out_channels"])
            yield f"filtered_lrelu {network} {g['name']}", operation, (batch, width, size, size), width


def fixture_cases(device: torch.device) -> Iterator[Case]:
    """The arguments and filters of the fixtures of filtered_lrelu and upfirdn2d."""
    for op, function in (("filtered_lrelu", filtered_lrelu), ("upfirdn2d", upfirdn2d)):
        with np.load(FIXTURES / "ops" / f"{op}.npz") as arrays:
            for facts in json.loads((FIXTURES / "ops" / f"{op}.json").read_text()):
                if facts.get("func", op) != op:
                    continue
                filters = {
                    name: on(device, torch.from_numpy(arrays[f"{facts['id']}_{name}"])) if facts.get(name) else None
                    for name in (("fu", "fd") if op == "filtered_lrelu" else ("f",))
                }

                def operation(x: Tensor, b: Tensor | None, facts=facts, filters=filters, function=function) -> Tensor:
                    bias = {} if b is None else {"b": b}
                    return function(x, **filters, **bias, **facts["kwargs"])

                shape = arrays[f"{facts['id']}_x"].shape
                yield f"{op} {facts['id']}", operation, shape, shape[1] if facts.get("b") else None


def other_cases(device: torch.device, *, size: int, channels: int) -> Iterator[Case]:
    """What discriminators and augmentation use: short and long filters, and the activations."""
    short, long = (
        setup_filter([1, 3, 3, 1]).to(device),
        setup_filter(list(range(1, 7)) + list(range(6, 0, -1))).to(device),
    )
    x = (2, channels, size, size + 3)
    for name, options in (
        ("down", {"down": 2, "padding": 1}),
        ("same", {"padding": 2}),
        ("up", {"up": 2, "padding": 2, "gain": 4}),
    ):
        yield f"upfirdn2d short {name}", lambda x, b, o=options: upfirdn2d(x, short, **o), x, None
        yield f"upfirdn2d long {name}", lambda x, b, o=options: upfirdn2d(x, long, **(o | {"padding": 6})), x, None
    for act in ("linear", "relu", "lrelu"):
        for clamp in (None, 0.75):
            yield (
                f"bias_act {act} clamp {clamp}",
                lambda x, b, a=act, c=clamp: bias_act(x, b, act=a, clamp=c),
                x,
                channels,
            )


def smoke_cases(device: torch.device) -> Iterator[Case]:
    """Each operation once, small."""
    f = setup_filter([1, 3, 3, 1], separable=True).to(device)
    options = {"up": 2, "down": 2, "padding": 3, "clamp": 1.0}
    yield "filtered_lrelu small", lambda x, b: filtered_lrelu(x, f, f, b, **options), (1, 3, 5, 4), 3
    yield "upfirdn2d small", lambda x, b: upfirdn2d(x, f, up=2, padding=2), (1, 3, 5, 4), None
    yield "bias_act small", lambda x, b: bias_act(x, b, act="lrelu", clamp=1.0), (1, 3, 5, 4), 3


def all_cases(device: torch.device) -> list[Case]:
    """Everything that is checked."""
    return [
        *layer_cases(device, channels=64, batch=2, largest=300),
        *(c for c in layer_cases(device, channels=8, batch=1, largest=2000) if c[2][-1] > 300),
        *fixture_cases(device),
        *other_cases(device, size=61, channels=5),
    ]


def plan_of(cases: list[Case], dtypes: tuple[str, ...], orders: tuple[str, ...]) -> list[tuple[Case, str, str]]:
    """The rows; channels come first in memory in float32 only."""
    return [(c, d, o) for d in dtypes for c in cases for o in orders if o == "last" or d == "fp32"]


def everything(operation: Operation, x: Tensor, b: Tensor | None, r: Tensor, r2: Tensor) -> dict[str, Tensor]:
    """Forward, backward to x and b, double backward."""
    x, r = x.detach().requires_grad_(), r.detach().requires_grad_()
    b = None if b is None else b.detach().requires_grad_()
    found = {"forward": operation(x, b)}
    gradients = torch.autograd.grad((found["forward"] * r).sum(), [x] if b is None else [x, b], create_graph=True)
    found |= dict(zip(("grad x", "grad b"), gradients, strict=False))
    (found["double"],) = torch.autograd.grad((gradients[0] * r2).sum(), r)
    return found


def check(case: Case, dtype: str, order: str, device: torch.device, seed: int) -> Row:
    """Relative errors of one case; ``ok`` if all are within the tolerance and the kernels ran."""
    _, operation, shape, biases = case
    draw = torch.Generator().manual_seed(seed)
    layout = torch.channels_last if order == "last" else torch.contiguous_format

    def random(shape: tuple[int, ...]) -> Tensor:
        made = torch.randn(shape, generator=draw).to(device=device, dtype=DTYPES[dtype])
        return made.contiguous(memory_format=layout) if made.ndim == 4 else made

    x, b = random(shape), None if biases is None else random((biases,))
    with use_backend("polyphase"):
        with torch.no_grad():
            out = operation(x.double(), None if b is None else b.double()).shape
        r, r2 = random(tuple(out)), random(shape)
        wanted = everything(operation, x.double(), None if b is None else b.double(), r.double(), r2.double())
    torch.use_deterministic_algorithms(True, warn_only=True)  # fills memory that torch.empty gives with NaN
    torch.utils.deterministic.fill_uninitialized_memory = True
    try:
        with use_backend("triton"):
            found = everything(operation, x, b, r, r2)
    finally:
        torch.use_deterministic_algorithms(False)
    errors = {}
    for name, value in found.items():
        if not bool(torch.isfinite(value).all()) or value.shape != wanted[name].shape:
            errors[name] = float("inf")
        else:
            scale = float(wanted[name].detach().norm()) or 1.0
            errors[name] = float((value.detach().double() - wanted[name].detach()).norm()) / scale
    return {"ok": all(error <= TOLERANCES[dtype] for error in errors.values()), "errors": errors}


def main() -> int:
    """Prints the plan, a row a case, and a summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu_check"), help="folder of the results (gpu_check)")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 and so on; cpu needs --interpret (cuda)")
    parser.add_argument("--interpret", action="store_true", help="run the kernels in Triton's interpreter, on the CPU")
    parser.add_argument("--smoke", action="store_true", help="a few tiny shapes")
    parser.add_argument("--dtypes", nargs="+", choices=tuple(DTYPES), default=list(DTYPES), help="which (all three)")
    parser.add_argument(
        "--orders", nargs="+", choices=ORDERS, default=list(ORDERS),
        help="where channels lie in memory (both; first is checked in fp32 only)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of the inputs (0)")
    options = parser.parse_args()
    if options.interpret:
        os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported
    device = resolve_device(options.device)
    if (device.type == "cpu") != options.interpret or device.type == "mps":
        parser.error("kernels run on cuda, or on cpu with --interpret")
    if not triton_backend.available():
        parser.error("Triton is not installed: there are no kernels to check")
    if options.smoke:
        cases = [*smoke_cases(device)]
        dtypes, orders = ("fp32", "fp16"), ("last",)
    else:
        cases = all_cases(device)
        dtypes, orders = tuple(options.dtypes), tuple(options.orders)
    plan = plan_of(cases, dtypes, orders)
    about = machine(device)
    results = Results(options.out, "gpu_check", about)
    print(f"{len(plan)} rows: {len(cases)} cases, {', '.join(dtypes)}; {about}; results in {results.path}")
    print(f"{'case':44} {'dtype':5} {'order':5} {'forward':>9} {'grad x':>9} {'grad b':>9} {'double':>9}")
    failed = 0
    for case, dtype, order in plan:
        row = results.run(
            f"{case[0]} {dtype} {order}", lambda c=case, d=dtype, o=order: check(c, d, o, device, options.seed)
        )
        errors = row.get("errors", {})
        cells = " ".join(
            f"{errors[k]:9.1e}" if k in errors else f"{'':9}" for k in ("forward", "grad x", "grad b", "double")
        )
        verdict = "" if row.get("ok") else "  FAILED " + row.get("error", "")
        failed += bool(verdict)
        print(f"{case[0]:44} {dtype:5} {order:5} {cells}{verdict}", flush=True)
    print(f"{len(plan) - failed} of {len(plan)} rows within {TOLERANCES}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

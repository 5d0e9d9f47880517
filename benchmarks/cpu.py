"""How fast StyleGAN3 is on this processor: ``python benchmarks/cpu.py [--smoke] [--help]``.

Every backend runs in one process in turn with the frozen zero-insertion path of ``baseline.py``, so that a busy machine
slows all of them alike; figures are CPU-seconds (user and system, of all threads), the least of the rounds. Read the
ratios, not the seconds. Peak memory is that of a fresh process which does one pass; errors are against float64.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # an uninstalled checkout works

import torch
from torch import Tensor

from benchmarks import baseline
from editkit.networks.stylegan3 import StyleGAN3Generator
from editkit.ops.backends import precision, use_backend

BEGIN, END = "<!-- table -->", "<!-- end of table -->"
BACKENDS = ("baseline", "polyphase", "exact", "fast")
WIDTHS = {"T": (32768, 512), "R": (65536, 1024)}
CASES = ("T-256-1-forward", "T-256-1-backward", "R-256-1-forward", "T-1024-1-forward")
SMOKE = ("T-32-2-forward", "R-32-1-backward")
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A network, its resolution and batch, and whether the gradient along ws is taken too."""

    network: str
    resolution: int
    batch: int
    backward: bool

    @classmethod
    def parse(cls, text: str) -> Case:
        """``T-256-1-forward`` and the like; ``backward`` means forward and backward."""
        network, resolution, batch, direction = text.split("-")
        if network not in WIDTHS or direction not in ("forward", "backward"):
            raise argparse.ArgumentTypeError(f"a case is T or R, resolution, batch, forward or backward, got {text!r}")
        return cls(network=network, resolution=int(resolution), batch=int(batch), backward=direction == "backward")

    def __str__(self) -> str:
        direction = "backward" if self.backward else "forward"
        return f"{self.network}-{self.resolution}-{self.batch}-{direction}"

    def model(self) -> StyleGAN3Generator:
        """Random weights at the official widths; a sixteenth of them below 64 px, where the table is only a check."""
        torch.manual_seed(0)
        base, most = WIDTHS[self.network]
        small = self.resolution < 64
        radial = {"conv_kernel": 1, "use_radial_filters": True} if self.network == "R" else {}
        made = StyleGAN3Generator(
            z_dim=64 if small else 512,
            c_dim=0,
            w_dim=64 if small else 512,
            img_resolution=self.resolution,
            channel_base=base // 16 if small else base,
            channel_max=most // 16 if small else most,
            **radial,
        )
        return made.eval().requires_grad_(False)

    def operations(self, model: StyleGAN3Generator) -> float:
        """Floating-point operations of the convolutions, done directly, at the sizes of the definition."""
        total = 0.0
        for layer in model.synthesis.layers():
            g, k = layer.geometry, layer.conv_kernel
            total += 2 * k * k * g.in_channels * g.out_channels * (g.in_size + k - 1) ** 2
        return total * self.batch * (2 if self.backward else 1)


def runner(case: Case, model: StyleGAN3Generator, backend: str) -> Callable[[], list[Tensor]]:
    """One pass: the image, and the gradient of its energy along ws where that is asked for."""
    ws = torch.randn(case.batch, model.num_ws, model.synthesis.w_dim, generator=torch.Generator().manual_seed(1))
    ws = ws.to(next(model.parameters()).dtype).requires_grad_(case.backward)

    def run() -> list[Tensor]:
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.set_grad_enabled(case.backward))
            if backend in ("exact", "fast"):
                stack.enter_context(use_backend("cpu"))
                stack.enter_context(precision(backend))
            elif backend != "baseline":
                stack.enter_context(use_backend(backend))
            image = baseline.synthesis(model.synthesis, ws) if backend == "baseline" else model.synthesis(ws)
            if not case.backward:
                return [image]
            return [image.detach(), *torch.autograd.grad(image.square().sum(), ws)]

    return run


def cpu_seconds(run: Callable[[], object]) -> float:
    """CPU time of this process, in seconds, that one call takes."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    run()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def product_rate() -> float:
    """GF per CPU-second of a float32 matrix product of 1024, on one thread: what the processor can do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    a, b, c = torch.randn(1024, 1024), torch.randn(1024, 1024), torch.empty(1024, 1024)
    seconds = min(cpu_seconds(lambda: [torch.mm(a, b, out=c) for _ in range(4)]) for _ in range(4))
    torch.set_num_threads(threads)
    return 4 * 2 * 1024**3 / seconds / 1e9


def peak(case: Case, backend: str, threads: int) -> float:
    """MB at most of a fresh process that makes the network and does one pass."""
    command = [sys.executable, __file__, "--one", str(case), backend, "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])["peak"])


def one(case: Case, backend: str) -> None:
    """What ``peak`` starts."""
    seconds = cpu_seconds(runner(case, case.model(), backend))
    print(json.dumps({"peak": high_water(), "seconds": seconds}))


def high_water() -> float:
    """MB that this process has had at most; getrusage would count the parent's too."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1e3
    except (OSError, StopIteration):
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used / (1e6 if sys.platform == "darwin" else 1e3)


def relative(found: Tensor, wanted: Tensor) -> float:
    """Largest error, relative to the range of what is wanted."""
    return float((found.double() - wanted).abs().max() / (wanted.max() - wanted.min()))


def measure(
    case: Case, backends: list[str], *, rounds: int, threads: int, with_error: bool, with_memory: bool
) -> list[dict[str, str]]:
    """A row of the table a backend."""
    model = case.model()
    runs = {name: runner(case, model, name) for name in backends}
    rates, best, results = [product_rate()], dict.fromkeys(backends, float("inf")), {}
    for name in backends:  # what is compiled or kept at first does not count
        if name != "baseline":
            results[name] = runs[name]()
    for _ in range(rounds):
        for name in backends:
            best[name] = min(best[name], cpu_seconds(lambda name=name: results.update({name: runs[name]()})))
        rates.append(product_rate())
    operations, rate = case.operations(model) / 1e9, max(rates)
    wanted = runner(case, model.double(), "polyphase")() if with_error else None
    memory = {name: peak(case, name, threads) for name in backends} if with_memory else {}
    rows = []
    for name in backends:
        speed, gradient = operations / best[name], "–"
        if wanted is not None and case.backward:
            a, b = results[name][1].double().flatten(), wanted[1].flatten()
            gradient = f"{1 - float(torch.nn.functional.cosine_similarity(a, b, dim=0)):.1e}"
        rows.append(
            {
                "network": case.network,
                "resolution": str(case.resolution),
                "batch": str(case.batch),
                "pass": "forward + backward" if case.backward else "forward",
                "backend": name,
                "CPU-s": f"{best[name]:.3g}",
                "ratio": f"{best['baseline'] / best[name]:.1f}",
                "GF/CPU-s": f"{speed:.1f}",
                "of GEMM": f"{100 * speed / rate:.0f} %",
                "peak MB": f"{memory[name]:.0f}" if memory else "–",
                "of baseline": f"{100 * memory[name] / memory['baseline']:.0f} %" if memory else "–",
                "error": "–" if wanted is None else f"{relative(results[name][0], wanted[0]):.1e}",
                "1 - cosine": gradient,
            }
        )
    return rows


def processor() -> str:
    """The name of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def table(rows: list[dict[str, str]], rate: float, threads: int) -> str:
    """Markdown."""
    import numba

    head = list(rows[0])
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(row.values())} |" for row in rows]
    where = (
        f"{processor()}, {torch.backends.cpu.get_cpu_capability()}, {threads} threads, {platform.system()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}, numba {numba.__version__}; "
        f"matrix product of 1024: {rate:.1f} GF a CPU-second."
    )
    return "\n".join([where, "", *lines])


def write(text: str, path: Path) -> None:
    """Puts the table into a document, in place of the one between the marks."""
    before, after = "# Benchmarks\n\n", "\n"
    if path.exists() and BEGIN in (old := path.read_text()):
        before, after = old.partition(BEGIN)[0], old.partition(END)[2]
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def main() -> None:
    """Prints and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", help="such as T-256-1-forward or R-256-2-backward")
    parser.add_argument("--backends", nargs="+", choices=BACKENDS[1:], default=list(BACKENDS[1:]))
    parser.add_argument("--rounds", type=int, default=2, help="rounds, of which the least counts (2)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (2)")
    parser.add_argument("--no-error", action="store_true", help="leave out float64, which takes the longest")
    parser.add_argument("--no-memory", action="store_true", help="leave out peak memory, a fresh process a row")
    parser.add_argument(
        "--out", type=Path, help="a Markdown file that gets the table (docs/benchmarks.md; smoke: none)"
    )
    parser.add_argument("--smoke", action="store_true", help="tiny networks, one round: does it work at all")
    parser.add_argument("--one", nargs=2, metavar=("CASE", "BACKEND"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.one:
        one(Case.parse(options.one[0]), options.one[1])
        return
    rows: list[dict[str, str]] = []
    for text in options.cases or (SMOKE if options.smoke else CASES):
        rows += measure(
            Case.parse(text),
            ["baseline", *options.backends],
            rounds=1 if options.smoke else options.rounds,
            threads=options.threads,
            with_error=not options.no_error,
            with_memory=not options.no_memory,
        )
        print(
            "\n".join(
                " ".join(f"{key} {value}" for key, value in row.items()) for row in rows[-1 - len(options.backends) :]
            ),
            flush=True,
        )
    text = table(rows, product_rate(), options.threads)
    print(text)
    out = options.out or (None if options.smoke else ROOT / "docs" / "benchmarks.md")
    if out is not None:
        write(text, out)


if __name__ == "__main__":
    main()

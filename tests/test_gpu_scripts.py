"""The two scripts for a GPU, run in tiny form on the CPU, and the kernels compiled for a GPU that is not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from triton_interpreter import HAVE_TRITON

ROOT = Path(__file__).resolve().parents[1]
needs_triton = pytest.mark.skipif(not HAVE_TRITON, reason="Triton has no package for this system")

# safetensors and others are not on the machines that the scripts are for: importing them must fail
BLOCKER = """
import runpy, sys
for name in ("safetensors", "skimage", "tqdm", "numba", "torchvision", "lpips", "gradio", "face_alignment"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(script: str, *arguments: str, status: int = 0) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "benchmarks")}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, "-c", BLOCKER, str(ROOT / "benchmarks" / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=500)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


@needs_triton
def test_the_check_runs_resumes_and_sees_an_error(tmp_path: Path) -> None:
    arguments = ("--device", "cpu", "--interpret", "--smoke", "--out", str(tmp_path))
    assert "6 of 6 rows within" in run("gpu_check.py", *arguments)
    stored = json.loads((tmp_path / "gpu_check.json").read_text())
    assert len(stored["rows"]) == 6
    stored["rows"]["bias_act small fp32 last"] = {"ok": False, "errors": {"forward": 0.5}}
    del stored["rows"]["bias_act small fp16 last"]
    (tmp_path / "gpu_check.json").write_text(json.dumps(stored))
    again = run("gpu_check.py", *arguments, status=1)
    assert "5 of 6 rows within" in again and "5.0e-01" in again and again.count("FAILED") == 1


def test_the_check_needs_a_gpu_or_the_interpreter() -> None:
    run("gpu_check.py", "--device", "cpu", status=2)


def test_the_timing_runs_and_writes_a_table(tmp_path: Path) -> None:
    assert "failed: none" in run("gpu_speed.py", "--device", "cpu", "--smoke", "--out", str(tmp_path))
    table = (tmp_path / "speed.md").read_text()
    for row in (
        "filtered_lrelu T16",
        "filtered_lrelu R16",
        "projection T16",
        "training step T16",
        "generator R16 batch 2",
    ):
        assert row in table
    rows = json.loads((tmp_path / "gpu_speed.json").read_text())["rows"]
    assert all(row["bytes"] > 0 and row["flops"] > 0 for key, row in rows.items() if key.startswith("filtered_lrelu"))


COMPILE = """
import re, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from editkit.ops.triton_bias_act import bias_act_gradient_kernel, bias_act_kernel
from editkit.ops.triton_lrelu_kernel import filtered_lrelu_kernel
from editkit.ops.triton_upfirdn2d import upfirdn2d_kernel

def compile(kernel, types, **constants):
    names = kernel.arg_names
    signature = {n: "constexpr" if n in constants else types.get(n, "i32") for n in names}
    source = ASTSource(fn=kernel, signature=signature, constexprs={(names.index(k),): v for k, v in constants.items()})
    binary = triton.compile(source, target=GPUTarget("cuda", 90, 32))
    assert len(binary.asm["cubin"]) > 1000
    return binary.asm["ptx"]

for element in ("*fp16", "*bf16", "*fp32"):
    floats = {"low": "fp32", "high": "fp32", "clamp": "fp32", "x": element, "y": element, "gy": element}
    floats |= {"source": element, "gx": element}
    half = element != "*fp32"
    for mode, up_2d, down_2d in ((0, 0, 0), (1, 0, 1), (2, 1, 0), (2, 0, 0)) if element == "*fp16" else ((1, 0, 0),):
        taps = {"up_taps": ("fp32",) * 4 ** (1 + up_2d), "down_taps": ("fp32",) * 4 ** (1 + down_2d)}
        ptx = compile(
            filtered_lrelu_kernel, floats | {"bias": "*fp32", "mask": "*i16"} | taps,
            U=2, D=2, UP_TAPS=4, UP_TAPS_Y=4, DOWN_TAPS=4, DOWN_TAPS_Y=4,
            UP_2D=bool(up_2d), DOWN_2D=bool(down_2d), FOLD=bool(down_2d), PHASE_X=1, PHASE_Y=1,
            BIT_OFFSET=5 if mode == 2 else 0, MODE=mode, HAS_BIAS=mode != 2, HAS_CLAMP=mode != 2,
            CHANNELS_FAST=True, STRIP=8, BLOCK=128,
        )
        assert "fma.rn.f32" in ptx and ".shared" not in ptx  # registers only
    compile(upfirdn2d_kernel, floats | {"f": "*fp32"}, UX=2, UY=2, DX=1, DY=1, PHASES_X=2, PHASES_Y=2, TAPS_X=2,
            TAPS_Y=2, CHANNELS_FAST=True, BLOCK=256)
    compile(bias_act_kernel, floats | {"bias": "*fp32"}, HAS_BIAS=True, HAS_CLAMP=True, BLOCK=1024)
    compile(bias_act_gradient_kernel, floats | {"bias": "*fp32"}, HAS_BIAS=half, HAS_CLAMP=True, FROM_INPUT=half,
            BLOCK=1024)
print("compiled")
"""


@needs_triton
def test_the_kernels_compile_for_hopper(tmp_path: Path) -> None:
    """Down to machine code: the interpreter accepts what the compiler refuses."""
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    environment.pop("TRITON_INTERPRET", None)
    script = tmp_path / "compile_kernels.py"
    script.write_text(COMPILE)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, timeout=500)
    assert done.returncode == 0 and done.stdout == "compiled\n", done.stdout + done.stderr


@needs_triton
def test_kernels_of_a_training_step_are_listed_without_a_gpu(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "gpu_compile.py", "--out", tmp_path, "--what", "starter", "--list"],
        capture_output=True, text=True, env=environment, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0 and int(done.stdout.split()[0]) >= 10, done.stdout + done.stderr

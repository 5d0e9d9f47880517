"""``editkit export``: a generator as ONNX."""

from __future__ import annotations

import argparse
from pathlib import Path

from editkit.command import Output, add_command


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``export``."""
    parser = add_command(
        subparsers,
        "export",
        "write a generator as ONNX, for programs without torch",
        description="Write a generator as ONNX, after comparing it with torch. Inputs: w [N, num_ws, w_dim] or z\n"
        "[N, z_dim], and transform [N, 3, 3], which says where the content goes. Output: image [N, 3, R, R].\n"
        "Needs two more packages: pip install onnx onnxruntime",
        examples=[
            ("editkit export --out faces64.onnx", "the bundled generator, from W+"),
            ("editkit export stylegan3-t-ffhqu-256x256 --out g.onnx --input z", "with its mapping"),
            ("editkit export G.pkl --out g.onnx --input z --truncation 0.7 --batch 1", "one sample a call, truncated"),
        ],
    )
    parser.add_argument(
        "generator",
        metavar="SOURCE",
        nargs="?",
        help="a name, a .safetensors or an official .pkl (default: the bundled one)",
    )
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help="the .onnx to write")
    parser.add_argument("--input", choices=("w", "z"), default="w", help="what it takes (default: w)")
    parser.add_argument("--batch", type=int, metavar="N", help="samples a call (default: any number)")
    parser.add_argument("--truncation", type=float, default=1.0, metavar="PSI", help="built in, with --input z")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from editkit.generator import load_generator
    from editkit.onnx_export import export_onnx

    generator = load_generator(args.generator, device="cpu")
    done = export_onnx(generator, args.out, input=args.input, batch=args.batch, truncation_psi=args.truncation)
    with Output(args) as output:
        inputs = ", ".join(f"{name} [{', '.join(map(str, shape))}]" for name, shape in done.inputs.items())
        output.say(f"wrote {done.path} ({done.size / 1e6:,.1f} MB): {inputs} -> image")
        output.say(f"largest difference from torch: {done.error:.1g} of the range")
        output.put("path", done.path)
        output.put("bytes", done.size)
        output.put("inputs", done.inputs)
        output.put("error", done.error)
        output.put("generator", {"id": generator.spec.id, "name": generator.spec.name})
    return 0
